//! The content-addressed folder of artifacts: `DIR/sha256/HEX`. What is in it is complete, was verified, and is
//! never written again. Knows nothing of formats.
//!
//! A file arrives in this process's own folder under `DIR/tmp`, is synced, and is renamed into place: readers
//! see all of it or nothing. Two writers of one digest write the same bytes, so the later rename changes
//! nothing. Every opener holds a lock in its folder; a folder nobody holds is what a crash left behind.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::digest::{Digest, HashingWriter};

/// Artifacts on this host.
#[derive(Debug)]
pub struct Cache {
    artifacts: PathBuf,
    arrivals: PathBuf,
    next: AtomicU64,
    /// Locked as long as this cache is open; tells others that `arrivals` is in use.
    _owner: File,
}

/// A complete file of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub digest: Digest,
    pub size: u64,
    pub path: PathBuf,
}

/// A file on its way into the cache, hashed while it is written. Dropped without [`Staging::finish`], it is
/// removed.
#[derive(Debug)]
pub struct Staging {
    to: HashingWriter<File>,
    scratch: Scratch,
}

/// A file that arrived: complete and hashed, not yet in the cache.
#[derive(Debug)]
pub struct Arrival {
    pub digest: Digest,
    pub size: u64,
    scratch: Scratch,
}

/// A path below `tmp` that is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error("image cache: cannot use {path}")]
    Io { path: PathBuf, source: io::Error },
    #[error("the bytes have sha256 {found}, but {expected} was declared; check the digest and the source")]
    Mismatch { expected: Digest, found: Digest },
}

/// Readable by every guest's own user, writable by none.
const ARTIFACT_MODE: u32 = 0o444;
const OWNER: &str = "owner";

impl Cache {
    /// Opens the cache in `dir`, makes it when there is none, and removes what crashed writers left.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, CacheError> {
        let dir = dir.as_ref();
        let (artifacts, tmp) = (dir.join("sha256"), dir.join("tmp"));
        make_dir(dir, 0o755)?;
        make_dir(&artifacts, 0o755)?;
        make_dir(&tmp, 0o700)?;

