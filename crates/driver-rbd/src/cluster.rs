//! A pool of a cluster, asked by Ceph's own programs: one call each, with a time limit, and their words in errors.

use std::time::Duration;

use driver::{CephPool, DiskKey, DiskLocation, DriverError, RbdImage};
use model::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sys::command::{CommandError, run};
use sys::memory_file;

use crate::record::Name;

/// How long a call may take that only asks, or changes a few objects.
pub(crate) const CALL_MAX: Duration = Duration::from_secs(30);
/// How long it may take to go through all objects of an image.
pub(crate) const IMAGE_MAX: Duration = Duration::from_hours(6);
/// What is told apart of an image by its map of objects, so that looks and deletions go through what is there, and not
/// through what could be; and one writer at a time.
const FEATURES: &str = "layering,exclusive-lock,object-map,fast-diff,deep-flatten";
/// How Ceph's programs end, by errno(3).
mod errno {
    pub(super) const MISSING: i32 = 2;
    pub(super) const EXISTS: i32 = 17;
    pub(super) const NOT_EMPTY: i32 = 39;
}

/// A pool, and who asks. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cluster {
    pool: CephPool,
    key: Option<DiskKey>,
}

/// Why a call did not do what it was for.
#[derive(Debug)]
pub(crate) enum Failure {
    Missing,
    Exists,
    /// Something stands on it.
    NotEmpty,
    Other(DriverError),
}

impl From<Failure> for DriverError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Missing => Self::failed("asking the cluster", "it has no such thing"),
            Failure::Exists => Self::failed("asking the cluster", "it is there already"),
            Failure::NotEmpty => Self::failed("asking the cluster", "something stands on it"),
            Failure::Other(e) => e,
        }
    }
}

/// Makes nothing of it when there is nothing.
pub(crate) fn or_missing<T: Default>(done: Result<T, Failure>) -> Result<T, DriverError> {
    match done {
        Err(Failure::Missing) => Ok(T::default()),
        done => Ok(done?),
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) name: String,
    pub(crate) size: u64,
}

/// A process that has an image open.
#[derive(Debug, Deserialize)]
pub(crate) struct Watcher {
    /// Where it is, as the cluster's blocklist names it.
    pub(crate) address: String,
}

/// What an image takes.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) provisioned: Bytes,
    pub(crate) used: Bytes,
}

impl Cluster {
    pub(crate) fn new(pool: CephPool, key: Option<DiskKey>) -> Self {
        Self { pool, key }
    }

    /// How QEMU and its tools open an image, or a snapshot of it.
    pub(crate) fn location(&self, image: &str, snapshot: Option<String>) -> DiskLocation {
        let CephPool { conf, user, pool } = self.pool.clone();
        DiskLocation::Rbd(RbdImage {
            conf,
            user,
            pool,
            image: image.to_owned(),
            snapshot,
            key: self.key.clone(),
        })
    }

    /// Names of all images. One look tells what every volume of the pool is.
    pub(crate) async fn names(&self) -> Result<Vec<String>, DriverError> {
        self.read("rbd", &["ls", "--format", "json", "--pool", &self.pool.pool]).await
    }

    pub(crate) async fn create(&self, image: &str, size: Bytes) -> Result<(), Failure> {
        let size = format!("{}B", size.0);
        self.rbd(&["create", "--size", &size, "--image-feature", FEATURES, &self.spec(image)]).await
    }

    /// A new image that stands on a snapshot.
    pub(crate) async fn clone_of(&self, image: &str, snapshot: &str, to: &str) -> Result<(), Failure> {
        let from = format!("{}@{snapshot}", self.spec(image));
        // Of this format, snapshots may go before what stands on them.
        self.rbd(&[
            "clone",
            "--rbd-default-clone-format",
            "2",
            "--image-feature",
            FEATURES,
            &from,
            &self.spec(to),
        ])
        .await
    }

    pub(crate) async fn resize(&self, image: &str, size: Bytes) -> Result<(), Failure> {
        let size = format!("{}B", size.0);
        self.rbd(&["resize", "--no-progress", "--size", &size, &self.spec(image)]).await
    }

