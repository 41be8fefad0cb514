//! Volumes of instances: opened before a guest starts, plugged and taken out while it runs, closed when nothing of
//! it is left.

use driver::{ComputeDriver, DiskKey, DiskPlan, DriverError, VolumePlace};
use model::Uid;
use model::compute::{Instance, Isolation};
use model::storage::{Volume, VolumePhase, VolumeUse};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::OwnedMutexGuard;

use super::{VolumeError, Volumes, place};

/// Disks for a start, and the locks that keep them as they are until it has happened.
pub(crate) struct Prepared {
    pub(crate) disks: Vec<DiskPlan>,
    _locks: Vec<OwnedMutexGuard<()>>,
}

/// Why a volume is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Nothing of the instance runs: a new epoch.
    Start,
    /// It runs, and keeps its epoch.
    Keep,
}

impl Volumes {
    /// The disks of an instance that is about to start.
    pub(crate) async fn prepare(
        &self,
        instance: &Instance,
        driver: &dyn ComputeDriver,
    ) -> Result<Prepared, VolumeError> {
        if let Some(access) = driver.volumes() {
            // What a run that is over has left open is put away, before it is opened under another epoch.
            access.plugged(&instance.metadata.uid).await?;
        }
        let mut volumes = Vec::new();
        for (_, named) in instance.spec.named_volumes() {
            volumes.push(self.find(instance, named).await?);
        }
        let mut locks = Vec::new();
        let mut disks = Vec::new();
        let is_reboot = instance.spec.reboots > instance.status.reboots_done;
        for volume in &volumes {
            locks.push(self.lock(&volume.metadata.uid).await);
            if is_reboot {
                self.take_at_rest(volume).await?;
            }
            let disk = self.open(instance, volume, Purpose::Start).await?;
            disks.push(DiskPlan { key: self.key(volume).await?, ..disk });
        }
        Ok(Prepared { disks, _locks: locks })
    }

    /// Makes the disks of an instance those of its spec. `runs`: its guest is there to plug them into.
    pub(crate) async fn sync(
        &self,
        instance: &Instance,
        driver: &dyn ComputeDriver,
        runs: bool,
    ) -> Result<(), VolumeError> {
        let uid = &instance.metadata.uid;
        let mut wanted = Vec::new();
        for (_, named) in instance.spec.named_volumes() {
            wanted.push(self.find(instance, named).await?);
        }
        for held in self.held(uid).await? {
            if wanted.iter().any(|volume| volume.metadata.uid == held.uid) {
                continue;
            }
            self.detach(instance, driver, &held).await?;
        }
        let Some(access) = driver.volumes() else { return Ok(()) };
        if !runs {
            if !self.held(uid).await?.is_empty() {
                access.plugged(uid).await?;
            }
            return Ok(());
        }
        if !access.changes_disks() {
            let plugged = access.plugged(uid).await?;
            let is_new = |volume: &&Volume| !plugged.iter().any(|disk| disk.serial == volume.serial());
            return match wanted.iter().find(is_new) {
                None => Ok(()),
                Some(volume) => Err(VolumeError::Waits(format!(
                    "containers see volume {:?} when they are started anew: stop the instance, and start it",
                    volume.metadata.name
                ))),
            };
        }
        // Only what is not plugged yet needs its key.
        let has_encrypted = wanted.iter().any(|volume| volume.spec.encrypted);
        let plugged = if has_encrypted { access.plugged(uid).await? } else { Vec::new() };
        for volume in &wanted {
            let _changing = self.lock(&volume.metadata.uid).await;
            let mut disk = self.open(instance, volume, Purpose::Keep).await?;
            if !plugged.iter().any(|known| known.serial == disk.serial) {
                disk.key = self.key(volume).await?;
            }
            access.plug(uid, &disk).await?;
        }
        Ok(())
    }

