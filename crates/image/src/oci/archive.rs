//! Writing the one form in which images are kept: an OCI layout in a tar, always the same bytes for the same
//! image. Every blob is verified on its way in.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use super::config::ImageConfig;
use super::document::{Config, Descriptor, Index, Manifest};
use super::error::{OciError, at, io};
use super::limits::Limits;
use super::source::{blob_name, verify};
use crate::digest::{Digest, HashingWriter};

/// An image that was written to an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Names the image for all time.
    pub manifest: Digest,
    pub config: ImageConfig,
    pub layers: usize,
    /// Size of the archive.
    pub size: u64,
}

/// An image's documents, verified against each other.
#[derive(Debug)]
pub(crate) struct Documents {
    pub(crate) descriptor: Descriptor,
    pub(crate) manifest_bytes: Vec<u8>,
    pub(crate) manifest: Manifest,
    pub(crate) config_bytes: Vec<u8>,
    pub(crate) config: Config,
}

impl Documents {
    /// `config` fetches the verified configuration that the manifest names.
    pub(crate) fn new(
        descriptor: Descriptor,
        manifest_bytes: Vec<u8>,
        limits: &Limits,
        config: impl FnOnce(&Descriptor) -> Result<Vec<u8>, OciError>,
    ) -> Result<Self, OciError> {
        let manifest: Manifest = super::document::parse("manifest", &manifest_bytes)?;
        if manifest.layers.len() > limits.layers {
            return Err(OciError::too_large("the number of layers of an image", limits.layers as u64));
        }
        let total = manifest.layers.iter().try_fold(0u64, |sum, layer| sum.checked_add(layer.size));
        if total.is_none_or(|total| total > limits.archive_bytes) {
            return Err(OciError::too_large("the size of an image, in bytes,", limits.archive_bytes));
        }
        let config_bytes = config(&manifest.config)?;
        let config: Config = super::document::parse("configuration", &config_bytes)?;
        let (ids, layers) = (config.diff_ids()?.len(), manifest.layers.len());
        if ids != layers {
            let why = format!("the configuration names {ids} layers and the manifest {layers}");
            return Err(OciError::corrupt("image", why));
        }
        if !matches!(config.os.as_str(), "" | "linux") {
            return Err(OciError::Choice(format!("the image is for {}, not for linux", config.os)));
        }
        if !config.architecture.is_empty() && config.architecture != super::import::architecture() {
            return Err(OciError::Choice(format!(
                "the image is for {}, this host is {}; choose another architecture's image",
                config.architecture,
                super::import::architecture()
            )));
        }
        Ok(Self { descriptor, manifest_bytes, manifest, config_bytes, config })
    }
}

/// Writes the archive to `to`, whole or not at all. `layer` opens the bytes a descriptor names.
pub(crate) fn write<'a>(
    to: &Path,
    documents: Documents,
    mut layer: impl FnMut(&Descriptor) -> Result<Box<dyn Read + 'a>, OciError>,
) -> Result<Imported, OciError> {
    let part = Part(with_suffix(to, ".part"));
    let file = File::create(&part.0).map_err(at("create", &part.0))?;
    let mut tar = Builder::new(BufWriter::with_capacity(256 << 10, file));
    let index = Index {
        schema_version: 2,
        manifests: vec![Descriptor { annotations: serde_json::Map::new(), ..documents.descriptor.clone() }],
    };
    let index = serde_json::to_vec(&index).map_err(|e| OciError::corrupt("index", e))?;
    add(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    add(&mut tar, "index.json", &index)?;
    add(&mut tar, &blob_name(documents.descriptor.digest), &documents.manifest_bytes)?;
    add(&mut tar, &blob_name(documents.manifest.config.digest), &documents.config_bytes)?;
    let mut written = HashSet::new();
    for descriptor in &documents.manifest.layers {
        if written.insert(descriptor.digest) {
            add_verified(&mut tar, descriptor, layer(descriptor)?)?;
        }
    }
    let file = tar.into_inner().and_then(|buffer| Ok(buffer.into_inner()?)).map_err(at("write", &part.0))?;
    let size = file.metadata().map_err(at("read", &part.0))?.len();
    fs::rename(&part.0, to).map_err(at("rename into place", to))?;
    Ok(Imported {
        manifest: documents.descriptor.digest,
        layers: documents.manifest.layers.len(),
        config: documents.config.into_image_config(),
        size,
    })
}

fn add(tar: &mut Builder<impl Write>, name: &str, bytes: &[u8]) -> Result<(), OciError> {
    tar.append_data(&mut header(bytes.len() as u64), name, bytes).map_err(io("write an image archive"))
}

fn add_verified(tar: &mut Builder<impl Write>, blob: &Descriptor, from: impl Read) -> Result<(), OciError> {
    let name = blob_name(blob.digest);
    let mut hashed = Hashed { from: from.take(blob.size), to: HashingWriter::new(std::io::sink()) };
    tar.append_data(&mut header(blob.size), &name, &mut hashed).map_err(io(format!("copy {name}")))?;
    if hashed.to.written() != blob.size {
        let why =
            format!("{} bytes long, {} were declared; get the image again", hashed.to.written(), blob.size);
        return Err(OciError::corrupt(name, why));
    }
    verify(&name, blob.digest, hashed.to.finish().1)
}

fn header(size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}

/// Hashes what is read.
struct Hashed<R> {
    from: R,
    to: HashingWriter<std::io::Sink>,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let n = self.from.read(to)?;
        self.to.write_all(&to[..n])?;
        Ok(n)
    }
}

/// A file that is removed unless it was renamed away.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut text = path.as_os_str().to_owned();
    text.push(suffix);
    text.into()
}
