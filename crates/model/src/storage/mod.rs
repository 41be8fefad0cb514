//! `storage.corten.dev`: pools of hosts' disks, the volumes in them, snapshots and backups of volumes, and
//! buckets of objects.

mod backup;
mod backup_plan;
mod bucket;
mod bucket_rules;
mod pool;
mod snapshot;
mod volume;

pub use backup::{
    BACKUP_CONTENTS, BackupPhase, PLAN_LABEL, VolumeBackup, VolumeBackupSpec, VolumeBackupStatus,
};
pub use backup_plan::{BackupPlan, BackupPlanSpec, BackupPlanStatus, BackupRetention};
pub use bucket::{
    BUCKET_CONTENTS, Bucket, BucketEncryption, BucketSpec, BucketStatus, BucketVersioning, DefaultRetention,
    ObjectLock, PublicAccessBlock, RetentionMode, is_bucket_name,
};
pub use bucket_rules::{CorsRule, Expiration, LifecycleFilter, LifecycleRule, NoncurrentExpiration};
pub use pool::{CephPlace, Pool, PoolDriver, PoolSpec, PoolStatus, ThinPool};
pub use snapshot::{VolumeSnapshot, VolumeSnapshotSpec, VolumeSnapshotStatus};
pub use volume::{
    DEFAULT_POOL, Volume, VolumeAttachment, VolumeLimits, VolumePhase, VolumeRevert, VolumeSource,
    VolumeSpec, VolumeStatus, VolumeUse, WhenFull, key_owner, serial_of,
};

pub(crate) const GROUP: &str = "storage.corten.dev";
