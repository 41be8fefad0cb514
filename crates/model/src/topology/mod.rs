//! `topology.corten.dev`: where things are. Zone > Rack > Host; a Cluster groups hosts of one hypervisor.

mod host;
mod lease;
mod places;

pub use host::{DriverStatus, FENCED, Host, HostPool, HostSpec, HostStatus, Taint};
pub use lease::{Lease, LeaseSpec, LeaseStatus};
pub use places::{Cluster, ClusterSpec, PlaceStatus, Rack, RackSpec, Zone, ZoneSpec};

pub(crate) const GROUP: &str = "topology.corten.dev";
