//! The contract of volumes, kept by a Ceph cluster.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ::driver::{
    ChangeStream, ChangesPlan, DiskLocation, DriverError, Making, MergePlan, ObservedVolume, PoolPlace,
    PoolUsage, StoragePool, VolumeDriver, VolumePlace, VolumePlan, in_files, in_guest,
};
use async_trait::async_trait;
use model::{Bytes, Uid};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::cluster::{Cluster, or_missing};
use crate::fence::cut_off;
use crate::moves::wish;
use crate::record::{Name, Record, State};
use crate::snapshot::{self, SnapshotRecord};
use crate::tidy::{bury, drop_late};
use crate::{NAME, diff, keyring};

/// The object that says whose pool it is.
const IDENTITY: &str = "corten.identity";
/// How long a cluster may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Volumes in pools of Ceph clusters.
#[derive(Debug)]
pub struct RbdDriver {
    /// What is on its way into a pool.
    pub(crate) making: Making,
    /// Its name in pools that others have too.
    pub(crate) host: String,
    pools: parking_lot::Mutex<BTreeMap<String, Served>>,
    /// One image at a time is brought into a pool.
    pub(crate) bringing: Mutex<()>,
}

/// What this host knows of a pool.
#[derive(Debug)]
struct Served {
    cluster: Cluster,
    identity: Uid,
    /// Why it cannot be used.
    trouble: Option<String>,
    /// Volumes that this host keeps and instances of it may open. Nobody else changes what it is made of, but for who
    /// takes a volume away: none until that was read.
    held: Option<BTreeMap<Uid, Uid>>,
}

impl RbdDriver {
    /// `scratch` is made when it is needed.
    pub fn new(scratch: impl Into<PathBuf>, host: impl Into<String>) -> Self {
        Self {
            making: Making::new(scratch),
            host: host.into(),
            pools: parking_lot::Mutex::default(),
            bringing: Mutex::new(()),
        }
    }

    pub(crate) fn cluster(&self, pool: &str) -> Result<Cluster, DriverError> {
        let pools = self.pools.lock();
        match pools.get(pool) {
            None => Err(DriverError::WrongState(format!("pool {pool:?} has not been looked at yet"))),
            Some(Served { trouble: Some(trouble), .. }) => Err(DriverError::WrongState(trouble.clone())),
            Some(served) => Ok(served.cluster.clone()),
        }
    }

    /// Notes who may open a volume here.
    pub(crate) fn remember(&self, pool: &str, volume: &Uid, holder: Option<&Uid>) {
        let mut pools = self.pools.lock();
        let Some(held) = pools.get_mut(pool).and_then(|served| served.held.as_mut()) else { return };
        match holder {
            Some(holder) => drop(held.insert(volume.clone(), holder.clone())),
            None => drop(held.remove(volume)),
        }
    }

    /// A volume that this host may change.
    async fn there(&self, cluster: &Cluster, uid: &Uid) -> Result<Record, DriverError> {
        let found = Record::find(&cluster.names().await?, uid);
        let record = found.ok_or_else(|| DriverError::NotFound(format!("{uid} (a volume)")))?;
        record.possession().require_host(&self.host)?;
        if record.state == State::Fencing {
            let why = "what a lost host has open of the volume is not cut off yet";
            return Err(DriverError::WrongState(why.into()));
        }
        Ok(record)
    }

    async fn check(&self, pool: &StoragePool, cluster: &Cluster) -> Result<(), DriverError> {
        let owner = cluster.object(IDENTITY).await?;
        let owner = owner.and_then(|text| Uid::parse(std::str::from_utf8(&text).ok()?.trim()));
        match owner {
            Some(owner) if owner == pool.identity => Ok(()),
            Some(other) => Err(DriverError::WrongState(format!(
                "it is another cloud's or another pool's, of the uid {other}: give this one a pool of its own"
            ))),
            None if !pool.is_new => Err(DriverError::WrongState(
                "it does not say whose it is: it was made anew, or is another".into(),
            )),
            None => {
                if let Some(name) = cluster.names().await?.first() {
                    return Err(DriverError::Invalid(format!(
                        "it is not empty, it has the image {name:?}: give the cloud a pool of its own"
                    )));
                }
                Ok(cluster.keep_object(IDENTITY, pool.identity.as_str().as_bytes()).await?)
            }
        }
    }

    async fn held(&self, cluster: &Cluster) -> Result<BTreeMap<Uid, Uid>, DriverError> {
        let names = cluster.names().await?;
        let records = names.iter().filter_map(|name| match Name::parse(name)? {
            Name::Volume(record) if record.host == self.host => Some(record),
            _ => None,
        });
        Ok(records.filter_map(|record| Some((record.uid, record.holder?))).collect())
    }
}