        // One opener at a time: a new folder must not be swept away between its creation and its lock.
        let gate = tmp.join("gate");
        let gate_file = File::create(&gate).map_err(at(&gate))?;
        gate_file.lock().map_err(at(&gate))?;
        sweep(&tmp)?;
        let (arrivals, owner) = claim(&tmp)?;
        Ok(Self { artifacts, arrivals, next: AtomicU64::new(0), _owner: owner })
    }

    /// Where the artifact is, if it is.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.artifacts.join(digest.to_string())
    }

    pub fn contains(&self, digest: &Digest) -> bool {
        self.path(digest).is_file()
    }

    pub fn get(&self, digest: &Digest) -> Option<Stored> {
        let path = self.path(digest);
        let size = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?.len();
        Some(Stored { digest: *digest, size, path })
    }

    /// Reads the artifact once and says whether its bytes still are what its name says.
    pub fn verify(&self, digest: &Digest) -> Result<bool, CacheError> {
        let path = self.path(digest);
        Digest::of_file(&path).map(|(found, _)| found == *digest).map_err(at(&path))
    }

    /// Every artifact, by digest.
    pub fn list(&self) -> Result<Vec<Stored>, CacheError> {
        let mut list = Vec::new();
        for entry in fs::read_dir(&self.artifacts).map_err(at(&self.artifacts))? {
            let entry = entry.map_err(at(&self.artifacts))?;
            // A file with another name is not ours.
            let digest = entry.file_name().to_str().and_then(|name| name.parse().ok());
            list.extend(digest.and_then(|digest| self.get(&digest)));
        }
        list.sort_by_key(|stored| stored.digest);
        Ok(list)
    }

    /// Removes the artifact; whoever has it open keeps it until they close it. Absent is a success.
    pub fn remove(&self, digest: &Digest) -> Result<(), CacheError> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(CacheError::Io { path, source }),
            _ => Ok(()),
        }
    }

    /// Copies everything from `from` in. With a declared digest, bytes that differ from it never get a name.
    pub fn insert(&self, mut from: impl Read, expected: Option<Digest>) -> Result<Stored, CacheError> {
        let mut staging = self.stage()?;
        io::copy(&mut from, &mut staging).map_err(at(&staging.scratch.0))?;
        self.commit(staging.finish(expected)?)
    }

    /// A file to write that can then be committed.
    pub fn stage(&self) -> Result<Staging, CacheError> {
        let scratch = self.scratch();
        let path = scratch.path();
        let file = File::options().write(true).create_new(true).mode(0o600).open(path).map_err(at(path))?;
        Ok(Staging { to: HashingWriter::new(file), scratch })
    }

    /// Gives an arrival its name.
    pub fn commit(&self, arrival: Arrival) -> Result<Stored, CacheError> {
        let path = self.path(&arrival.digest);
        let from = arrival.scratch.path();
        fs::set_permissions(from, Permissions::from_mode(ARTIFACT_MODE)).map_err(at(from))?;
        sync(from)?;
        fs::rename(from, &path).map_err(at(&path))?;
        // The name itself must survive a power loss too.
        sync(&self.artifacts)?;
        Ok(Stored { digest: arrival.digest, size: arrival.size, path })
    }

    /// Takes a finished scratch file as it is.
    pub(crate) fn arrive(scratch: Scratch) -> Result<Arrival, CacheError> {
        let (digest, size) = Digest::of_file(scratch.path()).map_err(at(scratch.path()))?;
        Ok(Arrival { digest, size, scratch })
    }

    /// A fresh path in this process's own folder.
    pub(crate) fn scratch(&self) -> Scratch {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        Scratch(self.arrivals.join(n.to_string()))
    }
}

impl Staging {
    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.to.written()
    }

    /// Ends writing and holds the bytes against the declared digest, if there is one.
    pub fn finish(self, expected: Option<Digest>) -> Result<Arrival, CacheError> {
        let size = self.to.written();
        let (_, found) = self.to.finish();
        let arrival = Arrival { digest: found, size, scratch: self.scratch };
        match expected {
            Some(expected) if expected != found => Err(CacheError::Mismatch { expected, found }),
            _ => Ok(arrival),
        }
    }

    /// What a failed write to it means.
    pub(crate) fn failed(&self, source: io::Error) -> CacheError {
        CacheError::Io { path: self.scratch.path().to_owned(), source }
    }

    /// Forgets what was written: the source starts again from its first byte.
    pub(crate) fn restart(&mut self) -> Result<(), CacheError> {
        let path = self.scratch.path();
        let file = File::options().write(true).truncate(true).open(path).map_err(at(path))?;
        self.to = HashingWriter::new(file);
        Ok(())
    }
}

impl Write for Staging {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl Arrival {
    pub fn path(&self) -> &Path {
        self.scratch.path()
    }
}

impl Scratch {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // After a commit there is nothing here any more; else what stays is swept at the next open.
        let _ = fs::remove_file(&self.0);
    }
}

/// Removes every folder of `tmp` whose owner is gone.
fn sweep(tmp: &Path) -> Result<(), CacheError> {
    for entry in fs::read_dir(tmp).map_err(at(tmp))? {
        let path = entry.map_err(at(tmp))?.path();
        if !path.is_dir() {
            continue;
        }
        let abandoned = match File::open(path.join(OWNER)) {
            Ok(owner) => owner.try_lock().is_ok(),
            Err(_) => true,
        };
        if abandoned {
            fs::remove_dir_all(&path).map_err(at(&path))?;
        }
    }
    Ok(())
}

