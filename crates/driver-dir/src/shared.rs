//! Pools whose folder several hosts have, by whatever carries it from one to the other. The folder says which pool it
//! is, so that one that is not mounted is never taken for an empty pool. Records are changed by one host at a time:
//! whoever has the lock on `locks/turn`. Long work on files, which is done without it, is announced under the lock on
//! `locks/work`, and stops for whoever needs the files. Both locks end with the process that has them.

use std::fs::{self, File};
use std::future::Future;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use driver::{DriverError, PoolPlace, StoragePool};
use model::Uid;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::{Instant, sleep, timeout};

use crate::driver::DirDriver;
use crate::pool::{Pool, failed, names};
use crate::record;

const IDENTITY: &str = "identity";
/// How long a file system may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How long a change waits for those of other hosts. They take milliseconds, or as long as it takes to stop work.
const TURN_MAX: Duration = Duration::from_secs(90);
/// How long work of another host may take to stop.
const STOP_MAX: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(5);
const LOOK_FOR_STOP: Duration = Duration::from_millis(100);
/// Most uids of deleted volumes that are remembered.
const GONE_MAX: usize = 10_000;
/// What file systems put into their own topmost folder.
const FOREIGN: &[&str] = &["lost+found", ".trashcan", ".snapshot", ".snap", ".glusterfs"];

/// What this host knows of a pool that others have too. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    folder: PathBuf,
    identity: Uid,
    /// It was there once: instances may hold volumes in it.
    was_there: bool,
    /// Why it is not there.
    trouble: Option<String>,
    turn: Arc<Mutex<()>>,
    /// Whoever looks at it has this.
    look: Arc<Mutex<()>>,
}

/// Nobody else changes records as long as it lives.
#[derive(Debug)]
pub(crate) struct Turn {
    // Given back in this order.
    _among_hosts: Option<FolderLock>,
    _here: OwnedMutexGuard<()>,
}

/// A lock on a file of a folder that hosts share.
#[derive(Debug)]
struct FolderLock(#[allow(dead_code)] File);

/// What the folder says of itself.
#[derive(Debug, Serialize, Deserialize)]
struct Identity {
    pool: Uid,
}

/// Which file a host works on.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Working {
    host: String,
    top: String,
}

/// Work that no other host does at the same time.
#[derive(Debug)]
pub(crate) struct Work {
    lock: Option<FolderLock>,
    stop: PathBuf,
}

impl Turn {
    pub(crate) async fn of_host(turn: &Arc<Mutex<()>>) -> Self {
        Self { _among_hosts: None, _here: Arc::clone(turn).lock_owned().await }
    }
}

impl FolderLock {
    fn try_take(path: &Path) -> io::Result<Option<Self>> {
        let file = File::options().create(true).append(true).mode(0o600).open(path)?;
        Ok(sys::lock::try_exclusive(&file, 0..1)?.then_some(Self(file)))
    }

    /// `None` when another has it all the time.
    async fn take(path: &Path, max: Duration) -> Result<Option<Self>, DriverError> {
        let deadline = Instant::now() + max;
        loop {
            match Self::try_take(path).map_err(failed("locking the pool"))? {
                Some(lock) => return Ok(Some(lock)),
                None if Instant::now() >= deadline => return Ok(None),
                None => sleep(LOOK_AGAIN).await,
            }
        }
    }
}

impl Shared {
    pub(crate) async fn enter(&self, host: &str) -> Result<(Pool, Turn), DriverError> {
        let here = Arc::clone(&self.turn).lock_owned().await;
        if let Some(trouble) = &self.trouble {
            return Err(DriverError::WrongState(trouble.clone()));
        }
        self.ask(Self::check).await?;
        let lock = FolderLock::take(&lock_path(&self.folder, "turn"), TURN_MAX).await?;
        let lock = lock.ok_or_else(|| {
            DriverError::WrongState(format!(
                "another host has stood still in a change of the pool at {}: it goes on when that host does, or ends",
                self.folder.display()
            ))
        })?;
        let pool = Pool::open(self.folder.clone(), host)?;
        Ok((pool, Turn { _among_hosts: Some(lock), _here: here }))
    }

