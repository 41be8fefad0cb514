//! From an archive to the folders that overlayfs stacks, each layer once however many images share it.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::archive::Documents;
use super::config::ImageConfig;
use super::error::{OciError, at};
use super::import::{Selection, choose};
use super::layer;
use super::limits::Limits;
use super::source::Source;
use crate::digest::Digest;

/// Names of half-made layers; a lock on the folder says that its maker lives.
const HALF: &str = ".half-";

/// An image that is ready to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    pub config: ImageConfig,
    /// Read-only layer folders, lowest first, each once.
    pub layers: Vec<PathBuf>,
}

/// Unpacks the archive's layers below `layers_dir`, which is made if need be and closed to all but root: files
/// inside keep their set-user-id bits. Safe to run several times at once and to repeat after a crash.
pub fn unpack(archive: &Path, layers_dir: &Path, limits: &Limits) -> Result<Unpacked, OciError> {
    let source = Source::open(archive, limits)?;
    let documents = read(&source, archive, limits)?;
    DirBuilder::new().recursive(true).mode(0o700).create(layers_dir).map_err(at("create", layers_dir))?;
    sweep(layers_dir).map_err(at("clean up", layers_dir))?;
    let diff_ids = documents.config.diff_ids()?;
    for (diff_id, descriptor) in diff_ids.iter().zip(&documents.manifest.layers) {
        let place = layer_folder(layers_dir, *diff_id);
        if !place.exists() {
            let half = Half::make(layers_dir).map_err(at("create a folder in", layers_dir))?;
            layer::unpack(source.blob(descriptor.digest)?.0, *diff_id, &half.path, limits)?;
            half.publish(&place).map_err(at("rename into place", &place))?;
        }
    }
    Ok(Unpacked {
        layers: topmost_of_each(&diff_ids).into_iter().map(|id| layer_folder(layers_dir, id)).collect(),
        config: documents.config.into_image_config(),
    })
}

/// What the archive's image says about running it.
pub fn inspect(archive: &Path, limits: &Limits) -> Result<ImageConfig, OciError> {
    let source = Source::open(archive, limits)?;
    Ok(read(&source, archive, limits)?.config.into_image_config())
}

fn read(source: &Source, archive: &Path, limits: &Limits) -> Result<Documents, OciError> {
    let index = source
        .read_document("index.json", limits)?
        .ok_or_else(|| OciError::NotAnImage(archive.display().to_string()))?;
    let descriptor = choose(source, &index, &Selection::default(), limits)?;
    let manifest = source.blob_document(descriptor.digest, limits)?;
    Documents::new(descriptor, manifest, limits, |config| source.blob_document(config.digest, limits))
}

fn layer_folder(layers_dir: &Path, diff_id: Digest) -> PathBuf {
    layers_dir.join(format!("sha256-{diff_id}"))
}

/// overlayfs refuses the same folder twice. Of two equal layers the upper one says it all: it brings back what
/// the layers between them changed or removed.
fn topmost_of_each(diff_ids: &[Digest]) -> Vec<Digest> {
    let is_last = |(i, id): &(usize, &Digest)| !diff_ids[i + 1..].contains(id);
    diff_ids.iter().enumerate().filter(is_last).map(|(_, id)| *id).collect()
}

/// A folder that becomes a layer, or goes.
struct Half {
    path: PathBuf,
    /// Holds the lock.
    _folder: File,
}

impl Half {
    fn make(layers_dir: &Path) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = layers_dir.join(format!("{HALF}{}-{number}", std::process::id()));
            DirBuilder::new().mode(0o755).create(&path)?;
            let folder = File::open(&path)?;
            folder.lock()?;
            // A sweeper may have come between the making and the lock.
            if path.exists() {
                return Ok(Self { path, _folder: folder });
            }
        }
    }

    fn publish(self, place: &Path) -> io::Result<()> {
        match fs::rename(&self.path, place) {
            // Another one was faster; the two are equal.
            Err(_) if place.exists() => Ok(()),
            done => done,
        }
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes what makers that died left.
fn sweep(layers_dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(layers_dir)?.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(HALF) {
            continue;
        }
        let Ok(folder) = File::open(entry.path()) else { continue };
        if folder.try_lock().is_ok() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_layers_the_upper_one_counts() {
        let [a, b, c] = [b"a", b"b", b"c"].map(|text| Digest::of(text));
        assert_eq!(topmost_of_each(&[a, b, a, c, b]), [a, c, b]);
    }
}