/// Makes a folder of our own in `tmp` and locks it.
fn claim(tmp: &Path) -> Result<(PathBuf, File), CacheError> {
    let dir = (0..u64::MAX)
        .map(|n| tmp.join(n.to_string()))
        .find(|path| !path.exists())
        .expect("folders in use are few, numbers are many");
    make_dir(&dir, 0o700)?;
    let owner = dir.join(OWNER);
    let file = File::create(&owner).map_err(at(&owner))?;
    file.lock().map_err(at(&owner))?;
    Ok((dir, file))
}

fn make_dir(path: &Path, mode: u32) -> Result<(), CacheError> {
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(at(path))
}

fn sync(path: &Path) -> Result<(), CacheError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(at(path))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> CacheError {
    let path = path.to_owned();
    move |source| CacheError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> (tempfile::TempDir, Cache) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        (dir, cache)
    }

    #[test]
    fn keeps_what_is_inserted_under_its_digest() {
        let (dir, cache) = cache();
        let stored = cache.insert(&b"abc"[..], None).unwrap();
        assert_eq!(stored.path, dir.path().join("sha256").join(Digest::of(b"abc").to_string()));
        assert_eq!(fs::read(&stored.path).unwrap(), b"abc");
        assert_eq!(cache.list().unwrap(), std::slice::from_ref(&stored));
        cache.remove(&stored.digest).unwrap();
        cache.remove(&stored.digest).unwrap();
        assert!(!cache.contains(&stored.digest));
    }

    #[test]
    fn every_guest_may_read_and_none_may_write() {
        let (_dir, cache) = cache();
        let stored = cache.insert(&b"abc"[..], None).unwrap();
        assert_eq!(fs::metadata(&stored.path).unwrap().permissions().mode() & 0o777, 0o444);
        let folder = stored.path.parent().unwrap();
        assert_eq!(fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o755);
    }

    #[test]
    fn bytes_that_differ_from_the_declared_digest_never_get_a_name() {
        let (_dir, cache) = cache();
        let error = cache.insert(&b"abd"[..], Some(Digest::of(b"abc"))).unwrap_err();
        assert!(matches!(error, CacheError::Mismatch { .. }), "{error}");
        assert_eq!(cache.list().unwrap(), []);
        assert_eq!(fs::read_dir(&cache.arrivals).unwrap().count(), 1, "only the lock stays");
    }

    #[test]
    fn a_changed_artifact_is_found_out() {
        let (_dir, cache) = cache();
        let stored = cache.insert(&b"abc"[..], None).unwrap();
        assert!(cache.verify(&stored.digest).unwrap());
        fs::remove_file(&stored.path).unwrap();
        fs::write(&stored.path, b"abd").unwrap();
        assert!(!cache.verify(&stored.digest).unwrap());
    }

    #[test]
    fn writers_of_one_digest_do_not_disturb_each_other() {
        let (dir, cache) = cache();
        let other = Cache::open(dir.path()).unwrap();
        let bytes = vec![7; 1 << 20];
        std::thread::scope(|scope| {
            for cache in [&cache, &cache, &other, &other] {
                scope.spawn(|| cache.insert(&bytes[..], None).unwrap());
            }
        });
        assert_eq!(cache.list().unwrap().len(), 1);
        assert!(cache.verify(&Digest::of(&bytes)).unwrap());
    }

    #[test]
    fn opening_sweeps_what_a_crash_left_and_nothing_else() {
        let (dir, cache) = cache();
        let mut staging = cache.stage().unwrap();
        staging.write_all(b"abc").unwrap();
        let left = dir.path().join("tmp/99");
        fs::create_dir(&left).unwrap();
        fs::write(left.join("0"), b"half").unwrap();

        Cache::open(dir.path()).unwrap();
        assert!(!left.exists());
        let stored = cache.commit(staging.finish(None).unwrap()).unwrap();
        assert_eq!(fs::read(stored.path).unwrap(), b"abc");
    }
}