    /// Looks at its records as they are at this moment, without a turn.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        host: &str,
        look: impl FnOnce(&Pool) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        let pool = Pool::at(self.folder.clone(), host);
        let checked = move |shared: &Self| {
            shared.check()?;
            look(&pool)
        };
        self.ask(checked).await
    }

    /// Asks something of the folder. A file system whose server is gone keeps whoever asks for as long as it likes: that is
    /// one thread at most, and nobody waits for it.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Self) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        let asked = async {
            let alone = Arc::clone(&self.look).lock_owned().await;
            let shared = self.clone();
            let asked = tokio::task::spawn_blocking(move || {
                let _alone = alone;
                question(&shared)
            });
            asked.await.unwrap_or_else(|e| Err(DriverError::failed("looking at the pool", e)))
        };
        timeout(ANSWER_MAX, asked).await.unwrap_or_else(|_| {
            let (place, seconds) = (self.folder.display(), ANSWER_MAX.as_secs());
            Err(DriverError::WrongState(format!("{place} has not answered for {seconds} s")))
        })
    }

    /// Whether the folder is this pool's.
    fn check(&self) -> Result<(), DriverError> {
        let found = self.identity()?;
        let place = self.folder.display();
        match found {
            Some(found) if found == self.identity => Ok(()),
            Some(other) => Err(DriverError::WrongState(format!(
                "{place} has another pool in it, of the uid {other}: give this one a folder of its own, or empty it if \
                 that pool is no more"
            ))),
            None => Err(DriverError::WrongState(format!(
                "{place} is not the pool's folder: it is not mounted, or another one is"
            ))),
        }
    }

    fn identity(&self) -> Result<Option<Uid>, DriverError> {
        let found: Option<Identity> =
            record::read(&self.folder.join(IDENTITY)).map_err(failed("reading whose folder it is"))?;
        Ok(found.map(|found| found.pool))
    }

    /// Makes it the pool's folder. It has to be there, and empty: nobody's files are mixed with others'.
    fn make(&self) -> Result<(), DriverError> {
        if !self.folder.is_dir() || self.identity()?.is_some() {
            return Ok(());
        }
        let unfinished = Path::new(IDENTITY).with_extension("new");
        let is_foreign = |name: &String| !FOREIGN.contains(&name.as_str()) && Path::new(name) != unfinished;
        if let Some(name) = names(&self.folder)?.into_iter().find(is_foreign) {
            let place = self.folder.display();
            return Err(DriverError::Invalid(format!(
                "{place} is not empty, it has {name:?}: give the pool a folder of its own"
            )));
        }
        record::write(&self.folder.join(IDENTITY), &Identity { pool: self.identity.clone() })
            .map_err(failed("making the pool"))
    }
}

impl DirDriver {
    pub(crate) async fn serve_shared(&self, pool: &StoragePool) -> Result<(), DriverError> {
        let PoolPlace::Folder(folder) = &pool.place else {
            return Err(DriverError::Invalid(format!("pool {:?} is no folder", pool.name)));
        };
        let known = self.shared.lock().get(&pool.name).cloned();
        let known = known.filter(|k| k.identity == pool.identity && k.folder == *folder);
        let mut shared = known.unwrap_or_else(|| Shared {
            folder: folder.clone(),
            identity: pool.identity.clone(),
            was_there: false,
            trouble: None,
            turn: Arc::default(),
            look: Arc::default(),
        });
        // Whatever becomes of the look, the name means this pool.
        self.shared.lock().entry(pool.name.clone()).or_insert_with(|| Shared {
            trouble: Some("it has not been looked at yet".into()),
            ..shared.clone()
        });
        let is_new = pool.is_new;
        let looked = shared.ask(move |shared| {
            if is_new {
                shared.make()?;
            }
            shared.check()?;
            fs::create_dir_all(shared.folder.join("locks")).map_err(failed("making the pool's locks"))?;
            // One that does not know locks says so now.
            FolderLock::try_take(&lock_path(&shared.folder, "probe")).map_err(failed("locking the pool"))
        });
        let looked = looked.await;
        shared.was_there |= looked.is_ok();
        shared.trouble = looked.as_ref().err().map(ToString::to_string);
        self.shared.lock().insert(pool.name.clone(), shared);
        looked.map(drop)
    }

