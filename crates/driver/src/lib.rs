//! The agent's waist: what a driver must do, as a contract, with a fake and a conformance suite beside it.
//!
//! A driver gets finished plans (images that are local and verified, files and devices that exist) and makes
//! them run. A compute driver knows nothing of networks, a network driver nothing of guests, and neither of APIs or
//! the store.

mod balancer;
mod changes;
mod compute;
pub mod conformance;
mod disk_key;
mod error;
pub mod fake;
pub mod fake_network;
mod flows;
mod location;
mod log;
mod making;
mod network;
mod plan;
mod possession;
pub mod qemu_img;
mod volume;
pub mod volume_conformance;

pub use balancer::{BalancerDriver, BalancerPlan, Certificate, PoolPlan, ServerHealth, ServerPlan};
pub use changes::{Change, ChangeStream, ChangesPlan, GRANULARITY, Noted, ReadChanges};
pub use compute::{
    ByteStream, CardAccess, ComputeDriver, ConsoleAccess, DisplayAccess, DriverInfo, Exec, ExecAccess,
    ExecRequest, Merging, Observed, ObservedContainer, PluggedDisk, SandboxState, StopMode, VolumeAccess,
};
pub use disk_key::{DiskKey, KEY_HEADER, in_files, in_guest};
pub use error::DriverError;
pub use flows::{Count, Flow, FlowKey, FlowLook, FlowWatch, Refused};
pub use location::{DiskFormat, DiskLocation, RbdImage, file_node};
pub use log::{LogFormat, LogLine};
pub use making::{Begun, Making};
pub use network::{
    AclPlan, AclRulePlan, Drift, EndpointAccess, EndpointPlan, GroupPlan, Hop, Link, Mac, NetworkDriver,
    Peer, PeerPlan, PortCounters, PortLink, PortPlan, Protocol, Reach, RemotePlan, RoutePlan, RouteTablePlan,
    RulePlan, SegmentPlan, SharedPlan, UplinkPlan, VpcPlan,
};
pub use plan::{Boot, ContainerPlan, DiskPlan, MountPlan, NicPlan, Plan, VmPlan};
pub use possession::Possession;
pub use volume::{
    CephPool, MergePlan, ObservedVolume, PoolPlace, PoolUsage, StoragePool, VolumeDriver, VolumeOrigin,
    VolumePlace, VolumePlan,
};
