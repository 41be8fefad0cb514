//! Import: from a stranger's file to verified artifacts. The order is the point: digest, inspection, conversion
//! in a jail, inspection of the result; nothing is used before the step ahead of it passed.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use model::Bytes;
use model::compute::{Artifact, ArtifactRole, ImageFormat};

use crate::cache::{Arrival, Cache, CacheError, Stored};
use crate::convert::{ConvertError, convert};
use crate::digest::Digest;
use crate::fetch::{Egress, FetchError, agent, fetch};
use crate::inspect::{InspectError, inspect};
use crate::oci::{self, OciError};
use crate::ova::{self, OvaError};
use crate::task::Task;

/// Copy in steps of this many bytes.
const CHUNK: usize = 1 << 20;

/// What to import.
#[derive(Debug)]
pub struct Import {
    /// Declared by whoever brings the image; never guessed.
    pub format: ImageFormat,
    pub source: Source,
    /// For format `kernel`.
    pub initrd: Option<Source>,
    /// Of the file at `source`.
    pub sha256: Option<Digest>,
    /// Most bytes any one file may have, and any disk may show to its guest.
    pub size_max: u64,
    /// Where downloads may go.
    pub egress: Egress,
}

#[derive(Debug)]
pub enum Source {
    /// `http://` or `https://`; for format `oci` also `oci://HOST/NAME:TAG`, an image of a registry.
    Url(String),
    /// A file of this host; only ever a path the operator or this process named.
    File(PathBuf),
    /// An upload, written through [`Cache::stage`].
    Arrived(Arrival),
}

