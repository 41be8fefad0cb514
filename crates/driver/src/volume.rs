//! The contract of volumes: disks in a pool of this host, attached under epochs that only grow.

use std::path::PathBuf;

use async_trait::async_trait;
use model::{Bytes, Uid};

use crate::{ChangeStream, ChangesPlan, DiskKey, DiskLocation, DriverError};

/// Where something lies: a pool of this host and the uid of a volume or snapshot in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumePlace {
    pub pool: String,
    pub uid: Uid,
}

/// A volume to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumePlan {
    pub place: VolumePlace,
    /// 0 means that of its source.
    pub size: Bytes,
    pub source: VolumeOrigin,
    /// What is to be encrypted, has this key. One that is made of a snapshot is as that is.
    pub key: Option<DiskKey>,
}

impl VolumePlan {
    /// The size that is asked for, or that of the source, of which it may not be less.
    pub fn size_on(&self, least: Bytes) -> Result<Bytes, DriverError> {
        let size = if self.size.0 == 0 { least } else { self.size };
        if size >= least && size.0 > 0 {
            return Ok(size);
        }
        Err(DriverError::Invalid(format!(
            "a volume of {size} is smaller than its source; spec.size must be at least {least}"
        )))
    }
}

/// What is in a volume at first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeOrigin {
    Empty,
    /// A verified qcow2 of the image cache.
    Image(PathBuf),
    /// A snapshot in the same pool.
    Snapshot(Uid),
    /// What was put into the file of [`VolumeDriver::begin_fill`].
    Filled,
}

/// A volume as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedVolume {
    pub size: Bytes,
    /// What it alone takes on the disk.
    pub used: Bytes,
    /// The epoch of the last attachment.
    pub epoch: u64,
    /// Who may open it now.
    pub holder: Option<Uid>,
}

/// How a volume's disk can be made to stand on less.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergePlan {
    /// The layer that its head is to stand on directly, with all between written into the head; none for a head that
    /// stands on its own.
    pub base: Option<PathBuf>,
}

/// A pool that has to be looked for: hosts share it, or not every host has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoragePool {
    pub name: String,
    /// What the pool has to say of itself: one that says nothing is not this one, however empty it is.
    pub identity: Uid,
    pub place: PoolPlace,
    /// It may be made, where it does not say whose it is: no host has ever seen it, and this one was chosen; or each host
    /// has one of its own.
    pub is_new: bool,
}

/// Where hosts find a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolPlace {
    /// A folder that each of them has mounted.
    Folder(PathBuf),
    /// A pool of a Ceph cluster.
    Ceph(CephPool),
    /// A thin pool of LVM, which each host that has the pool has for itself.
    ThinPool { group: String, pool: String },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CephPool {
    /// The cluster's configuration on each host; beside it, or where it says so, is the keyring.
    pub conf: PathBuf,
    /// As in `client.USER`.
    pub user: String,
    /// The cluster's own name of the pool.
    pub pool: String,
}

/// How full a pool is on this host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolUsage {
    /// What everything in it takes.
    pub used: Bytes,
    /// What the file system below it has left.
    pub free: Bytes,
}

