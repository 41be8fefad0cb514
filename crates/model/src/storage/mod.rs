//! `storage.corten.dev`: pools of hosts' disks, the volumes in them, snapshots of volumes, and buckets of objects.

mod bucket;
mod bucket_rules;
mod pool;
mod snapshot;
mod volume;

pub use bucket::{
    BUCKET_CONTENTS, Bucket, BucketSpec, BucketStatus, BucketVersioning, DefaultRetention, ObjectLock,
    PublicAccessBlock, RetentionMode, is_bucket_name,
};
pub use bucket_rules::{CorsRule, Expiration, LifecycleFilter, LifecycleRule, NoncurrentExpiration};
pub use pool::{Pool, PoolDriver, PoolSpec, PoolStatus};
pub use snapshot::{VolumeSnapshot, VolumeSnapshotSpec, VolumeSnapshotStatus};
pub use volume::{
    DEFAULT_POOL, Volume, VolumeAttachment, VolumeLimits, VolumePhase, VolumeRevert, VolumeSource,
    VolumeSpec, VolumeStatus, WhenFull, serial_of,
};

pub(crate) const GROUP: &str = "storage.corten.dev";
