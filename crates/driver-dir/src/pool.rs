//! One pool's folder: its records, its files, and which files nothing stands on any more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use driver::DriverError;
use model::{Bytes, Uid};

use crate::header;
use crate::record::{self, LayerRecord, SnapshotRecord, VolumeRecord};

/// How long qemu-img may take: it writes or changes metadata only.
const TOOL_MAX: Duration = Duration::from_secs(60);
const SUFFIX: &str = ".qcow2";
/// Readable by every guest's own user, writable by none.
const FROZEN: u32 = 0o444;

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Pool(PathBuf);

impl Pool {
    pub(crate) fn open(root: &Path, name: &str) -> Result<Self, DriverError> {
        let pool = Self(root.join(name));
        // Guests' own users pass through to files whose names they cannot list.
        for (folder, mode) in [("data", 0o711), ("volumes", 0o700), ("snapshots", 0o700)] {
            let made = DirBuilder::new().recursive(true).mode(mode).create(pool.0.join(folder));
            made.map_err(failed("making the pool's folder"))?;
        }
        fs::set_permissions(&pool.0, Permissions::from_mode(0o711)).map_err(failed("opening the pool"))?;
        Ok(pool)
    }

    pub(crate) fn volume(&self, uid: &Uid) -> Result<Option<VolumeRecord>, DriverError> {
        record::read(&self.volume_path(uid)).map_err(failed("reading a volume's record"))
    }

    pub(crate) fn keep_volume(&self, uid: &Uid, volume: &VolumeRecord) -> Result<(), DriverError> {
        record::write(&self.volume_path(uid), volume).map_err(failed("writing a volume's record"))
    }

    pub(crate) fn forget_volume(&self, uid: &Uid) -> Result<(), DriverError> {
        record::remove(&self.volume_path(uid)).map_err(failed("removing a volume's record"))
    }

    pub(crate) fn snapshot(&self, uid: &Uid) -> Result<Option<SnapshotRecord>, DriverError> {
        record::read(&self.snapshot_path(uid)).map_err(failed("reading a snapshot's record"))
    }

    pub(crate) fn keep_snapshot(&self, uid: &Uid, snapshot: &SnapshotRecord) -> Result<(), DriverError> {
        record::write(&self.snapshot_path(uid), snapshot).map_err(failed("writing a snapshot's record"))
    }

    pub(crate) fn forget_snapshot(&self, uid: &Uid) -> Result<(), DriverError> {
        record::remove(&self.snapshot_path(uid)).map_err(failed("removing a snapshot's record"))
    }

    pub(crate) fn volumes(&self) -> Result<Vec<Uid>, DriverError> {
        names(&self.0.join("volumes")).map(|names| names.iter().filter_map(|n| Uid::parse(n)).collect())
    }

