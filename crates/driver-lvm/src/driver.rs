//! The contract of volumes, kept by LVM.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ::driver::{
    ChangeStream, ChangesPlan, DiskLocation, DriverError, Making, MergePlan, ObservedVolume, PoolPlace,
    PoolUsage, StoragePool, VolumeDriver, VolumePlace, VolumePlan, in_files,
};
use async_trait::async_trait;
use model::{Bytes, Uid};
use tokio::sync::Mutex;

use crate::NAME;
use crate::create::missing as missing_snapshot;
use crate::diff::moment_of;
use crate::lvm::{LogicalVolume, Look, ThinPool};
use crate::node::Nodes;
use crate::record::{Name, Record, owner_tags};

/// Volumes in thin pools of this host.
#[derive(Debug)]
pub struct LvmDriver {
    /// What is on its way into a pool.
    pub(crate) making: Making,
    /// Its name in the cloud.
    host: String,
    nodes: Nodes,
    pools: parking_lot::Mutex<BTreeMap<String, Served>>,
    /// One image at a time is brought into a pool.
    pub(crate) bringing: Mutex<()>,
    /// One map of a pool's blocks is held at a time.
    pub(crate) mapping: Mutex<()>,
}

/// What this host knows of a pool.
#[derive(Debug)]
struct Served {
    pool: ThinPool,
    /// Why it cannot be used.
    trouble: Option<String>,
}

impl LvmDriver {
    /// `folder` is for device nodes and for files on their way into a pool; it is made when it is needed.
    pub fn new(folder: impl Into<PathBuf>, host: impl Into<String>) -> Self {
        let folder = folder.into();
        Self {
            making: Making::new(folder.join("making")),
            host: host.into(),
            nodes: Nodes::new(folder.join("devices")),
            pools: parking_lot::Mutex::default(),
            bringing: Mutex::new(()),
            mapping: Mutex::new(()),
        }
    }

    pub(crate) fn pool(&self, name: &str) -> Result<ThinPool, DriverError> {
        match self.pools.lock().get(name) {
            None => Err(DriverError::WrongState(format!("pool {name:?} has not been looked at yet"))),
            Some(Served { trouble: Some(trouble), .. }) => Err(DriverError::WrongState(trouble.clone())),
            Some(served) => Ok(served.pool.clone()),
        }
    }

    /// A look in which the volume is whole: what was cut off while it went back to a snapshot is brought to its end.
    pub(crate) async fn whole_look(&self, pool: &ThinPool, volume: &Uid) -> Result<Look, DriverError> {
        let look = pool.look().await?;
        let [own, back, old] = [Name::Volume, Name::Back, Name::Old].map(|name| name(volume.clone()));
        if look.find(&old).is_none() && (look.find(&back).is_none() || look.find(&own).is_none()) {
            return Ok(look);
        }
        if look.find(&own).is_none() {
            pool.rename(&back, &own).await?;
        } else if look.find(&back).is_some() {
            pool.remove(&back).await?;
        }
        if look.find(&old).is_some() {
            pool.remove(&old).await?;
        }
        pool.look().await
    }

    async fn check(&self, plan: &StoragePool, pool: &ThinPool) -> Result<(), DriverError> {
        let look = pool.look().await?;
        let own = owner_tags(&plan.identity, &self.host);
        if let Some(owner) = look.find(&Name::Owner) {
            if owner.tags == own {
                return pool.set_up(&look.pool).await;
            }
            // Two hosts that see the same disks would each believe that nobody else changes what is on them.
            return Err(DriverError::WrongState(format!(
                "thin pool {}/{} is another cloud's, another pool's or another host's ({}): give this one a thin pool of \
                 its own, on disks that no other host sees",
                pool.group,
                pool.pool,
                owner.tags.join(", ")
            )));
        }
        if let Some(volume) = look.volumes.first() {
            return Err(DriverError::Invalid(format!(
                "thin pool {}/{} is not empty, it has {:?}: give the cloud a thin pool of its own",
                pool.group, pool.pool, volume.name
            )));
        }
        pool.set_up(&look.pool).await?;
        pool.create(&Name::Owner, look.whole(Bytes(1)), &own).await
    }