/// What instances will use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    pub artifacts: Vec<Artifact>,
    /// The size a disk shows to its guest; zero when there is no disk.
    pub virtual_size: Bytes,
}

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Inspect(#[from] InspectError),
    #[error(transparent)]
    Convert(#[from] ConvertError),
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("the {what} has {size} bytes, more than the {max} allowed here")]
    TooLarge { what: &'static str, size: u64, max: u64 },
    #[error("an initrd belongs to format kernel, not to {}", .0.as_str())]
    NoInitrd(ImageFormat),
    #[error(transparent)]
    Oci(#[from] OciError),
    #[error(transparent)]
    Ova(#[from] OvaError),
    #[error("an image of a registry is named by its digest in the reference itself: HOST/NAME@sha256:HEX")]
    DigestInReference,
    #[error("the import was cancelled")]
    Cancelled,
}

/// Brings an image into the cache. Importing the same bytes again is harmless.
pub fn import(cache: &Cache, import: Import, task: &Task) -> Result<Imported, ImportError> {
    if import.initrd.is_some() && import.format != ImageFormat::Kernel {
        return Err(ImportError::NoInitrd(import.format));
    }
    let limits = Limits { size_max: import.size_max, egress: &import.egress };
    if let (ImageFormat::Oci, Source::Url(url)) = (import.format, &import.source)
        && let Some(request) = registry_request(url)?
    {
        if import.sha256.is_some() {
            return Err(ImportError::DigestInReference);
        }
        return limits.pull(cache, &request);
    }
    let arrival = limits.receive(cache, import.source, import.sha256, task)?;
    match import.format {
        ImageFormat::Kernel => {
            let initrd = import.initrd.map(|source| limits.receive(cache, source, None, task)).transpose()?;
            let mut artifacts = vec![artifact(ArtifactRole::Kernel, &cache.commit(arrival)?)];
            if let Some(initrd) = initrd {
                artifacts.push(artifact(ArtifactRole::Initrd, &cache.commit(initrd)?));
            }
            Ok(Imported { artifacts, virtual_size: Bytes(0) })
        }
        ImageFormat::Oci => limits.oci(cache, |to| {
            oci::import(arrival.path(), to, &oci::Selection::default(), &oci::Limits::default())
        }),
        ImageFormat::Ova => {
            let disk = limits.disk_of_ova(cache, &arrival, task)?;
            drop(arrival);
            limits.disk(cache, ImageFormat::Vmdk, &disk, task)
        }
        ImageFormat::Raw
        | ImageFormat::Qcow2
        | ImageFormat::Vmdk
        | ImageFormat::Vhd
        | ImageFormat::Vhdx
        | ImageFormat::Iso => limits.disk(cache, import.format, &arrival, task),
    }
}

struct Limits<'a> {
    size_max: u64,
    egress: &'a Egress,
}

impl Limits<'_> {
    /// Gets the bytes here, complete and with the declared digest.
    fn receive(
        &self,
        cache: &Cache,
        source: Source,
        sha256: Option<Digest>,
        task: &Task,
    ) -> Result<Arrival, ImportError> {
        let arrival = match source {
            Source::Url(url) => fetch(cache, &url, sha256, self.size_max, self.egress, task)?,
            Source::File(path) => self.copy(cache, path, sha256, task)?,
            Source::Arrived(arrival) => match sha256 {
                Some(expected) if expected != arrival.digest => {
                    return Err(CacheError::Mismatch { expected, found: arrival.digest }.into());
                }
                _ => arrival,
            },
        };
        self.check("file", arrival.size)?;
        Ok(arrival)
    }

    /// A copy, not the file itself: it may change while it is being checked.
    fn copy(
        &self,
        cache: &Cache,
        path: PathBuf,
        sha256: Option<Digest>,
        task: &Task,
    ) -> Result<Arrival, ImportError> {
        let read = |source| ImportError::Read { path: path.clone(), source };
        let from = File::open(&path).map_err(read)?;
        let total = from.metadata().map_err(read)?.len();
        self.pour(cache, &path, from, total, sha256, task)
    }

    /// The disk in an OVA, as a file of its own.
    fn disk_of_ova(&self, cache: &Cache, ova: &Arrival, task: &Task) -> Result<Arrival, ImportError> {
        let read = |source| ImportError::Read { path: ova.path().to_owned(), source };
        let mut file = File::open(ova.path()).map_err(read)?;
        let disk = ova::disk(&mut file)?;
        file.seek(SeekFrom::Start(disk.offset)).map_err(read)?;
        self.pour(cache, ova.path(), file.take(disk.size), disk.size, disk.sha256, task)
    }

    /// Copies what is read of `path`, which should be `total` bytes.
    fn pour(
        &self,
        cache: &Cache,
        path: &Path,
        mut from: impl Read,
        total: u64,
        sha256: Option<Digest>,
        task: &Task,
    ) -> Result<Arrival, ImportError> {
        let read = |source| ImportError::Read { path: path.to_owned(), source };
        self.check("file", total)?;
        let mut staging = cache.stage()?;
        let mut chunk = vec![0; CHUNK];
        loop {
            let n = from.read(&mut chunk).map_err(read)?;
            if n == 0 {
                return Ok(staging.finish(sha256)?);
            }
            staging.write_all(&chunk[..n]).map_err(read)?;
            self.check("file", staging.written())?;
            task.report(staging.written(), Some(total));
            if task.cancel.is_cancelled() {
                return Err(ImportError::Cancelled);
            }
        }
    }

    fn disk(
        &self,
        cache: &Cache,
        format: ImageFormat,
        arrival: &Arrival,
        task: &Task,
    ) -> Result<Imported, ImportError> {
        let read = |source| ImportError::Read { path: arrival.path().to_owned(), source };
        let size = inspect(format, &mut File::open(arrival.path()).map_err(read)?)?;
        self.check("disk", size)?;
        let result = cache.scratch();
        convert(format, arrival.path(), result.path(), size, task)?;
        // The tool read bytes of a stranger: what it wrote is inspected like a stranger's file.
        let size = inspect(ImageFormat::Qcow2, &mut File::open(result.path()).map_err(read)?)?;
        self.check("disk", size)?;
        let stored = cache.commit(Cache::arrive(result)?)?;
        Ok(Imported { artifacts: vec![artifact(ArtifactRole::Disk, &stored)], virtual_size: Bytes(size) })
    }

    /// Fetches from a registry, layer by layer.
    fn pull(&self, cache: &Cache, request: &oci::PullRequest) -> Result<Imported, ImportError> {
        let agent = agent(self.egress);
        self.oci(cache, |to| oci::pull(&agent, request, to, &oci::Limits::default()))
    }

    /// Writes the one archive form in which images of containers are kept, every blob verified on its way in.
    fn oci(
        &self,
        cache: &Cache,
        write: impl FnOnce(&Path) -> Result<oci::Imported, OciError>,
    ) -> Result<Imported, ImportError> {
        let result = cache.scratch();
        self.check("image", write(result.path())?.size)?;
        let stored = cache.commit(Cache::arrive(result)?)?;
        Ok(Imported { artifacts: vec![artifact(ArtifactRole::Oci, &stored)], virtual_size: Bytes(0) })
    }

    fn check(&self, what: &'static str, size: u64) -> Result<(), ImportError> {
        let max = self.size_max;
        if size > max { Err(ImportError::TooLarge { what, size, max }) } else { Ok(()) }
    }
}

/// `oci://HOST/NAME:TAG` names an image of a registry; `oci+http://` one that speaks HTTP without TLS.
fn registry_request(url: &str) -> Result<Option<oci::PullRequest>, ImportError> {
    let (reference, plain_http) = match (url.strip_prefix("oci://"), url.strip_prefix("oci+http://")) {
        (Some(reference), _) => (reference, false),
        (None, Some(reference)) => (reference, true),
        (None, None) => return Ok(None),
    };
    Ok(Some(oci::PullRequest { reference: reference.parse()?, credentials: None, plain_http }))
}

fn artifact(role: ArtifactRole, stored: &Stored) -> Artifact {
    Artifact { role, sha256: stored.digest.to_string(), size: Bytes(stored.size) }
}
