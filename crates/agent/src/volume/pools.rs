//! Pools as this host has them. Those that not every host has by itself are looked at again and again, since what is
//! mounted may go, and what is missing may come.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use client::{Client, ListParams};
use driver::{CephPool, PoolPlace, StoragePool, VolumeDriver, VolumePlace};
use futures::future::join_all;
use model::storage::{CephPlace, Pool, PoolDriver, ThinPool};
use model::topology::HostPool;
use model::{ApiError, Uid};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::VolumeError;

/// How often they are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What is known of pools. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Pools(Arc<Inner>);

struct Inner {
    host: String,
    client: Client,
    drivers: VolumeDrivers,
    known: Mutex<BTreeMap<String, Known>>,
    /// What was found is another thing than before.
    changed: Notify,
}

/// What keeps volumes, by what keeps their pool. Cheap to clone.
#[derive(Clone)]
pub struct VolumeDrivers {
    /// Files, in folders of this host or of several.
    pub files: Arc<dyn VolumeDriver>,
    /// Thin volumes of LVM.
    pub lvm: Arc<dyn VolumeDriver>,
    /// Images in Ceph clusters.
    pub ceph: Arc<dyn VolumeDriver>,
}

impl std::fmt::Debug for VolumeDrivers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = [self.files.name(), self.lvm.name(), self.ceph.name()];
        f.debug_tuple("VolumeDrivers").field(&names).finish()
    }
}

impl VolumeDrivers {
    fn of(&self, driver: PoolDriver) -> &Arc<dyn VolumeDriver> {
        match driver {
            PoolDriver::Dir | PoolDriver::Files => &self.files,
            PoolDriver::Lvm => &self.lvm,
            PoolDriver::Rbd => &self.ceph,
        }
    }
}

/// What is known of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    driver: PoolDriver,
    is_shared: bool,
    /// Every host has it.
    is_everywhere: bool,
    /// Why it is not here; empty when it is.
    trouble: String,
}

impl Known {
    fn is_usable(&self) -> bool {
        self.trouble.is_empty()
    }
}

impl Pools {
    pub(crate) fn new(host: &str, client: &Client, drivers: &VolumeDrivers) -> Self {
        Self(Arc::new(Inner {
            host: host.to_owned(),
            client: client.clone(),
            drivers: drivers.clone(),
            known: Mutex::default(),
            changed: Notify::new(),
        }))
    }

