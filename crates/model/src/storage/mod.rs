//! `storage.corten.dev`: pools of hosts' disks, the volumes in them, and snapshots of volumes.

mod pool;
mod snapshot;
mod volume;

pub use pool::{Pool, PoolDriver, PoolSpec, PoolStatus};
pub use snapshot::{VolumeSnapshot, VolumeSnapshotSpec, VolumeSnapshotStatus};
pub use volume::{
    DEFAULT_POOL, Volume, VolumeAttachment, VolumeLimits, VolumePhase, VolumeRevert, VolumeSource,
    VolumeSpec, VolumeStatus, serial_of,
};

pub(crate) const GROUP: &str = "storage.corten.dev";
