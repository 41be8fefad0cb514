//! One pool's folder: its records, its files, and which files nothing stands on any more.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use driver::{DriverError, PoolUsage};
use model::{Bytes, Uid};

use crate::empty;
use crate::header;
use crate::record::{self, LayerRecord, SnapshotRecord, VolumeRecord};
use crate::survey::{IMAGE_PREFIX, Survey};

/// How long qemu-img may take: it writes or changes metadata only.
const TOOL_MAX: Duration = Duration::from_secs(60);
pub(crate) const QEMU_IMG: &str = "/usr/bin/qemu-img";
const SUFFIX: &str = ".qcow2";
/// Room that is kept back for records.
const RESERVE: &str = "reserve";
const RESERVE_BYTES: usize = 256 << 10;
/// Readable by every guest's own user, writable by none.
pub(crate) const FROZEN: u32 = 0o444;

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    folder: PathBuf,
    /// This host, in a pool that others have too; empty in one that is its own.
    host: String,
}

impl Pool {
    pub(crate) fn open(folder: PathBuf, host: &str) -> Result<Self, DriverError> {
        let pool = Self::at(folder, host);
        // Guests' own users pass through to files whose names they cannot list.
        let folders =
            [("data", 0o711), ("copies", 0o711), ("fills", 0o700), ("volumes", 0o700), ("snapshots", 0o700)];
        for (folder, mode) in folders {
            make_folder(&pool.folder.join(folder), mode)?;
        }
        if pool.is_shared() {
            make_folder(&pool.copies(), 0o711)?;
            make_folder(&pool.gone(), 0o700)?;
            make_folder(&pool.wanted(), 0o700)?;
        }
        fs::set_permissions(&pool.folder, Permissions::from_mode(0o711))
            .map_err(failed("opening the pool"))?;
        Ok(pool)
    }

    /// What may be read of it as it is.
    pub(crate) fn at(folder: PathBuf, host: &str) -> Self {
        Self { folder, host: host.to_owned() }
    }

    /// Whether other hosts have it too.
    pub(crate) fn is_shared(&self) -> bool {
        !self.host.is_empty()
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn volume(&self, uid: &Uid) -> Result<Option<VolumeRecord>, DriverError> {
        record::read(&self.volume_path(uid)).map_err(failed("reading a volume's record"))
    }

    pub(crate) fn keep_volume(&self, uid: &Uid, volume: &VolumeRecord) -> Result<(), DriverError> {
        self.write(&self.volume_path(uid), volume).map_err(failed("writing a volume's record"))
    }

    pub(crate) fn forget_volume(&self, uid: &Uid) -> Result<(), DriverError> {
        record::remove(&self.volume_path(uid)).map_err(failed("removing a volume's record"))
    }

    pub(crate) fn snapshot(&self, uid: &Uid) -> Result<Option<SnapshotRecord>, DriverError> {
        record::read(&self.snapshot_path(uid)).map_err(failed("reading a snapshot's record"))
    }

    pub(crate) fn keep_snapshot(&self, uid: &Uid, snapshot: &SnapshotRecord) -> Result<(), DriverError> {
        self.write(&self.snapshot_path(uid), snapshot).map_err(failed("writing a snapshot's record"))
    }

    pub(crate) fn forget_snapshot(&self, uid: &Uid) -> Result<(), DriverError> {
        record::remove(&self.snapshot_path(uid)).map_err(failed("removing a snapshot's record"))
    }

    pub(crate) fn volumes(&self) -> Result<Vec<Uid>, DriverError> {
        self.uids("volumes")
    }

    pub(crate) fn snapshots(&self) -> Result<Vec<Uid>, DriverError> {
        self.uids("snapshots")
    }

    /// Keeps some room back, so that volumes of a pool that is full can be closed and deleted.
    pub(crate) fn keep_reserve(&self) -> Result<(), DriverError> {
        let path = self.folder.join(RESERVE);
        if path.exists() {
            return Ok(());
        }
        let unfinished = path.with_extension("new");
        let keep = || {
            fs::write(&unfinished, vec![1; RESERVE_BYTES])?;
            File::open(&unfinished)?.sync_all()?;
            fs::rename(&unfinished, &path)
        };
        keep().map_err(failed("keeping room in the pool back"))
    }

    /// Writes a record; from the room that is kept back when there is no other.
    fn write(&self, path: &Path, value: &impl serde::Serialize) -> io::Result<()> {
        match record::write(path, value) {
            Err(e) if e.kind() == io::ErrorKind::StorageFull => {
                record::remove(&self.folder.join(RESERVE))?;
                record::write(path, value)
            }
            result => result,
        }
    }

    /// Removes what was cut off while it was written.
    fn sweep_records(&self, folder: &str) -> Result<(), DriverError> {
        let folder = self.folder.join(folder);
        for name in names(&folder)?.iter().filter(|name| Uid::parse(name).is_none()) {
            record::remove(&folder.join(name)).map_err(failed("removing what was left"))?;
        }
        Ok(())
    }

    fn uids(&self, folder: &str) -> Result<Vec<Uid>, DriverError> {
        names(&self.folder.join(folder)).map(|names| names.iter().filter_map(|n| Uid::parse(n)).collect())
    }

    /// A volume's file by its number.
    pub(crate) fn head_name(uid: &Uid, number: u32) -> String {
        format!("{uid}.{number}{SUFFIX}")
    }

    /// The file of an image, which the cache names by its digest.
    pub(crate) fn image_name(image: &Path) -> String {
        let digest = image.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        format!("{IMAGE_PREFIX}{digest}{SUFFIX}")
    }

    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.folder.join("data").join(name)
    }