    /// [`Failure::Missing`] when another was quicker.
    pub(crate) async fn rename(&self, from: &Name, to: &Name) -> Result<(), Failure> {
        let (from, to) = (from.to_string(), to.to_string());
        let renamed = self.rbd(&["rename", &self.spec(&from), &self.spec(&to)]).await;
        let Err(Failure::Exists) = renamed else { return renamed };
        let names = self.names().await.map_err(Failure::Other)?;
        if names.contains(&to) {
            return renamed;
        }
        // Left by a rename that was cut off in the middle: the name leads to the image, and is in no list.
        self.forget_name(&to).await?;
        self.rbd(&["rename", &self.spec(&from), &self.spec(&to)]).await
    }

    /// A name leads nowhere from now on, should a rename that was cut off have left it.
    pub(crate) async fn forget_name(&self, name: &str) -> Result<(), Failure> {
        match self.rados(&["rm", &format!("rbd_id.{name}")]).await {
            Err(Failure::Missing) => Ok(()),
            done => done.map(drop),
        }
    }

    pub(crate) async fn remove(&self, image: &str) -> Result<(), Failure> {
        self.call("rbd", &["rm", "--no-progress", &self.spec(image)], IMAGE_MAX).await.map(drop)
    }

    /// What it takes with its snapshots.
    pub(crate) async fn sizes(&self, image: &str) -> Result<Sizes, DriverError> {
        #[derive(Deserialize)]
        struct Look {
            images: Vec<Image>,
        }
        #[derive(Deserialize)]
        struct Image {
            provisioned_size: u64,
            used_size: u64,
        }
        let look: Look = self.read("rbd", &["du", "--format", "json", &self.spec(image)]).await?;
        // Snapshots come first, the image itself is the last.
        let provisioned = look.images.last().map(|image| image.provisioned_size).unwrap_or_default();
        let used = look.images.iter().map(|image| image.used_size).sum();
        Ok(Sizes { provisioned: Bytes(provisioned), used: Bytes(used) })
    }

    pub(crate) async fn size(&self, image: &str) -> Result<Bytes, DriverError> {
        #[derive(Deserialize)]
        struct Look {
            size: u64,
        }
        let look: Look = self.read("rbd", &["info", "--format", "json", &self.spec(image)]).await?;
        Ok(Bytes(look.size))
    }

    pub(crate) async fn snapshots(&self, image: &str) -> Result<Vec<Snapshot>, DriverError> {
        self.read("rbd", &["snap", "ls", "--format", "json", &self.spec(image)]).await
    }

    /// Also those that are deleted, and on which something stands.
    pub(crate) async fn has_snapshots(&self, image: &str) -> Result<bool, DriverError> {
        let all: Vec<Snapshot> =
            self.read("rbd", &["snap", "ls", "--all", "--format", "json", &self.spec(image)]).await?;
        Ok(!all.is_empty())
    }

    /// Whether images stand on it.
    pub(crate) async fn has_clones(&self, image: &str) -> Result<bool, DriverError> {
        let all: Vec<serde_json::Value> =
            self.read("rbd", &["children", "--all", "--format", "json", &self.spec(image)]).await?;
        Ok(!all.is_empty())
    }

    pub(crate) async fn take(&self, image: &str, snapshot: &str) -> Result<(), Failure> {
        self.rbd(&["snap", "create", "--no-progress", &format!("{}@{snapshot}", self.spec(image))]).await
    }

    pub(crate) async fn remove_snapshot(&self, image: &str, snapshot: &str) -> Result<(), Failure> {
        self.rbd(&["snap", "rm", "--no-progress", &format!("{}@{snapshot}", self.spec(image))]).await
    }

    pub(crate) async fn roll_back(&self, image: &str, snapshot: &str) -> Result<(), Failure> {
        let snapshot = format!("{}@{snapshot}", self.spec(image));
        self.call("rbd", &["snap", "rollback", "--no-progress", &snapshot], IMAGE_MAX).await.map(drop)
    }

    /// Processes that may write to it, but for those that only look.
    pub(crate) async fn watchers(&self, image: &str) -> Result<Vec<Watcher>, DriverError> {
        #[derive(Deserialize)]
        struct Look {
            watchers: Vec<Watcher>,
        }
        let look: Look = self.read("rbd", &["status", "--format", "json", &self.spec(image)]).await?;
        Ok(look.watchers)
    }