#[async_trait]
impl VolumeDriver for RbdDriver {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn serve(&self, pool: &StoragePool) -> Result<(), DriverError> {
        let PoolPlace::Ceph(place) = &pool.place else {
            return Err(DriverError::Invalid(format!("pool {:?} is in no Ceph cluster", pool.name)));
        };
        let key = keyring::key_of(place).await;
        let cluster = Cluster::new(place.clone(), key.as_ref().ok().cloned().flatten());
        let is_read = {
            let pools = self.pools.lock();
            pools.get(&pool.name).is_some_and(|known| known.identity == pool.identity && known.held.is_some())
        };
        let look = async {
            key?;
            self.check(pool, &cluster).await?;
            if is_read { Ok(None) } else { self.held(&cluster).await.map(Some) }
        };
        let looked = timeout(ANSWER_MAX, look).await.unwrap_or_else(|_| {
            let seconds = ANSWER_MAX.as_secs();
            Err(DriverError::TimedOut { what: "an answer of the cluster".into(), seconds })
        });
        let trouble = looked.as_ref().err().map(ToString::to_string);
        let mut pools = self.pools.lock();
        let known = pools.remove(&pool.name).filter(|known| known.identity == pool.identity);
        let mut served = Served {
            cluster,
            identity: pool.identity.clone(),
            trouble,
            held: known.and_then(|known| known.held),
        };
        let looked = looked.map(|held| served.held = served.held.take().or(held));
        pools.insert(pool.name.clone(), served);
        looked
    }

    async fn keep(&self, place: &VolumePlace, moves: u64, lost: &[String]) -> Result<(), DriverError> {
        self.keep_here(place, moves, lost).await
    }

    async fn is_wanted_elsewhere(&self, place: &VolumePlace) -> Result<bool, DriverError> {
        self.is_wanted(place).await
    }

    async fn create(&self, plan: &VolumePlan) -> Result<(), DriverError> {
        self.make(plan).await
    }

    async fn grow(&self, place: &VolumePlace, size: Bytes) -> Result<(), DriverError> {
        let cluster = self.cluster(&place.pool)?;
        let record = self.there(&cluster, &place.uid).await?;
        let (image, size) = (record.to_string(), in_files(size, record.encrypted));
        if size > cluster.size(&image).await? {
            cluster.resize(&image, size).await?;
        }
        Ok(())
    }

    async fn grown(&self, _: &VolumePlace, _: Bytes) -> Result<(), DriverError> {
        // The image itself says how large it is.
        Ok(())
    }

    async fn delete(&self, place: &VolumePlace) -> Result<(), DriverError> {
        let cluster = self.cluster(&place.pool)?;
        let names = cluster.names().await?;
        let gone = Name::Gone(place.uid.clone());
        let mut is_gone = names.contains(&gone.to_string());
        if let Some(record) = Record::find(&names, &place.uid) {
            record.possession().require_host(&self.host)?;
            record.possession().require_unheld("deleted")?;
            drop_late(&cluster, &names, &record).await?;
            cluster.rename(&Name::Volume(record), &gone).await?;
            or_missing(cluster.remove_object(&wish(&place.uid)).await)?;
            is_gone = true;
        }
        if is_gone {
            bury(&cluster, &gone.to_string()).await?;
        }
        self.making.remove_fill(place)
    }

    async fn open(&self, place: &VolumePlace, holder: &Uid, epoch: u64) -> Result<DiskLocation, DriverError> {
        let cluster = self.cluster(&place.pool)?;
        let record = self.there(&cluster, &place.uid).await?;
        if record.possession().is_open_to(holder, epoch)? {
            return Ok(cluster.location(&record.to_string(), None));
        }
        if let State::Reverting(_) = record.state {
            return Err(DriverError::WrongState("the volume is being taken back to a snapshot".into()));
        }
        // What was killed may have left it open in the eyes of the cluster, for as long as half a minute.
        cut_off(&cluster, &record.to_string()).await?;
        let opened = Record { epoch, holder: Some(holder.clone()), ..record.clone() };
        let opened = self.change(&place.pool, &cluster, &record, opened).await?;
        Ok(cluster.location(&opened.to_string(), None))
    }

    async fn close(&self, place: &VolumePlace, holder: &Uid) -> Result<(), DriverError> {
        let cluster = self.cluster(&place.pool)?;
        let record = Record::find(&cluster.names().await?, &place.uid);
        let ours = record.filter(|r| r.host == self.host && r.holder.as_ref() == Some(holder));
        let Some(record) = ours else {
            self.remember(&place.pool, &place.uid, None);
            return Ok(());
        };
        cut_off(&cluster, &record.to_string()).await?;
        let closed = Record { holder: None, ..record.clone() };
        self.change(&place.pool, &cluster, &record, closed).await.map(drop)
    }

    async fn begin_snapshot(
        &self,
        place: &VolumePlace,
        snapshot: &Uid,
    ) -> Result<Option<PathBuf>, DriverError> {
        let cluster = self.cluster(&place.pool)?;
        let record = self.there(&cluster, &place.uid).await?;
        snapshot::take(&cluster, &record, snapshot).await?;
        Ok(None)
    }

    async fn finish_snapshot(&self, place: &VolumePlace, snapshot: &Uid) -> Result<Bytes, DriverError> {
        Ok(SnapshotRecord::must_find(&self.cluster(&place.pool)?, snapshot).await?.shown_size())
    }