    /// Makes an empty file of this name that shows what `backing` has. One that is there is left alone.
    pub(crate) fn make(&self, name: &str, size: Bytes, backing: Option<&str>) -> Result<(), DriverError> {
        let path = self.data(name);
        if path.exists() {
            return Ok(());
        }
        self.keep_layer(name, &LayerRecord::on(backing.map(ToOwned::to_owned)))?;
        let unfinished = path.with_extension("new");
        let backing = backing.map(|name| self.data(name));
        let keep = || {
            record::step()?;
            let file = empty::create(&unfinished, size.0, backing.as_deref())?;
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)?;
            record::step()?;
            record::sync_folder(&path)
        };
        keep().map_err(failed("making a volume's file"))
    }

    /// Removes a file that no record names.
    pub(crate) fn discard(&self, name: &str) -> Result<(), DriverError> {
        record::remove(&self.data(name)).map_err(failed("removing what was left"))
    }

    /// Brings an image of the cache in, without copying where the file system is the same, so that it stays as long
    /// as a volume stands on it.
    pub(crate) fn adopt_image(&self, name: &str, image: &Path) -> Result<Bytes, DriverError> {
        let path = self.data(name);
        let bring = || {
            if !path.exists() {
                record::write(&self.layer_path(name), &LayerRecord::on(None))?;
                let unfinished = path.with_extension("new");
                let _ = fs::remove_file(&unfinished);
                if fs::hard_link(image, &unfinished).is_err() {
                    fs::copy(image, &unfinished)?;
                    File::open(&unfinished)?.sync_all()?;
                }
                fs::rename(&unfinished, &path)?;
                record::sync_folder(&path)?;
            }
            header::check(&path, &[None])?;
            header::virtual_size(&path)
        };
        bring().map(Bytes).map_err(failed("bringing the image into the pool"))
    }

    /// Nobody writes to it any more.
    pub(crate) fn freeze(&self, name: &str) -> Result<(), DriverError> {
        let path = self.data(name);
        let freeze = || {
            record::step()?;
            File::open(&path)?.sync_all()?;
            fs::set_permissions(&path, Permissions::from_mode(FROZEN))?;
            chown(&path, Some(0), Some(0))
        };
        freeze().map_err(failed("freezing a layer"))
    }

    /// Takes a file back from whoever it was handed to.
    pub(crate) fn take_back(&self, name: &str) -> Result<(), DriverError> {
        chown(self.data(name), Some(0), Some(0)).map_err(failed("taking a volume's file back"))
    }

    /// Whether the whole chain below `name` is as it was made.
    pub(crate) fn check_chain(&self, name: &str) -> Result<(), DriverError> {
        for (depth, name) in self.chain(name)?.iter().enumerate() {
            let layer = self.layer(name)?;
            let paths = [layer.backing.as_deref().map(|n| self.data(n)), layer.was.map(|n| self.data(&n))];
            let allowed: &[_] = if paths[1].is_some() { &[0, 1] } else { &[0] };
            let allowed: Vec<_> = allowed.iter().map(|at| paths[*at].as_deref()).collect();
            let path = self.data(name);
            header::check(&path, &allowed).map_err(failed("checking a volume's file"))?;
            // A merge that was cut off may have left it closed to its readers.
            let mode = fs::metadata(&path).map_err(failed("checking a volume's file"))?.mode() & 0o777;
            if depth > 0 && mode != FROZEN {
                self.freeze(name)?;
            }
        }
        Ok(())
    }

    pub(crate) async fn resize(&self, name: &str, size: Bytes) -> Result<(), DriverError> {
        self.check_chain(name)?;
        self.forget_notes(name, false).await?;
        let args = ["resize", "-q", "-f", "qcow2"].map(Into::into).into_iter();
        qemu_img(args.chain([self.data(name).into(), size.0.to_string().into()])).await
    }

    /// What the volume's own files take.
    pub(crate) fn used(&self, uid: &Uid) -> Result<Bytes, DriverError> {
        let prefix = format!("{uid}.");
        let own = names(&self.folder.join("data"))?;
        let own = own.iter().filter(|name| name.starts_with(&prefix));
        let blocks: u64 = own.filter_map(|name| fs::metadata(self.data(name)).ok()).map(|m| m.blocks()).sum();
        Ok(Bytes(blocks * 512))
    }

    pub(crate) fn usage(&self) -> Result<PoolUsage, DriverError> {
        let files = self.files()?;
        let blocks: u64 =
            files.iter().filter_map(|name| fs::metadata(self.data(name)).ok()).map(|m| m.blocks()).sum();
        let free = sys::disk::free_bytes(&self.folder).map_err(failed("asking for the pool's room"))?;
        Ok(PoolUsage { used: Bytes(blocks * 512), free: Bytes(free) })
    }

    /// Removes every file that no volume and no snapshot stands on.
    pub(crate) fn sweep(&self) -> Result<(), DriverError> {
        if self.volumes()?.is_empty() && self.snapshots()?.is_empty() {
            record::remove(&self.folder.join(RESERVE)).map_err(failed("giving room back"))?;
        }
        self.sweep_records("volumes")?;
        self.sweep_records("snapshots")?;
        let needed = Survey::of(self)?.needed();
        for file in self.files()? {
            let name = file.strip_suffix(".json").unwrap_or(&file);
            if !needed.contains(name) {
                record::remove(&self.data(&file)).map_err(failed("removing a layer"))?;
            }
        }
        Ok(())
    }

    /// Each host's own: what is in it is written without a turn, and swept by who wrote it.
    pub(crate) fn copies(&self) -> PathBuf {
        self.folder.join("copies").join(&self.host)
    }

    /// The uids of volumes that are no more, so that a host that stood still does not make them anew.
    pub(crate) fn gone(&self) -> PathBuf {
        self.folder.join("gone")
    }

    /// Volumes that a host waits for another to let go of.
    pub(crate) fn wanted(&self) -> PathBuf {
        self.folder.join("wanted")
    }

    /// Where what changed in a volume is written for a backup.
    pub(crate) fn copy_path(&self, backup: &Uid) -> PathBuf {
        self.copies().join(format!("{backup}{SUFFIX}"))
    }

    /// Where what is to be in a volume is put: by one host in its own file, whatever another still does.
    pub(crate) fn fill_path(&self, volume: &Uid) -> PathBuf {
        let by = if self.is_shared() { format!(".{}", self.host) } else { String::new() };
        self.folder.join("fills").join(format!("{volume}{by}"))
    }

    /// Removes what was put anywhere for a volume.
    pub(crate) fn remove_fills(&self, volume: &Uid) -> Result<(), DriverError> {
        let folder = self.folder.join("fills");
        for name in names(&folder)?.iter().filter(|name| name.split('.').next() == Some(volume.as_str())) {
            record::remove(&folder.join(name)).map_err(failed("removing what was left"))?;
        }
        Ok(())
    }

    /// Removes files for changes but those that are being written.
    pub(crate) fn sweep_copies(&self, busy: impl Fn(&Path) -> bool) -> Result<(), DriverError> {
        let folder = self.copies();
        for path in names(&folder)?.iter().map(|name| folder.join(name)).filter(|path| !busy(path)) {
            record::remove(&path).map_err(failed("removing a file for changes"))?;
        }
        Ok(())
    }

    /// A file and all that it stands on, nearest first.
    pub(crate) fn chain(&self, name: &str) -> Result<Vec<String>, DriverError> {
        let mut chain = vec![name.to_owned()];
        while let Some(next) = self.layer(&chain[chain.len() - 1])?.backing {
            chain.push(next);
        }
        Ok(chain)
    }

    pub(crate) fn layer(&self, name: &str) -> Result<LayerRecord, DriverError> {
        let layer = record::read(&self.layer_path(name)).map_err(failed("reading a layer's record"))?;
        Ok(layer.unwrap_or_else(|| LayerRecord::on(None)))
    }

    pub(crate) fn keep_layer(&self, name: &str, layer: &LayerRecord) -> Result<(), DriverError> {
        self.write(&self.layer_path(name), layer).map_err(failed("writing a layer's record"))
    }

    /// Every file of data, and every record of one.
    pub(crate) fn files(&self) -> Result<Vec<String>, DriverError> {
        names(&self.folder.join("data"))
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    fn layer_path(&self, name: &str) -> PathBuf {
        self.data(&format!("{name}.json"))
    }

    fn volume_path(&self, uid: &Uid) -> PathBuf {
        self.folder.join("volumes").join(uid.as_str())
    }

    fn snapshot_path(&self, uid: &Uid) -> PathBuf {
        self.folder.join("snapshots").join(uid.as_str())
    }
}

fn make_folder(path: &Path, mode: u32) -> Result<(), DriverError> {
    let made = DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(failed("making the pool's folder"))
}

pub(crate) fn failed(what: &'static str) -> impl Fn(io::Error) -> DriverError {
    move |e| DriverError::failed(what, e)
}

pub(crate) fn names(folder: &Path) -> Result<Vec<String>, DriverError> {
    let list = || -> io::Result<Vec<String>> {
        let entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
        Ok(entries.into_iter().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    };
    list().map_err(failed("reading the pool"))
}

pub(crate) async fn qemu_img(args: impl IntoIterator<Item = std::ffi::OsString>) -> Result<(), DriverError> {
    let done = sys::command::run(QEMU_IMG, args, TOOL_MAX).await;
    done.map(drop).map_err(|e| DriverError::failed("qemu-img", e))
}