    /// The volume's device, for its holder.
    fn show(&self, place: &VolumePlace, pool: &ThinPool) -> Result<DiskLocation, DriverError> {
        let device = pool.device_path(&Name::Volume(place.uid.clone()));
        Ok(DiskLocation::Device { path: self.nodes.make(place, &device)? })
    }

    /// Nobody of this host can open it from now on; refused while somebody has it open.
    async fn hide(
        &self,
        place: &VolumePlace,
        pool: &ThinPool,
        found: &LogicalVolume,
    ) -> Result<(), DriverError> {
        self.nodes.remove(place)?;
        if found.is_active() { pool.deactivate(&Name::Volume(place.uid.clone())).await } else { Ok(()) }
    }
}

#[async_trait]
impl VolumeDriver for LvmDriver {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn serve(&self, plan: &StoragePool) -> Result<(), DriverError> {
        let PoolPlace::ThinPool { group, pool } = &plan.place else {
            return Err(DriverError::Invalid(format!("pool {:?} is no thin pool", plan.name)));
        };
        let pool = ThinPool { group: group.clone(), pool: pool.clone() };
        let looked = self.check(plan, &pool).await;
        let trouble = looked.as_ref().err().map(ToString::to_string);
        self.pools.lock().insert(plan.name.clone(), Served { pool, trouble });
        looked
    }

    async fn keep(&self, _: &VolumePlace, _: u64, _: &[String]) -> Result<(), DriverError> {
        // No other host has the pool.
        Ok(())
    }

    async fn is_wanted_elsewhere(&self, _: &VolumePlace) -> Result<bool, DriverError> {
        Ok(false)
    }

    async fn create(&self, plan: &VolumePlan) -> Result<(), DriverError> {
        self.make(plan).await
    }

    async fn grow(&self, place: &VolumePlace, size: Bytes) -> Result<(), DriverError> {
        let pool = self.pool(&place.pool)?;
        let look = self.whole_look(&pool, &place.uid).await?;
        let name = Name::Volume(place.uid.clone());
        let found = look.find(&name).ok_or_else(|| missing(&place.uid))?;
        let size = look.whole(in_files(size, Record::of(found).encrypted));
        if size > found.size { pool.extend(&name, size).await } else { Ok(()) }
    }

    async fn begin_growth(&self, place: &VolumePlace, size: Bytes) -> Result<(), DriverError> {
        self.grow(place, size).await
    }

    async fn grown(&self, _: &VolumePlace, _: Bytes) -> Result<(), DriverError> {
        // The logical volume itself says how large it is.
        Ok(())
    }

    async fn delete(&self, place: &VolumePlace) -> Result<(), DriverError> {
        let pool = self.pool(&place.pool)?;
        let look = self.whole_look(&pool, &place.uid).await?;
        let name = Name::Volume(place.uid.clone());
        if let Some(found) = look.find(&name) {
            Record::of(found).possession().require_unheld("deleted")?;
            self.hide(place, &pool, found).await?;
        }
        for moment in look.volumes.iter().filter_map(|found| moment_of(found, &place.uid)) {
            pool.remove(&Name::Backup(moment)).await?;
        }
        if look.find(&name).is_some() {
            pool.remove(&name).await?;
        }
        let passing = Name::Making(place.uid.to_string());
        if look.find(&passing).is_some() {
            pool.remove(&passing).await?;
        }
        self.making.remove_fill(place)
    }

    async fn open(&self, place: &VolumePlace, holder: &Uid, epoch: u64) -> Result<DiskLocation, DriverError> {
        let pool = self.pool(&place.pool)?;
        let look = self.whole_look(&pool, &place.uid).await?;
        let name = Name::Volume(place.uid.clone());
        let found = look.find(&name).ok_or_else(|| missing(&place.uid))?;
        let record = Record::of(found);
        if !record.possession().is_open_to(holder, epoch)? {
            // What had it open under an epoch that is over, has nothing of it any more.
            self.hide(place, &pool, found).await?;
            let opened = Record { epoch, holder: Some(holder.clone()), ..record.clone() };
            pool.keep(&name, &record, &opened).await?;
            pool.activate(&name).await?;
        } else if !found.is_active() {
            pool.activate(&name).await?;
        }
        self.show(place, &pool)
    }