    /// Cuts a process off: the cluster takes nothing from it any more.
    pub(crate) async fn block(&self, address: &str, seconds: u64) -> Result<(), Failure> {
        let seconds = seconds.to_string();
        self.call("ceph", &["osd", "blocklist", "add", address, &seconds], CALL_MAX).await.map(drop)
    }

    /// A small object of Corten's own.
    pub(crate) async fn object(&self, name: &str) -> Result<Option<Vec<u8>>, DriverError> {
        match self.rados(&["get", name, "-"]).await {
            Err(Failure::Missing) => Ok(None),
            found => Ok(Some(found?)),
        }
    }

    pub(crate) async fn keep_object(&self, name: &str, content: &[u8]) -> Result<(), Failure> {
        let file = memory_file::holding(content)
            .map_err(|e| Failure::Other(DriverError::failed("writing to the cluster", e)))?;
        self.rados(&["put", name, &memory_file::path_of(&file).to_string_lossy()]).await.map(drop)
    }

    pub(crate) async fn remove_object(&self, name: &str) -> Result<(), Failure> {
        self.rados(&["rm", name]).await.map(drop)
    }

    /// What the pool takes, and what it could still take.
    pub(crate) async fn room(&self) -> Result<(Bytes, Bytes), DriverError> {
        #[derive(Deserialize)]
        struct Look {
            pools: Vec<Pool>,
        }
        #[derive(Deserialize)]
        struct Pool {
            name: String,
            stats: Stats,
        }
        #[derive(Deserialize)]
        struct Stats {
            stored: u64,
            max_avail: u64,
        }
        let look: Look = self.read("ceph", &["df", "--format", "json"]).await?;
        let own = look.pools.into_iter().find(|pool| pool.name == self.pool.pool);
        let own = own.ok_or_else(|| {
            DriverError::WrongState(format!("the cluster has no pool {:?}", self.pool.pool))
        })?;
        Ok((Bytes(own.stats.stored), Bytes(own.stats.max_avail)))
    }

    pub(crate) fn spec(&self, image: &str) -> String {
        format!("{}/{image}", self.pool.pool)
    }

    /// What says who asks, for any of Ceph's programs.
    pub(crate) fn identity(&self) -> [String; 4] {
        let conf = self.pool.conf.to_string_lossy().into_owned();
        ["--conf".into(), conf, "--id".into(), self.pool.user.clone()]
    }

    async fn rbd(&self, args: &[&str]) -> Result<(), Failure> {
        self.call("rbd", args, CALL_MAX).await.map(drop)
    }

    async fn rados(&self, args: &[&str]) -> Result<Vec<u8>, Failure> {
        self.call("rados", &[&["--pool", &self.pool.pool], args].concat(), CALL_MAX).await
    }

    async fn read<T: DeserializeOwned>(&self, program: &str, args: &[&str]) -> Result<T, DriverError> {
        let answer = match self.call(program, args, CALL_MAX).await {
            Err(Failure::Missing) => return Err(DriverError::NotFound(args.join(" "))),
            answer => answer?,
        };
        serde_json::from_slice(&answer)
            .map_err(|e| DriverError::failed(format!("reading what {program} {} says", args[0]), e))
    }

    async fn call(&self, program: &str, args: &[&str], limit: Duration) -> Result<Vec<u8>, Failure> {
        let identity = self.identity();
        let all = identity.iter().map(String::as_str).chain(args.iter().copied());
        run(program, all, limit).await.map_err(|e| match &e {
            CommandError::Failed { status, .. } => match status.code() {
                Some(errno::MISSING) => Failure::Missing,
                Some(errno::EXISTS) => Failure::Exists,
                Some(errno::NOT_EMPTY) => Failure::NotEmpty,
                // `rados rm` and `rados get` say so in words only.
                Some(1) if e.to_string().contains("(2) No such file") => Failure::Missing,
                Some(1) if e.to_string().contains("(17) File exists") => Failure::Exists,
                _ => Failure::Other(failed(program, args, e)),
            },
            CommandError::Missing { .. } => Failure::Other(DriverError::failed(
                format!("asking the cluster with {program} (package ceph-common)"),
                e,
            )),
            _ => Failure::Other(failed(program, args, e)),
        })
    }
}

fn failed(program: &str, args: &[&str], e: CommandError) -> DriverError {
    DriverError::failed(
        format!("{program} {}", args.iter().take(2).copied().collect::<Vec<_>>().join(" ")),
        e,
    )
}