/// Keeps volumes in pools of this host. Every method is idempotent and safe to repeat after a crash at any line;
/// what has been answered is on the disk.
#[async_trait]
pub trait VolumeDriver: Send + Sync + 'static {
    /// The driver's name in messages, e.g. `dir`.
    fn name(&self) -> &'static str;

    /// Looks whether a pool is there that not every host has by itself; one that does not answer for some seconds is not. From then on its
    /// name means that pool, whether it was there or not.
    async fn serve(&self, pool: &StoragePool) -> Result<(), DriverError>;

    /// From now on this host, and no other, changes a volume that hosts share: the cloud has given it to another host
    /// `moves` times. Refused when it went further since, and while an instance of another host holds it, unless that
    /// host is one of `lost`: then nothing may have it open any more, and its holder's path leads nowhere. While something
    /// has, that host is told that it is wanted ([`Self::is_wanted_elsewhere`]).
    async fn keep(&self, place: &VolumePlace, moves: u64, lost: &[String]) -> Result<(), DriverError>;

    /// Whether another host has a volume that hosts share, or waits for this one to end what has it open. An error says
    /// that nobody here can know.
    async fn is_wanted_elsewhere(&self, place: &VolumePlace) -> Result<bool, DriverError>;

    async fn create(&self, plan: &VolumePlan) -> Result<(), DriverError>;

    /// Makes it larger while nobody has it open; smaller or equal changes nothing.
    async fn grow(&self, place: &VolumePlace, size: Bytes) -> Result<(), DriverError>;

    /// Makes room for whoever has it open to make it larger.
    async fn begin_growth(&self, place: &VolumePlace, size: Bytes) -> Result<(), DriverError> {
        let _ = (place, size);
        Ok(())
    }

    /// Notes that whoever has it open made it larger.
    async fn grown(&self, place: &VolumePlace, size: Bytes) -> Result<(), DriverError>;

    /// Refused while it has a holder; deleting what does not exist succeeds.
    async fn delete(&self, place: &VolumePlace) -> Result<(), DriverError>;

    /// Lets `holder`, and nobody else, open it. `epoch` must be larger than any before, unless the holder has it
    /// already under this very epoch.
    async fn open(&self, place: &VolumePlace, holder: &Uid, epoch: u64) -> Result<DiskLocation, DriverError>;

    /// Takes it away from its holder, which has no path to it any more. Not the holder's: nothing happens.
    async fn close(&self, place: &VolumePlace, holder: &Uid) -> Result<(), DriverError>;

    /// Prepares a snapshot and returns the disk that takes writes from then on: whoever has the volume open has to
    /// go over to it before [`Self::finish_snapshot`]. `None` when the snapshot is there already, or was taken now of a
    /// disk that stays what it is.
    async fn begin_snapshot(
        &self,
        volume: &VolumePlace,
        snapshot: &Uid,
    ) -> Result<Option<PathBuf>, DriverError>;

    /// The snapshot counts from now on; its size.
    async fn finish_snapshot(&self, volume: &VolumePlace, snapshot: &Uid) -> Result<Bytes, DriverError>;

    async fn delete_snapshot(&self, snapshot: &VolumePlace) -> Result<(), DriverError>;

    /// Makes the volume what it was; refused while it has a holder.
    async fn revert(&self, volume: &VolumePlace, snapshot: &Uid) -> Result<(), DriverError>;

    /// Gives back the room of layers that nobody needs any more, of volumes that nobody has open. Takes as long as
    /// it takes to copy them; whoever needs one of the volumes meanwhile does not wait for it.
    async fn tidy(&self, pool: &str) -> Result<(), DriverError>;

    /// The same of a volume that is open: what its holder is to do. `None` when there is nothing to gain.
    async fn begin_merge(&self, volume: &VolumePlace) -> Result<Option<MergePlan>, DriverError>;

    /// The holder has carried out what [`Self::begin_merge`] said, or has given up: nothing of it runs any more.
    async fn finish_merge(&self, volume: &VolumePlace) -> Result<(), DriverError>;

    /// What a snapshot consists of, each a qcow2 file that stands on the next, or one disk that is all of it. They may be
    /// read as long as the snapshot is there.
    async fn layers(&self, snapshot: &VolumePlace) -> Result<Vec<DiskLocation>, DriverError>;

    /// What changed in a volume, where its pool knows, whether somebody has it open or not. Changes since this moment
    /// are meant when `backup` is named later; the newest of `since` that is known counts. `None` where whoever writes to
    /// a disk notes what changed ([`Self::begin_changes`]).
    async fn change_stream(
        &self,
        volume: &VolumePlace,
        backup: &Uid,
        since: &[Uid],
    ) -> Result<Option<ChangeStream>, DriverError> {
        let _ = (volume, backup, since);
        Ok(None)
    }

    /// An empty file for [`ChangesPlan::target`], of the volume's size; one that was left by an attempt before goes.
    async fn begin_changes(&self, volume: &VolumePlace, backup: &Uid) -> Result<PathBuf, DriverError>;
    /// Like [`crate::VolumeAccess::changes`], of a volume that nobody has open. Whoever needs the volume meanwhile ends it.
    async fn changes(&self, volume: &VolumePlace, plan: &ChangesPlan) -> Result<Option<Uid>, DriverError>;
    /// The file of [`Self::begin_changes`] is not needed any more.
    async fn finish_changes(&self, volume: &VolumePlace, backup: &Uid) -> Result<(), DriverError>;
    /// An empty raw file for what a volume that does not exist is to contain ([`VolumeOrigin::Filled`]). It goes with
    /// the volume's creation or deletion.
    async fn begin_fill(&self, place: &VolumePlace, size: Bytes) -> Result<PathBuf, DriverError>;
    async fn usage(&self, pool: &str) -> Result<PoolUsage, DriverError>;

    /// `NotFound` when there is none.
    async fn observe(&self, place: &VolumePlace) -> Result<ObservedVolume, DriverError>;

    /// Volumes of this host that `holder` may open.
    async fn held_by(&self, holder: &Uid) -> Result<Vec<VolumePlace>, DriverError>;
}