    async fn delete_snapshot(&self, snapshot: &VolumePlace) -> Result<(), DriverError> {
        snapshot::remove(&self.cluster(&snapshot.pool)?, &snapshot.uid).await
    }

    async fn revert(&self, place: &VolumePlace, snapshot: &Uid) -> Result<(), DriverError> {
        let cluster = self.cluster(&place.pool)?;
        let mut record = self.there(&cluster, &place.uid).await?;
        record.possession().require_unheld("taken back to a snapshot")?;
        let found = SnapshotRecord::must_find(&cluster, snapshot).await?;
        if found.volume != place.uid {
            let why = "the snapshot is of another volume, and a Ceph pool takes a volume back only to its own: make a \
                       new volume of it";
            return Err(DriverError::Invalid(why.into()));
        }
        let size = match record.state {
            State::Reverting(before) => Bytes(before),
            State::Whole | State::Fencing => cluster.size(&record.to_string()).await?,
        };
        if found.size > size {
            // What lies beyond the volume's end would come to light when it grows.
            let why =
                format!("the snapshot has {} bytes, the volume {}: grow it first", found.size.0, size.0);
            return Err(DriverError::Invalid(why));
        }
        let reverting = Record { state: State::Reverting(size.0), ..record.clone() };
        record = self.change(&place.pool, &cluster, &record, reverting).await?;
        let image = record.to_string();
        cluster.roll_back(&image, &snapshot::name(snapshot)).await?;
        // As large as it was: a disk never shrinks under whoever knows its size.
        if cluster.size(&image).await? < size {
            cluster.resize(&image, size).await?;
        }
        let whole = Record { state: State::Whole, ..record.clone() };
        self.change(&place.pool, &cluster, &record, whole).await.map(drop)
    }

    async fn tidy(&self, pool: &str) -> Result<(), DriverError> {
        self.sweep(pool).await
    }

    async fn begin_merge(&self, _: &VolumePlace) -> Result<Option<MergePlan>, DriverError> {
        Ok(None)
    }

    async fn finish_merge(&self, _: &VolumePlace) -> Result<(), DriverError> {
        Ok(())
    }

    async fn layers(&self, snapshot: &VolumePlace) -> Result<Vec<DiskLocation>, DriverError> {
        let cluster = self.cluster(&snapshot.pool)?;
        let found = SnapshotRecord::must_find(&cluster, &snapshot.uid).await?;
        let image = found.image(&cluster.names().await?)?;
        Ok(vec![cluster.location(&image, Some(snapshot::name(&snapshot.uid)))])
    }

    async fn change_stream(
        &self,
        volume: &VolumePlace,
        backup: &Uid,
        since: &[Uid],
    ) -> Result<Option<ChangeStream>, DriverError> {
        let cluster = self.cluster(&volume.pool)?;
        let image = self.there(&cluster, &volume.uid).await?.to_string();
        diff::changes(&cluster, &image, backup, since).await.map(Some)
    }

    async fn begin_changes(&self, _: &VolumePlace, _: &Uid) -> Result<PathBuf, DriverError> {
        Err(told_by_the_pool())
    }

    async fn changes(&self, _: &VolumePlace, _: &ChangesPlan) -> Result<Option<Uid>, DriverError> {
        Err(told_by_the_pool())
    }

    async fn finish_changes(&self, _: &VolumePlace, _: &Uid) -> Result<(), DriverError> {
        Ok(())
    }

    async fn begin_fill(&self, place: &VolumePlace, size: Bytes) -> Result<PathBuf, DriverError> {
        self.making.empty_fill(place, size)
    }

    async fn usage(&self, pool: &str) -> Result<PoolUsage, DriverError> {
        let (used, free) = self.cluster(pool)?.room().await?;
        Ok(PoolUsage { used, free })
    }

    async fn observe(&self, place: &VolumePlace) -> Result<ObservedVolume, DriverError> {
        let cluster = self.cluster(&place.pool)?;
        let record = self.there(&cluster, &place.uid).await?;
        let sizes = cluster.sizes(&record.to_string()).await?;
        let size = match record.state {
            State::Reverting(before) => Bytes(before),
            State::Whole | State::Fencing => sizes.provisioned,
        };
        let size = in_guest(size, record.encrypted);
        Ok(ObservedVolume { size, used: sizes.used, epoch: record.epoch, holder: record.holder })
    }

    async fn held_by(&self, holder: &Uid) -> Result<Vec<VolumePlace>, DriverError> {
        let pools = self.pools.lock();
        let held = pools.iter().flat_map(|(pool, served)| {
            let own = served.held.iter().flatten().filter(|(_, by)| *by == holder);
            own.map(|(uid, _)| VolumePlace { pool: pool.clone(), uid: uid.clone() })
        });
        Ok(held.collect())
    }
}

fn told_by_the_pool() -> DriverError {
    DriverError::Unsupported {
        driver: NAME,
        what: "note changes in a file: the pool itself tells them".into(),
    }
}