    /// Every pool in which an instance of this host may hold something.
    pub(crate) fn pools_with_holders(&self) -> Vec<String> {
        let shared = self.shared.lock();
        let own = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let own = own.filter_map(|entry| entry.file_name().into_string().ok());
        let common = shared.iter().filter(|(_, pool)| pool.was_there).map(|(name, _)| name.clone());
        own.filter(|name| !shared.contains_key(name)).chain(common).collect()
    }
}

impl Pool {
    /// Announces work on a file and what it stands on; nothing when another host is at work. Its own turn.
    pub(crate) fn begin_work(&self, top: &str) -> Result<Option<Work>, DriverError> {
        let stop = lock_path(self.folder(), "stop");
        if !self.is_shared() {
            return Ok(Some(Work { lock: None, stop }));
        }
        let begin = || {
            let Some(lock) = FolderLock::try_take(&lock_path(self.folder(), "work"))? else {
                return Ok(None);
            };
            record::remove(&stop)?;
            let working = Working { host: self.host().to_owned(), top: top.to_owned() };
            record::write(&lock_path(self.folder(), "working"), &working)?;
            Ok(Some(Work { lock: Some(lock), stop }))
        };
        begin().map_err(failed("announcing work"))
    }

    /// The work is over; false when another host needed the files meanwhile, and what came of it does not count.
    pub(crate) fn end_work(&self, top: &str) -> Result<bool, DriverError> {
        if !self.is_shared() {
            return Ok(true);
        }
        let path = lock_path(self.folder(), "working");
        let end = || {
            let found: Option<Working> = record::read(&path)?;
            let ours = found.is_some_and(|found| found.host == self.host() && found.top == top);
            if ours {
                record::remove(&path)?;
            }
            Ok(ours)
        };
        end().map_err(failed("ending work"))
    }

    /// Stops work of another host on a file in this chain; when it returns no tool has any of them open.
    pub(crate) async fn interrupt_others(&self, chain: &[String]) -> Result<(), DriverError> {
        if !self.is_shared() {
            return Ok(());
        }
        let path = lock_path(self.folder(), "working");
        let found: Option<Working> = record::read(&path).map_err(failed("looking for work"))?;
        let Some(working) = found.filter(|found| chain.contains(&found.top)) else { return Ok(()) };
        let stop = lock_path(self.folder(), "stop");
        record::write(&stop, &working).map_err(failed("stopping work"))?;
        let ended = FolderLock::take(&lock_path(self.folder(), "work"), STOP_MAX).await?;
        let _ended = ended.ok_or_else(|| {
            let host = &working.host;
            DriverError::WrongState(format!("host {host:?} works on the volume's files, and does not stop"))
        })?;
        let forget = record::remove(&path).and_then(|()| record::remove(&stop));
        forget.map_err(failed("stopping work"))
    }

    /// Remembers that a volume was deleted, as long as a host that knows it otherwise may come back.
    pub(crate) fn note_gone(&self, uid: &Uid) -> Result<(), DriverError> {
        if !self.is_shared() {
            return Ok(());
        }
        let folder = self.gone();
        let note = || {
            let mut known: Vec<_> = fs::read_dir(&folder)?
                .filter_map(|entry| {
                    entry.ok().and_then(|e| Some((e.metadata().ok()?.modified().ok()?, e.path())))
                })
                .collect();
            known.sort();
            for (_, oldest) in known.iter().take((known.len() + 1).saturating_sub(GONE_MAX)) {
                record::remove(oldest)?;
            }
            let path = folder.join(uid.as_str());
            record::step()?;
            File::create(&path)?.sync_all()?;
            record::sync_folder(&path)
        };
        note().map_err(failed("noting that a volume is gone"))
    }
}

impl Work {
    /// Ends when `stopped` does, or when another host asks for the files.
    pub(crate) async fn until_stopped(&self, stopped: impl Future<Output = ()>) {
        let asked = async {
            if self.lock.is_none() {
                std::future::pending::<()>().await;
            }
            while !self.stop.exists() {
                sleep(LOOK_FOR_STOP).await;
            }
        };
        tokio::select! {
            () = stopped => {}
            () = asked => {}
        }
    }
}

fn lock_path(folder: &Path, name: &str) -> PathBuf {
    folder.join("locks").join(name)
}
