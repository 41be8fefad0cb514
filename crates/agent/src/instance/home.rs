//! Homes: one directory per instance on this host, and with it the user id that only this instance uses.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use driver::ComputeDriver;
use model::Uid;
use model::compute::Cell;
use parking_lot::Mutex;

use super::InstanceError;
use crate::blocking::blocking;

/// The first user id given to guests; far above people and services, below the range of nobody.
const FIRST_USER_ID: u32 = 2_000_000;
const USER_IDS: u32 = 100_000;
/// The file in a home that says which user id its instance has.
const USER_ID_FILE: &str = "user-id";
/// The file in a home that says which reboot was carried out last: the server may not know it yet.
const REBOOTS_FILE: &str = "reboots-done";

/// All homes on this host. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Homes {
    root: PathBuf,
    /// User ids in use; read from the disk at the start.
    taken: Arc<Mutex<BTreeSet<u32>>>,
}

/// One instance's home.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    pub(crate) dir: PathBuf,
    pub(crate) user_id: u32,
}

impl Homes {
    pub(crate) fn open(root: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&root)?;
        let homes = Self { root, taken: Arc::default() };
        for uid in homes.list()? {
            if let Some(user_id) = read_user_id(&homes.root.join(uid.as_str())) {
                homes.taken.lock().insert(user_id);
            }
        }
        Ok(homes)
    }

    /// The uids that have a home here.
    pub(crate) fn list(&self) -> io::Result<Vec<Uid>> {
        let mut uids = Vec::new();
        for entry in std::fs::read_dir(&self.root)? {
            uids.extend(entry?.file_name().to_str().and_then(Uid::parse));
        }
        uids.sort_unstable();
        Ok(uids)
    }

    /// The home of an instance, made if need be.
    pub(crate) fn ensure(&self, uid: &Uid) -> Result<Home, InstanceError> {
        let dir = self.root.join(uid.as_str());
        let failed =
            |source| InstanceError::Host { what: format!("the home of {uid} cannot be made"), source };
        std::fs::create_dir_all(&dir).map_err(failed)?;
        if let Some(user_id) = read_user_id(&dir) {
            return Ok(Home { dir, user_id });
        }
        let user_id = {
            let mut taken = self.taken.lock();
            let free = (FIRST_USER_ID..FIRST_USER_ID + USER_IDS).find(|id| !taken.contains(id));
            let free = free.ok_or_else(|| failed(io::Error::other("all user ids for guests are in use")))?;
            taken.insert(free);
            free
        };
        std::fs::write(dir.join(USER_ID_FILE), user_id.to_string()).map_err(failed)?;
        Ok(Home { dir, user_id })
    }

    /// The home of an instance that was started here.
    pub(crate) fn find(&self, uid: &Uid) -> Option<Home> {
        let dir = self.root.join(uid.as_str());
        read_user_id(&dir).map(|user_id| Home { dir, user_id })
    }

    /// The user of a home; `None` when there is no such home.
    pub(crate) fn user_id(&self, uid: &Uid) -> Option<u32> {
        read_user_id(&self.root.join(uid.as_str()))
    }

    /// The last reboot carried out here.
    pub(crate) fn reboots_done(&self, uid: &Uid) -> u64 {
        let path = self.root.join(uid.as_str()).join(REBOOTS_FILE);
        std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    pub(crate) fn note_reboots(&self, uid: &Uid, done: u64) -> Result<(), InstanceError> {
        std::fs::write(self.root.join(uid.as_str()).join(REBOOTS_FILE), done.to_string())
            .map_err(|source| InstanceError::Host { what: "a reboot cannot be noted".into(), source })
    }

    /// Removes a home; one that does not exist is removed already.
    pub(crate) async fn remove(&self, uid: &Uid) -> Result<(), InstanceError> {
        let dir = self.root.join(uid.as_str());
        let user_id = read_user_id(&dir);
        let path = dir.clone();
        let result = blocking(move || std::fs::remove_dir_all(path)).await;
        match result.unwrap_or_else(|e| Err(io::Error::other(e))) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(InstanceError::Host { what: format!("{} cannot be removed", dir.display()), source: e })
            }
            _ => {
                if let Some(user_id) = user_id {
                    self.taken.lock().remove(&user_id);
                }
                Ok(())
            }
        }
    }
}

fn read_user_id(dir: &Path) -> Option<u32> {
    std::fs::read_to_string(dir.join(USER_ID_FILE)).ok()?.trim().parse().ok()
}

/// The driver that serves a cell; the first one in the agent's list wins.
pub(crate) fn driver_for(drivers: &[Serving], cell: Cell) -> Option<&Arc<dyn ComputeDriver>> {
    drivers.iter().find(|d| d.cells.contains(&cell)).map(|d| &d.driver)
}

/// A driver and the cells it was found to serve on this host.
#[derive(Clone)]
pub(crate) struct Serving {
    pub(crate) driver: Arc<dyn ComputeDriver>,
    pub(crate) cells: Vec<Cell>,
}