    /// Looks at all of them, for ever.
    pub(crate) async fn run(self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Err(e) = self.look().await {
                tracing::debug!(error = %e, "pools were not looked at");
            }
        }
    }

    /// Before the first look nothing is known, and nothing may be done with a volume.
    pub(crate) async fn look(&self) -> Result<(), ApiError> {
        let pools = self.0.client.all::<Pool>().list(&ListParams::default()).await?.items;
        let looks = pools.iter().map(|pool| self.look_at(pool));
        let found: BTreeMap<String, Known> = join_all(looks).await.into_iter().collect();
        let before = std::mem::replace(&mut *self.0.known.lock(), found.clone());
        if before != found {
            for (name, known) in &found {
                if before.get(name) != Some(known) && !known.is_everywhere {
                    tracing::info!(pool = name, trouble = known.trouble, "a pool was looked for");
                }
            }
            self.0.changed.notify_one();
        }
        Ok(())
    }

    async fn look_at(&self, pool: &Pool) -> (String, Known) {
        let (driver, is_shared, is_everywhere) =
            (pool.spec.driver, pool.spec.is_shared(), pool.spec.is_everywhere());
        let served = if is_everywhere { Ok(()) } else { self.serve(pool).await };
        let trouble = served.err().map(|e| e.to_string()).unwrap_or_default();
        (pool.metadata.name.clone(), Known { driver, is_shared, is_everywhere, trouble })
    }

    async fn serve(&self, pool: &Pool) -> Result<(), VolumeError> {
        let driver = self.0.drivers.of(pool.spec.driver);
        let place = match (&pool.spec.ceph, &pool.spec.lvm) {
            (Some(CephPlace { pool, user, conf }), _) => {
                PoolPlace::Ceph(CephPool { conf: conf.into(), user: user.clone(), pool: pool.clone() })
            }
            (_, Some(ThinPool { group, pool })) => {
                PoolPlace::ThinPool { group: group.clone(), pool: pool.clone() }
            }
            (None, None) => PoolPlace::Folder(pool.spec.path.clone().into()),
        };
        let mut plan = StoragePool {
            name: pool.metadata.name.clone(),
            identity: pool.metadata.uid.clone(),
            place,
            is_new: !pool.spec.is_shared(),
        };
        if plan.is_new {
            return Ok(driver.serve(&plan).await?);
        }
        let status = &pool.status;
        if status.made || (!status.maker.is_empty() && status.maker != self.0.host) {
            return Ok(driver.serve(&plan).await?);
        }
        // Nobody makes a pool of a folder in which nothing is mounted; that its name means this pool is said all the same.
        if let PoolPlace::Folder(folder) = &plan.place
            && !is_mounted(folder).await
        {
            let _ = driver.serve(&plan).await;
            let what = format!("{} is no mount point: mount there what hosts share", folder.display());
            return Err(VolumeError::Waits(what));
        }
        let api = self.0.client.all::<Pool>();
        let mut pool = pool.clone();
        if pool.status.maker.is_empty() {
            pool.status.maker.clone_from(&self.0.host);
            pool = match api.update_status(&pool).await {
                Ok(pool) => pool,
                Err(e) => {
                    let _ = driver.serve(&plan).await;
                    return Err(e.into());
                }
            };
        }
        plan.is_new = true;
        let served = driver.serve(&plan).await;
        match &served {
            Ok(()) => pool.status.made = true,
            // Another host may be able to.
            Err(_) => pool.status.maker.clear(),
        }
        api.update_status(&pool).await?;
        Ok(served?)
    }

    /// Looks when a pool is not known: it was made just now.
    pub(crate) async fn know(&self, name: &str) -> Result<(), ApiError> {
        let known = self.0.known.lock().contains_key(name);
        if known { Ok(()) } else { self.look().await }
    }

    /// Whether hosts share it. An error when it cannot be used here, or nothing is known of it.
    pub(crate) fn require(&self, name: &str) -> Result<bool, VolumeError> {
        let known = self.find(name)?;
        if known.is_usable() {
            return Ok(known.is_shared);
        }
        let (host, why) = (&self.0.host, &known.trouble);
        Err(VolumeError::Waits(format!("pool {name:?} cannot be used on host {host:?}: {why}")))
    }

    /// Whether its volumes stay on their host.
    pub(crate) fn stays(&self, name: &str) -> bool {
        self.find(name).is_ok_and(|known| !known.is_shared)
    }

    /// Whether a look at one of its volumes costs calls of programs.
    pub(crate) fn is_far(&self, name: &str) -> bool {
        self.find(name).is_ok_and(|known| matches!(known.driver, PoolDriver::Lvm | PoolDriver::Rbd))
    }

    /// What keeps the pool's volumes.
    pub(crate) fn driver(&self, name: &str) -> Result<&dyn VolumeDriver, VolumeError> {
        Ok(&**self.0.drivers.of(self.find(name)?.driver))
    }

    /// Volumes of this host that `holder` may open, in whichever pool.
    pub(crate) async fn held_by(&self, holder: &Uid) -> Result<Vec<VolumePlace>, VolumeError> {
        let VolumeDrivers { files, lvm, ceph } = &self.0.drivers;
        let mut held = files.held_by(holder).await?;
        for other in [lvm, ceph] {
            held.extend(other.held_by(holder).await?);
        }
        Ok(held)
    }

    fn find(&self, name: &str) -> Result<Known, VolumeError> {
        let found = self.0.known.lock().get(name).cloned();
        found.ok_or_else(|| {
            VolumeError::Waits(format!("host {:?} has not looked at pool {name:?} yet", self.0.host))
        })
    }

    /// Pools that can be used here.
    pub(crate) fn usable(&self) -> Vec<String> {
        let known = self.0.known.lock();
        known.iter().filter(|(_, known)| known.is_usable()).map(|(name, _)| name.clone()).collect()
    }

    pub(crate) fn all_usable(&self) -> bool {
        self.0.known.lock().values().all(Known::is_usable)
    }

    /// What the cloud is told.
    pub(crate) fn report(&self) -> Vec<HostPool> {
        let known = self.0.known.lock();
        let sought = known.iter().filter(|(_, known)| !known.is_everywhere);
        let told = |(name, known): (&String, &Known)| HostPool {
            name: name.clone(),
            unavailable: known.trouble.clone(),
        };
        sought.map(told).collect()
    }

    pub(crate) async fn changed(&self) {
        self.0.changed.notified().await;
    }
}

/// Whether something is mounted at just this path.
async fn is_mounted(path: &Path) -> bool {
    let mounts = tokio::fs::read_to_string("/proc/self/mountinfo").await.unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    path.to_str().is_some_and(|path| points.into_iter().any(|point| point == path))
}