    async fn close(&self, place: &VolumePlace, holder: &Uid) -> Result<(), DriverError> {
        let pool = self.pool(&place.pool)?;
        let look = pool.look().await?;
        let name = Name::Volume(place.uid.clone());
        let Some(found) = look.find(&name) else { return self.nodes.remove(place) };
        let record = Record::of(found);
        if record.holder.as_ref() != Some(holder) {
            return Ok(());
        }
        self.hide(place, &pool, found).await?;
        pool.keep(&name, &record, &Record { holder: None, ..record.clone() }).await
    }

    async fn begin_snapshot(
        &self,
        place: &VolumePlace,
        snapshot: &Uid,
    ) -> Result<Option<PathBuf>, DriverError> {
        let pool = self.pool(&place.pool)?;
        let look = self.whole_look(&pool, &place.uid).await?;
        let name = Name::Snapshot(snapshot.clone());
        if look.find(&name).is_none() {
            let volume = Name::Volume(place.uid.clone());
            let found = look.find(&volume).ok_or_else(|| missing(&place.uid))?;
            look.require_metadata()?;
            pool.snapshot(&volume, &name, &Record::of(found).part_of(&place.uid)).await?;
        }
        Ok(None)
    }

    async fn finish_snapshot(&self, place: &VolumePlace, snapshot: &Uid) -> Result<Bytes, DriverError> {
        let look = self.pool(&place.pool)?.look().await?;
        let found = look.find(&Name::Snapshot(snapshot.clone()));
        let found = found.ok_or_else(|| missing_snapshot(snapshot))?;
        Ok(Record::of(found).size(found))
    }

    async fn delete_snapshot(&self, snapshot: &VolumePlace) -> Result<(), DriverError> {
        let pool = self.pool(&snapshot.pool)?;
        let name = Name::Snapshot(snapshot.uid.clone());
        if pool.look().await?.find(&name).is_some() { pool.remove(&name).await } else { Ok(()) }
    }

    async fn revert(&self, place: &VolumePlace, snapshot: &Uid) -> Result<(), DriverError> {
        let pool = self.pool(&place.pool)?;
        let look = self.whole_look(&pool, &place.uid).await?;
        let [own, back, old] = [Name::Volume, Name::Back, Name::Old].map(|name| name(place.uid.clone()));
        let found = look.find(&own).ok_or_else(|| missing(&place.uid))?;
        let record = Record::of(found);
        record.possession().require_unheld("taken back to a snapshot")?;
        let of = Name::Snapshot(snapshot.clone());
        let source = look.find(&of).ok_or_else(|| missing_snapshot(snapshot))?;
        let shown = Record::of(source);
        let is_own = shown.volume.as_ref() == Some(&place.uid);
        if !is_own && (shown.encrypted || record.encrypted) {
            let why = "the snapshot is of another volume, whose key is another: make a new volume of it";
            return Err(DriverError::Invalid(why.into()));
        }
        self.hide(place, &pool, found).await?;
        pool.snapshot(&of, &back, &record).await?;
        if found.size > source.size {
            // As large as it was: a disk never shrinks under whoever knows its size.
            pool.extend(&back, found.size).await?;
        }
        // From here on a look brings it to its end.
        pool.rename(&own, &old).await?;
        self.whole_look(&pool, &place.uid).await.map(drop)
    }

    async fn tidy(&self, pool: &str) -> Result<(), DriverError> {
        let pool = self.pool(pool)?;
        let look = pool.look().await?;
        for found in &look.volumes {
            let Some(name) = Name::parse(&found.name) else { continue };
            match &name {
                // Brought for volumes that are gone.
                Name::Image(_) if !look.volumes.iter().any(|other| other.origin == found.name) => {
                    pool.remove(&name).await?;
                }
                Name::Making(what) if !self.making.has_begun(what) => pool.remove(&name).await?,
                Name::Back(uid) | Name::Old(uid) => drop(self.whole_look(&pool, uid).await?),
                // Whoever read it has ended.
                Name::Snapshot(_) if found.is_active() => pool.deactivate(&name).await?,
                _ => {}
            }
        }
        Ok(())
    }