    /// A volume's file by its number.
    pub(crate) fn head_name(uid: &Uid, number: u32) -> String {
        format!("{uid}.{number}{SUFFIX}")
    }

    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.0.join("data").join(name)
    }

    /// Makes an empty file of this name that shows what `backing` has. One that is there is left alone.
    pub(crate) async fn make(
        &self,
        name: &str,
        size: Bytes,
        backing: Option<&str>,
    ) -> Result<(), DriverError> {
        let path = self.data(name);
        if path.exists() {
            return Ok(());
        }
        let layer = LayerRecord { backing: backing.map(ToOwned::to_owned) };
        record::write(&self.layer_path(name), &layer).map_err(failed("writing a layer's record"))?;
        let unfinished = path.with_extension("new");
        let mut args: Vec<std::ffi::OsString> =
            ["create", "-q", "-f", "qcow2", "-o", "compat=1.1"].map(Into::into).into();
        if let Some(backing) = backing {
            // Unopened, because its size and format are known: no tool reads what a guest's QEMU wrote.
            args.extend(["-u", "-F", "qcow2", "-b"].map(Into::into));
            args.push(self.data(backing).into());
        }
        args.extend([unfinished.clone().into(), size.0.to_string().into()]);
        qemu_img(args).await?;
        let keep = || {
            fs::set_permissions(&unfinished, Permissions::from_mode(0o600))?;
            File::open(&unfinished)?.sync_all()?;
            fs::rename(&unfinished, &path)?;
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
    pub(crate) fn adopt_image(&self, image: &Path) -> Result<(String, Bytes), DriverError> {
        let digest = image.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let name = format!("image-{digest}{SUFFIX}");
        let path = self.data(&name);
        let bring = || {
            if !path.exists() {
                record::write(&self.layer_path(&name), &LayerRecord { backing: None })?;
                let unfinished = path.with_extension("new");
                let _ = fs::remove_file(&unfinished);
                if fs::hard_link(image, &unfinished).is_err() {
                    fs::copy(image, &unfinished)?;
                    File::open(&unfinished)?.sync_all()?;
                }
                fs::rename(&unfinished, &path)?;
                record::sync_folder(&path)?;
            }
            header::check(&path, None)?;
            header::virtual_size(&path)
        };
        bring().map(|size| (name.clone(), Bytes(size))).map_err(failed("bringing the image into the pool"))
    }

    /// Nobody writes to it any more.
    pub(crate) fn freeze(&self, name: &str) -> Result<(), DriverError> {
        let path = self.data(name);
        let freeze = || {
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
        let mut at = Some(name.to_owned());
        while let Some(name) = at {
            let backing = self.backing(&name)?;
            let path = backing.as_deref().map(|backing| self.data(backing));
            header::check(&self.data(&name), path.as_deref()).map_err(failed("checking a volume's file"))?;
            at = backing;
        }
        Ok(())
    }

    pub(crate) async fn resize(&self, name: &str, size: Bytes) -> Result<(), DriverError> {
        self.check_chain(name)?;
        let args = ["resize", "-q", "-f", "qcow2"].map(Into::into).into_iter();
        qemu_img(args.chain([self.data(name).into(), size.0.to_string().into()])).await
    }

    /// What the volume's own files take.
    pub(crate) fn used(&self, uid: &Uid) -> Result<Bytes, DriverError> {
        let prefix = format!("{uid}.");
        let own = names(&self.0.join("data"))?;
        let own = own.iter().filter(|name| name.starts_with(&prefix));
        let blocks: u64 = own.filter_map(|name| fs::metadata(self.data(name)).ok()).map(|m| m.blocks()).sum();
        Ok(Bytes(blocks * 512))
    }

    /// Removes every file that no volume and no snapshot stands on.
    pub(crate) fn sweep(&self) -> Result<(), DriverError> {
        let mut backing = BTreeMap::new();
        let files: BTreeSet<String> = names(&self.0.join("data"))?.into_iter().collect();
        for file in files.iter().filter_map(|file| file.strip_suffix(".json")) {
            backing.insert(file.to_owned(), self.backing(file)?);
        }
        let mut needed = BTreeSet::new();
        let mut roots = Vec::new();
        for uid in self.volumes()? {
            let Some(volume) = self.volume(&uid)? else { continue };
            roots.push(Self::head_name(&uid, volume.head));
            if volume.pending.is_some() {
                roots.push(Self::head_name(&uid, volume.head + 1));
            }
        }
        for uid in names(&self.0.join("snapshots"))?.iter().filter_map(|name| Uid::parse(name)) {
            roots.extend(self.snapshot(&uid)?.map(|snapshot| snapshot.layer));
        }
        while let Some(name) = roots.pop() {
            roots.extend(backing.get(&name).cloned().flatten());
            needed.insert(name);
        }
        for file in &files {
            let name = file.strip_suffix(".json").unwrap_or(file);
            if !needed.contains(name) {
                record::remove(&self.data(file)).map_err(failed("removing a layer"))?;
            }
        }
        Ok(())
    }

    fn backing(&self, name: &str) -> Result<Option<String>, DriverError> {
        let layer: Option<LayerRecord> =
            record::read(&self.layer_path(name)).map_err(failed("reading a layer's record"))?;
        Ok(layer.and_then(|layer| layer.backing))
    }

    fn layer_path(&self, name: &str) -> PathBuf {
        self.data(&format!("{name}.json"))
    }

    fn volume_path(&self, uid: &Uid) -> PathBuf {
        self.0.join("volumes").join(uid.as_str())
    }

    fn snapshot_path(&self, uid: &Uid) -> PathBuf {
        self.0.join("snapshots").join(uid.as_str())
    }
}

pub(crate) fn failed(what: &'static str) -> impl Fn(io::Error) -> DriverError {
    move |e| DriverError::failed(what, e)
}

fn names(folder: &Path) -> Result<Vec<String>, DriverError> {
    let list = || -> io::Result<Vec<String>> {
        let entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
        Ok(entries.into_iter().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    };
    list().map_err(failed("reading the pool"))
}

async fn qemu_img(args: impl IntoIterator<Item = std::ffi::OsString>) -> Result<(), DriverError> {
    let done = sys::command::run("/usr/bin/qemu-img", args, TOOL_MAX).await;
    done.map(drop).map_err(|e| DriverError::failed("qemu-img", e))
}
