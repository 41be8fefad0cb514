//! Volumes and snapshots on this host: made, grown, taken and deleted as wanted, attached to instances under epochs,
//! and reported as they are. Whoever changes a volume holds its lock, so that a machine never starts with a disk
//! that is being frozen.

mod attach;
mod backup;
mod origin;
pub(crate) mod pools;
mod read;
mod report;
mod rest;
mod room;

pub(crate) use attach::Prepared;
use pools::Pools;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use client::{Client, ListParams};
use driver::{DriverError, ObservedVolume, VolumeAccess, VolumeDriver, VolumePlace};
use model::compute::Instance;
use model::storage::{Volume, VolumeSnapshot};
use model::{ApiError, Bytes, Resource, Timestamp, Uid};
use parking_lot::Mutex;
use reconcile::{Cache, Change, Outcome, Queue};
use tokio::sync::{Notify, OwnedMutexGuard, RwLock};

use crate::images::Images;
use crate::instance::{Serving, driver_for};

/// Volumes and snapshots worked on at the same time.
const WORKERS: usize = 8;
/// How often what is used is looked at.
const RESYNC: Duration = Duration::from_secs(30);
/// The same where a look takes the time of several programs.
const RESYNC_FAR: Duration = Duration::from_secs(300);
/// How long what waits for something else waits before it looks again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Why a volume is not as wanted yet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VolumeError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// It waits for something that will come, or that the user has to do.
    #[error("{0}")]
    Waits(String),
    #[error("{0}")]
    Invalid(String),
}

/// What the volumes of a host are made with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Volumes(Arc<Inner>);