    async fn begin_merge(&self, _: &VolumePlace) -> Result<Option<MergePlan>, DriverError> {
        Ok(None)
    }

    async fn finish_merge(&self, _: &VolumePlace) -> Result<(), DriverError> {
        Ok(())
    }

    async fn layers(&self, snapshot: &VolumePlace) -> Result<Vec<DiskLocation>, DriverError> {
        let pool = self.pool(&snapshot.pool)?;
        let name = Name::Snapshot(snapshot.uid.clone());
        let look = pool.look().await?;
        let found = look.find(&name).ok_or_else(|| missing_snapshot(&snapshot.uid))?;
        if !found.is_active() {
            pool.activate(&name).await?;
        }
        Ok(vec![DiskLocation::Device { path: pool.device_path(&name) }])
    }

    async fn change_stream(
        &self,
        volume: &VolumePlace,
        backup: &Uid,
        since: &[Uid],
    ) -> Result<Option<ChangeStream>, DriverError> {
        self.changes_of(&self.pool(&volume.pool)?, &volume.uid, backup, since).await.map(Some)
    }

    async fn begin_changes(&self, _: &VolumePlace, _: &Uid) -> Result<PathBuf, DriverError> {
        Err(told_by_the_pool())
    }

    async fn changes(&self, _: &VolumePlace, _: &ChangesPlan) -> Result<Option<Uid>, DriverError> {
        Err(told_by_the_pool())
    }

    async fn finish_changes(&self, volume: &VolumePlace, backup: &Uid) -> Result<(), DriverError> {
        self.finish_reading(&self.pool(&volume.pool)?, backup).await
    }

    async fn begin_fill(&self, place: &VolumePlace, size: Bytes) -> Result<PathBuf, DriverError> {
        self.making.empty_fill(place, size)
    }

    async fn usage(&self, pool: &str) -> Result<PoolUsage, DriverError> {
        let pool = self.pool(pool)?.look().await?.pool;
        let used = pool.used();
        Ok(PoolUsage { used, free: Bytes(pool.size.0.saturating_sub(used.0)) })
    }

    async fn observe(&self, place: &VolumePlace) -> Result<ObservedVolume, DriverError> {
        let pool = self.pool(&place.pool)?;
        let look = self.whole_look(&pool, &place.uid).await?;
        let found = look.find(&Name::Volume(place.uid.clone())).ok_or_else(|| missing(&place.uid))?;
        let record = Record::of(found);
        Ok(ObservedVolume {
            size: record.size(found),
            used: found.used(),
            epoch: record.epoch,
            holder: record.holder,
        })
    }

    async fn held_by(&self, holder: &Uid) -> Result<Vec<VolumePlace>, DriverError> {
        let served: Vec<(String, ThinPool)> = {
            let pools = self.pools.lock();
            let usable = pools.iter().filter(|(_, served)| served.trouble.is_none());
            usable.map(|(name, served)| (name.clone(), served.pool.clone())).collect()
        };
        let mut held = Vec::new();
        for (name, pool) in served {
            for found in &pool.look().await?.volumes {
                if let Some(Name::Volume(uid)) = Name::parse(&found.name)
                    && Record::of(found).holder.as_ref() == Some(holder)
                {
                    held.push(VolumePlace { pool: name.clone(), uid });
                }
            }
        }
        Ok(held)
    }
}

pub(crate) fn missing(volume: &Uid) -> DriverError {
    DriverError::NotFound(format!("{volume} (a volume)"))
}

fn told_by_the_pool() -> DriverError {
    DriverError::Unsupported {
        driver: NAME,
        what: "note changes in a file: the pool itself tells them".into(),
    }
}