    /// Closes everything of an instance of which nothing runs any more. What it has in a pool that cannot be reached, is
    /// not forgotten: it waits.
    pub(crate) async fn close_all(&self, holder: &Uid) -> Result<(), VolumeError> {
        for instance in self.0.instances.filter(|instance| instance.metadata.uid == *holder) {
            for (_, name) in instance.spec.named_volumes() {
                if let Some(volume) = self.0.volumes.get(&format!("{}/{name}", instance.metadata.namespace)) {
                    self.0.pools.require(&volume.spec.pool)?;
                }
            }
        }
        for held in self.held(holder).await? {
            let _changing = self.lock(&held.uid).await;
            self.driver(&held)?.close(&held, holder).await?;
            self.tell_closed(&held.uid).await;
        }
        self.0.holders.lock().remove(holder);
        Ok(())
    }

    /// Whether another host waits for a volume of the instance, or has it.
    pub(crate) async fn is_wanted_elsewhere(&self, instance: &Instance) -> Result<bool, VolumeError> {
        for (_, name) in instance.spec.named_volumes() {
            let volume = self.0.volumes.get(&format!("{}/{name}", instance.metadata.namespace));
            if let Some(volume) = volume
                && self.driver(&place(&volume))?.is_wanted_elsewhere(&place(&volume)).await?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn detach(
        &self,
        instance: &Instance,
        driver: &dyn ComputeDriver,
        held: &VolumePlace,
    ) -> Result<(), VolumeError> {
        let uid = &instance.metadata.uid;
        let _changing = self.lock(&held.uid).await;
        if let Some(access) = driver.volumes() {
            access.unplug(uid, &model::storage::serial_of(&held.uid)).await?;
        }
        self.driver(held)?.close(held, uid).await?;
        self.tell_closed(&held.uid).await;
        Ok(())
    }

    async fn open(
        &self,
        instance: &Instance,
        volume: &Volume,
        purpose: Purpose,
    ) -> Result<DiskPlan, VolumeError> {
        let (place, holder) = (place(volume), &instance.metadata.uid);
        let name = &volume.metadata.name;
        self.keep(volume).await.map_err(|e| match e {
            VolumeError::Waits(why) => VolumeError::Waits(format!("volume {name:?}: {why}")),
            e => e,
        })?;
        let observed = self.driver(&place)?.observe(&place).await.map_err(|e| match e {
            DriverError::NotFound(_) => VolumeError::Waits(format!("volume {name:?} is not made yet")),
            e => e.into(),
        })?;
        let has_it = observed.holder.as_ref() == Some(holder);
        let epoch = if has_it && purpose == Purpose::Keep {
            observed.epoch
        } else {
            observed.epoch.max(volume.status.epoch) + 1
        };
        if purpose == Purpose::Start || volume.status.used_as != Some(VolumeUse::Disk) {
            self.note_use(instance, volume).await?;
        }
        self.0.holders.lock().insert(holder.clone(), true);
        let location = self.driver(&place)?.open(&place, holder, epoch).await?;
        if !has_it {
            self.look_at(&place.uid);
        }
        Ok(DiskPlan {
            location,
            serial: volume.serial(),
            read_only: false,
            limits: volume.spec.limits,
            when_full: volume.spec.when_full,
            boot: instance.spec.payload.volume() == Some(name),
            encrypted: volume.spec.encrypted,
            key: None,
        })
    }

    /// The key of a volume that is encrypted: the cloud tells it to the host that has the volume, each time anew.
    pub(super) async fn key(&self, volume: &Volume) -> Result<Option<DiskKey>, VolumeError> {
        #[derive(Deserialize)]
        struct Told {
            key: String,
        }
        if !volume.spec.encrypted {
            return Ok(None);
        }
        let (meta, api) = (&volume.metadata, self.0.client.project::<Volume>(&volume.metadata.namespace));
        let told: Told = api.ask_below(&meta.name, "key", &json!({ "uid": meta.uid })).await?;
        Ok(Some(DiskKey::new(told.key)))
    }

    /// Notes who is going to write to it, before anybody does. The host's kernel reads only filesystems that it made
    /// itself: those of others may be made to break it.
    async fn note_use(&self, instance: &Instance, volume: &Volume) -> Result<(), VolumeError> {
        let wanted = match instance.spec.isolation {
            Isolation::Vm | Isolation::MicroVm => VolumeUse::Disk,
            _ => VolumeUse::Filesystem,
        };
        let project = self.0.client.project::<Volume>(&volume.metadata.namespace);
        let name = &volume.metadata.name;
        loop {
            let mut latest = project.get(name).await?;
            let known = latest.status.used_as;
            if wanted == VolumeUse::Filesystem && known != Some(wanted) {
                let others = if known.is_some() {
                    "was the disk of a machine"
                } else if latest.spec.source.is_empty() {
                    ""
                } else {
                    "is made of something else"
                };
                if !others.is_empty() {
                    return Err(VolumeError::Invalid(format!(
                        "volume {name:?} {others}, and containers get only filesystems that this host made: attach it \
                         to a machine, or create an empty one"
                    )));
                }
            }
            // A machine writes what it likes, whatever was there.
            if known == Some(wanted) {
                return Ok(());
            }
            latest.status.used_as = Some(wanted);
            match project.update_status(&latest).await {
                Err(e) if e.is_conflict() => {}
                result => return result.map(drop).map_err(Into::into),
            }
        }
    }

    /// A volume that is here.
    async fn find(&self, instance: &Instance, name: &str) -> Result<Volume, VolumeError> {
        let project = &instance.metadata.namespace;
        let volume = match self.0.volumes.get(&format!("{project}/{name}")) {
            Some(volume) => (*volume).clone(),
            None => self.0.client.project::<Volume>(project).get(name).await?,
        };
        self.0.pools.know(&volume.spec.pool).await?;
        match volume.status.host.as_str() {
            here if here == self.0.host => Ok(volume),
            "" => {
                self.0.queue.add(format!("v/{}", volume.metadata.key()));
                Err(VolumeError::Waits(format!("volume {name:?} is not made yet")))
            }
            there if self.0.pools.require(&volume.spec.pool)? => Err(VolumeError::Waits(format!(
                "volume {name:?} is still with host {there:?}, and comes when nothing there has it open any more"
            ))),
            there => Err(VolumeError::Waits(format!(
                "volume {name:?} is on host {there:?}, the instance on {:?}: detach it, or make the instance there",
                self.0.host
            ))),
        }
    }

    async fn held(&self, holder: &Uid) -> Result<Vec<VolumePlace>, VolumeError> {
        if self.0.holders.lock().get(holder) == Some(&false) {
            return Ok(Vec::new());
        }
        let held = self.0.pools.held_by(holder).await?;
        // A pool that cannot be reached may have more.
        if !held.is_empty() || self.0.pools.all_usable() {
            self.0.holders.lock().insert(holder.clone(), !held.is_empty());
        }
        Ok(held)
    }

    /// Says at once that nobody has it: who sees an instance gone, or a volume detached, finds the volume free.
    async fn tell_closed(&self, uid: &Uid) {
        for volume in self.0.volumes.filter(|volume| volume.metadata.uid == *uid) {
            let mut free = (*volume).clone();
            free.status.attachment = None;
            if free.status.phase == VolumePhase::InUse {
                free.status.phase = VolumePhase::Available;
            }
            if let Err(e) = self.write(&volume, free).await {
                tracing::debug!(volume = volume.metadata.key(), error = %e, "it is told later that it is free");
            }
        }
        self.look_at(uid);
    }

    /// Its status is written anew.
    fn look_at(&self, uid: &Uid) {
        for volume in self.0.volumes.filter(|volume| volume.metadata.uid == *uid) {
            self.0.queue.add(format!("v/{}", volume.metadata.key()));
        }
    }
}