struct Inner {
    host: String,
    client: Client,
    pools: Pools,
    drivers: Vec<Serving>,
    images: Images,
    volumes: Cache<Volume>,
    snapshots: Cache<VolumeSnapshot>,
    instances: Cache<Instance>,
    queue: Queue,
    /// Instances whose volumes have changed.
    instances_queue: Queue,
    locks: Mutex<HashMap<Uid, Arc<tokio::sync::Mutex<()>>>>,
    /// Whether an instance may hold volumes; one that is not in it was not looked at yet.
    holders: Mutex<HashMap<Uid, bool>>,
    /// Volumes that were found to have no layers to spare, since layers last became spare.
    merged: Mutex<HashSet<Uid>>,
    /// Asks for pools to be tidied.
    tidy: Notify,
    /// Held by whoever reads layers of snapshots.
    reading: RwLock<()>,
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

/// What [`Volumes::follow`] is given.
pub(crate) struct Given {
    pub(crate) host: String,
    pub(crate) client: Client,
    pub(crate) pools: Pools,
    pub(crate) drivers: Vec<Serving>,
    pub(crate) images: Images,
    pub(crate) instances: Cache<Instance>,
    pub(crate) instances_queue: Queue,
    pub(crate) now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl Volumes {
    pub(crate) fn follow(given: Given) -> Self {
        let queue = Queue::new();
        let Given { host, client, pools, drivers, images, instances, instances_queue, now } = given;
        // Keys of two kinds in one line; a project's name has no slash.
        let volumes = listen::<Volume>(&client, &queue, "v/");
        let snapshots = listen::<VolumeSnapshot>(&client, &queue, "s/");
        Self(Arc::new(Inner {
            host,
            client,
            pools,
            drivers,
            images,
            volumes,
            snapshots,
            instances,
            queue,
            instances_queue,
            locks: Mutex::default(),
            holders: Mutex::default(),
            merged: Mutex::default(),
            tidy: Notify::new(),
            reading: RwLock::new(()),
            now,
        }))
    }

    pub(crate) async fn run(self) {
        tokio::join!(self.0.volumes.synced(), self.0.snapshots.synced(), self.0.instances.synced());
        let queue = self.0.queue.clone();
        let reconcile = reconcile::run("volumes", queue, WORKERS, |key| self.reconcile(key));
        tokio::join!(reconcile, self.tidy());
    }

    async fn reconcile(&self, key: String) -> Result<Outcome, VolumeError> {
        if let Some(key) = key.strip_prefix("v/") {
            let Some(volume) = self.0.volumes.get(key) else { return Ok(Outcome::Done) };
            self.0.pools.know(&volume.spec.pool).await?;
            return self.volume((*volume).clone()).await;
        }
        let key = key.trim_start_matches("s/");
        let Some(snapshot) = self.0.snapshots.get(key) else { return Ok(Outcome::Done) };
        self.snapshot((*snapshot).clone()).await
    }

    async fn volume(&self, volume: Volume) -> Result<Outcome, VolumeError> {
        if volume.status.host != self.0.host {
            let unclaimed = volume.status.host.is_empty() && !volume.metadata.is_deleting();
            // Which host has the work of one that hosts share, the cloud says. The others are of the host that they are
            // wanted on, which says why it cannot make one.
            if !unclaimed || !self.0.pools.stays(&volume.spec.pool) || !self.is_wanted_here(&volume) {
                return Ok(Outcome::Done);
            }
            let Err(e) = self.0.pools.require(&volume.spec.pool) else {
                self.claim(&volume).await?;
                return Ok(Outcome::Done);
            };
            self.report_trouble(&volume, &e).await?;
            return Ok(Outcome::RequeueAfter(LOOK_AGAIN));
        }
        let _changing = self.lock(&volume.metadata.uid).await;
        // While it waited the volume may have gone to another host and come back.
        let volume = match self.0.volumes.get(&volume.metadata.key()) {
            Some(latest) if latest.metadata.uid == volume.metadata.uid => (*latest).clone(),
            _ => volume,
        };
        let result = match self.keep(&volume).await {
            Ok(()) if volume.metadata.is_deleting() => self.delete(&volume).await,
            Ok(()) => self.make(&volume).await,
            Err(e) => Err(e),
        };
        match result {
            Ok(outcome) => Ok(outcome),
            Err(e) => {
                self.report_trouble(&volume, &e).await?;
                match e {
                    VolumeError::Waits(_) => Ok(Outcome::RequeueAfter(LOOK_AGAIN)),
                    e => Err(e),
                }
            }
        }
    }

    /// Makes sure that no other host has the volume, where hosts share its pool.
    async fn keep(&self, volume: &Volume) -> Result<(), VolumeError> {
        if !self.0.pools.require(&volume.spec.pool)? {
            return Ok(());
        }
        match self
            .driver(&place(volume))?
            .keep(&place(volume), volume.status.moves, &volume.status.lost)
            .await
        {
            // Another has it still, or again.
            Err(DriverError::WrongState(why)) => Err(VolumeError::Waits(why)),
            result => Ok(result?),
        }
    }

    /// It is to be on this host, or an instance of this host names it.
    fn is_wanted_here(&self, volume: &Volume) -> bool {
        if !volume.spec.host.is_empty() {
            return volume.spec.host == self.0.host;
        }
        let (project, name) = (&volume.metadata.namespace, &volume.metadata.name);
        let names = |i: &Instance| {
            i.metadata.namespace == *project && i.status.host == self.0.host && i.spec.has_volume(name)
        };
        !self.0.instances.filter(names).is_empty()
    }

    async fn make(&self, volume: &Volume) -> Result<Outcome, VolumeError> {
        let place = place(volume);
        let observed = match self.driver(&place)?.observe(&place).await {
            Ok(observed) => observed,
            // To make it anew would look as if it had always been empty.
            Err(DriverError::NotFound(_)) if volume.status.size > Bytes(0) => {
                return Err(VolumeError::Waits(format!(
                    "what was in it is gone from pool {:?} on host {:?}: give the host its disks back, or delete the volume \
                     and restore a backup",
                    volume.spec.pool, self.0.host
                )));
            }
            Err(DriverError::NotFound(_)) => {
                self.require_room(volume).await?;
                self.create(volume).await?;
                self.keep(volume).await?;
                self.driver(&place)?.observe(&place).await?
            }
            Err(e) => return Err(e.into()),
        };
        if volume.spec.size > observed.size {
            self.require_room(volume).await?;
            self.grow(volume, &observed).await?;
        }
        let mut done = volume.status.reverts_done;
        if let Some(revert) = volume.spec.revert.as_ref().filter(|revert| revert.count > done) {
            if let Some(holder) = &observed.holder {
                let name = self.instance_name(holder);
                let what = format!("waits until it is detached from instance {name:?} before it goes back");
                return Err(VolumeError::Waits(what));
            }
            let snapshot = self.ready_snapshot(&volume.metadata.namespace, &revert.snapshot)?;
            self.driver(&place)?.revert(&place, &snapshot).await?;
            done = revert.count;
        }
        let observed = self.driver(&place)?.observe(&place).await?;
        self.report(volume, &observed, done).await?;
        self.tell_instances(volume);
        let resync = if self.0.pools.is_far(&volume.spec.pool) { RESYNC_FAR } else { RESYNC };
        match self.merge(volume, &observed).await {
            Ok(false) => Ok(Outcome::RequeueAfter(resync)),
            Ok(true) => Ok(Outcome::RequeueAfter(LOOK_AGAIN)),
            // The volume is none the worse for it.
            Err(e) => {
                tracing::warn!(volume = volume.metadata.key(), error = %e, "layers were not merged");
                Ok(Outcome::RequeueAfter(resync))
            }
        }
    }

    async fn grow(&self, volume: &Volume, observed: &ObservedVolume) -> Result<(), VolumeError> {
        let (place, size) = (place(volume), volume.spec.size);
        if let Some((access, holder)) = self.open_in(observed) {
            let serial = volume.serial();
            if access.plugged(&holder).await?.iter().any(|disk| disk.serial == serial) {
                self.require_change(access, &holder)?;
                self.driver(&place)?.begin_growth(&place, size).await?;
                access.resize(&holder, &serial, size).await?;
                return Ok(self.driver(&place)?.grown(&place, size).await?);
            }
        }
        Ok(self.driver(&place)?.grow(&place, size).await?)
    }

    async fn delete(&self, volume: &Volume) -> Result<Outcome, VolumeError> {
        let place = place(volume);
        match self.driver(&place)?.observe(&place).await {
            Ok(ObservedVolume { holder: Some(holder), .. }) => {
                let name = self.instance_name(&holder);
                return Err(VolumeError::Waits(format!("waits until it is detached from instance {name:?}")));
            }
            Ok(_) | Err(DriverError::NotFound(_)) => {}
            Err(e) => return Err(e.into()),
        }
        self.driver(&place)?.delete(&place).await?;
        self.forget_moment(&place).await?;
        // A clone that was cut off leaves a snapshot of its source under its own uid.
        self.driver(&place)?.delete_snapshot(&place).await?;
        self.look_for_spare_layers();
        self.let_go(volume).await?;
        self.0.locks.lock().remove(&volume.metadata.uid);
        Ok(Outcome::Done)
    }

    async fn snapshot(&self, snapshot: VolumeSnapshot) -> Result<Outcome, VolumeError> {
        let project = &snapshot.metadata.namespace;
        let volume = self.0.volumes.get(&format!("{project}/{}", snapshot.spec.volume));
        if snapshot.metadata.is_deleting() {
            if snapshot.status.host == self.0.host {
                // Whichever pool it is in: the volume may be gone.
                let known = &snapshot.status.pool;
                if let Err(e) = self.0.pools.require(known)
                    && !known.is_empty()
                {
                    tracing::warn!(snapshot = snapshot.metadata.key(), error = %e, "it cannot be deleted now");
                    return Ok(Outcome::RequeueAfter(LOOK_AGAIN));
                }
                for pool in self.0.pools.usable() {
                    let place = VolumePlace { pool, uid: snapshot.metadata.uid.clone() };
                    self.driver(&place)?.delete_snapshot(&place).await?;
                    self.driver(&place)?.delete(&place).await?;
                }
                self.look_for_spare_layers();
                self.let_go(&snapshot).await?;
            }
            return Ok(Outcome::Done);
        }
        if snapshot.spec.volume.is_empty() {
            return self.make_snapshot(&snapshot).await;
        }
        let Some(volume) = volume.filter(|v| v.status.host == self.0.host && !snapshot.status.ready) else {
            return Ok(Outcome::Done);
        };
        if snapshot.status.host.is_empty() {
            // From now on it goes only when this host has let go of it.
            self.report_snapshot(&snapshot, None, "").await?;
            return Ok(Outcome::Done);
        }
        let _changing = self.lock(&volume.metadata.uid).await;
        let free = match self.keep(&volume).await {
            Ok(()) => self.rests(&snapshot, &volume).await,
            Err(e) => Err(e),
        };
        let taken = match free {
            Ok(()) => self.take(&volume, &snapshot.metadata.uid).await,
            Err(e) => Err(e),
        };
        match taken {
            Ok(size) => self.taken(&snapshot, size).await.map(|()| Outcome::Done),
            Err(e) => {
                self.report_snapshot(&snapshot, None, &e.to_string()).await?;
                Ok(Outcome::RequeueAfter(LOOK_AGAIN))
            }
        }
    }

    async fn taken(&self, snapshot: &VolumeSnapshot, size: Bytes) -> Result<(), VolumeError> {
        self.report_snapshot(snapshot, Some(size), "").await?;
        // Clones and returns may wait for it.
        let project = &snapshot.metadata.namespace;
        for waiting in self.0.volumes.filter(|v| v.metadata.namespace == *project) {
            self.0.queue.add(format!("v/{}", waiting.metadata.key()));
        }
        Ok(())
    }

    /// Freezes the volume as it is; a guest that runs goes on with a new head, and notices nothing.
    async fn take(&self, volume: &Volume, snapshot: &Uid) -> Result<Bytes, VolumeError> {
        let place = place(volume);
        let observed = self.driver(&place)?.observe(&place).await?;
        if let Some((access, holder)) = self.open_in(&observed).filter(|(access, _)| !access.changes_disks())
            && !access.plugged(&holder).await?.is_empty()
        {
            self.require_change(access, &holder)?;
        }
        let Some(overlay) = self.driver(&place)?.begin_snapshot(&place, snapshot).await? else {
            return Ok(self.driver(&place)?.finish_snapshot(&place, snapshot).await?);
        };
        if let Some((access, holder)) = self.open_in(&observed) {
            let serial = volume.serial();
            if access.plugged(&holder).await?.iter().any(|disk| disk.serial == serial) {
                access.switch(&holder, &serial, &overlay).await?;
            }
        }
        Ok(self.driver(&place)?.finish_snapshot(&place, snapshot).await?)
    }

    /// Containers that run have to be stopped before their volumes are changed.
    fn require_change(&self, access: &dyn VolumeAccess, holder: &Uid) -> Result<(), VolumeError> {
        if access.changes_disks() {
            return Ok(());
        }
        let name = self.instance_name(holder);
        Err(VolumeError::Waits(format!(
            "waits until instance {name:?} is stopped: its containers have it mounted"
        )))
    }

    /// What keeps the pool in which it is.
    fn driver(&self, place: &VolumePlace) -> Result<&dyn VolumeDriver, VolumeError> {
        self.0.pools.driver(&place.pool)
    }

    /// The machine that may have it open now.
    fn open_in(&self, observed: &ObservedVolume) -> Option<(&dyn VolumeAccess, Uid)> {
        let holder = observed.holder.clone()?;
        let instance = self.0.instances.filter(|i| i.metadata.uid == holder).into_iter().next()?;
        let driver = driver_for(&self.0.drivers, instance.spec.cell())?;
        Some((driver.volumes()?, holder))
    }

    async fn lock(&self, uid: &Uid) -> OwnedMutexGuard<()> {
        let lock = Arc::clone(self.0.locks.lock().entry(uid.clone()).or_default());
        lock.lock_owned().await
    }

    /// Instances that wait for it look again.
    fn tell_instances(&self, volume: &Volume) {
        if volume.status.phase != model::storage::VolumePhase::Pending {
            return;
        }
        let (project, name) = (&volume.metadata.namespace, &volume.metadata.name);
        let names = |i: &Instance| i.metadata.namespace == *project && i.spec.has_volume(name);
        for instance in self.0.instances.filter(names) {
            self.0.instances_queue.add(instance.metadata.key());
        }
    }

    fn instance_name(&self, uid: &Uid) -> String {
        let found = self.0.instances.filter(|i| i.metadata.uid == *uid);
        found.first().map_or_else(|| uid.to_string(), |i| i.metadata.name.clone())
    }
}

fn place(volume: &Volume) -> VolumePlace {
    VolumePlace { pool: volume.spec.pool.clone(), uid: volume.metadata.uid.clone() }
}

fn listen<R: Resource>(client: &Client, queue: &Queue, prefix: &'static str) -> Cache<R> {
    let queue = queue.clone();
    let listener = move |change: &Change<R>| {
        if let Change::Applied { new, .. } = change {
            queue.add(format!("{prefix}{}", Resource::metadata(&**new).key()));
        }
    };
    Cache::start(client.all::<R>(), ListParams::default(), vec![Box::new(listener)])
}
