//! Importing an image that is a file or a folder of this host: which one is meant, and that it holds together.

use std::io::Read;
use std::path::Path;

use super::archive::{self, Documents, Imported};
use super::document::{
    CONFIG_TYPE, Config, Descriptor, Index, LAYER_TYPE, MANIFEST_TYPE, Manifest, SavedImage, parse,
};
use super::error::{OciError, io};
use super::limits::Limits;
use super::source::{Source, verify};
use crate::digest::Digest;

/// Most indexes inside of indexes.
const NESTING_MAX: usize = 3;

/// Which image of several is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Its tag in the layout or the tar; needed only when there are several images.
    pub tag: Option<String>,
}

/// Reads an OCI layout (folder or tar) or a `docker save` tar at `from` and writes the archive to `to`.
pub fn import(from: &Path, to: &Path, selection: &Selection, limits: &Limits) -> Result<Imported, OciError> {
    let source = Source::open(from, limits)?;
    // Newer `docker save` tars are layouts too, with what docker itself needs beside it.
    if let Some(index) = source.read_document("index.json", limits)? {
        return import_layout(&source, &index, to, selection, limits);
    }
    match source.read_document("manifest.json", limits)? {
        Some(saved) => import_saved(&source, &saved, to, selection, limits),
        None => Err(OciError::NotAnImage(from.display().to_string())),
    }
}

/// This host's architecture as images name it.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The manifest of a layout that is meant.
pub(crate) fn choose(
    source: &Source,
    index: &[u8],
    selection: &Selection,
    limits: &Limits,
) -> Result<Descriptor, OciError> {
    let index: Index = parse("index.json", index)?;
    let mut chosen = pick(index.manifests, selection.tag.as_deref())?;
    for _ in 0..NESTING_MAX {
        if !chosen.is_index() {
            return Ok(chosen);
        }
        let nested: Index = parse("image index", &source.blob_document(chosen.digest, limits)?)?;
        chosen = pick(nested.manifests, None)?;
    }
    Err(OciError::corrupt("image index", "indexes lead to indexes lead to indexes"))
}

/// The one manifest that fits this host and the tag.
pub(crate) fn pick(all: Vec<Descriptor>, tag: Option<&str>) -> Result<Descriptor, OciError> {
    let tags = || {
        let mut tags: Vec<&str> = all.iter().flat_map(Descriptor::tags).collect();
        tags.dedup();
        tags.join(", ")
    };
    let fits = |d: &&Descriptor| {
        d.platform.as_ref().is_none_or(|p| p.os == "linux" && p.architecture == architecture())
            && (d.is_index() || d.is_manifest())
            && tag.is_none_or(|tag| d.tags().any(|own| own == tag))
    };
    let mut fitting: Vec<&Descriptor> = all.iter().filter(fits).collect();
    fitting.dedup_by_key(|d| d.digest);
    match (fitting.as_slice(), tag) {
        ([one], _) => Ok((*one).clone()),
        ([], Some(tag)) => Err(OciError::Choice(format!("there is no image {tag:?}; there are: {}", tags()))),
        ([], None) => Err(OciError::Choice(format!("there is no image for linux/{}", architecture()))),
        _ => Err(OciError::Choice(format!("there are several images; name the tag of one: {}", tags()))),
    }
}

fn import_layout(
    source: &Source,
    index: &[u8],
    to: &Path,
    selection: &Selection,
    limits: &Limits,
) -> Result<Imported, OciError> {
    let descriptor = choose(source, index, selection, limits)?;
    let manifest = source.blob_document(descriptor.digest, limits)?;
    let documents =
        Documents::new(descriptor, manifest, limits, |config| source.blob_document(config.digest, limits))?;
    archive::write(to, documents, |layer| Ok(source.blob(layer.digest)?.0))
}

/// A legacy `docker save` tar has no manifest: its configuration's digests say what the layers must be.
fn import_saved(
    source: &Source,
    saved: &[u8],
    to: &Path,
    selection: &Selection,
    limits: &Limits,
) -> Result<Imported, OciError> {
    let saved = pick_saved(parse("manifest.json", saved)?, selection)?;
    let config_bytes = source
        .read_document(&saved.config, limits)?
        .ok_or_else(|| OciError::corrupt(saved.config.as_str(), "is missing from the image"))?;
    let config: Config = parse("configuration", &config_bytes)?;
    let diff_ids = config.diff_ids()?;
    if diff_ids.len() != saved.layers.len() {
        return Err(OciError::corrupt(
            "manifest.json",
            "it and the configuration name different numbers of layers",
        ));
    }
    let open = |name: &String| {
        source.read(name)?.ok_or_else(|| OciError::corrupt(name.as_str(), "is missing from the image"))
    };
    let layers = diff_ids
        .iter()
        .zip(&saved.layers)
        .map(|(diff_id, name)| Ok(Descriptor::new(LAYER_TYPE, *diff_id, open(name)?.1)))
        .collect::<Result<Vec<_>, OciError>>()?;
    let manifest = Manifest {
        schema_version: 2,
        media_type: MANIFEST_TYPE.to_owned(),
        config: Descriptor::new(CONFIG_TYPE, Digest::of(&config_bytes), config_bytes.len() as u64),
        layers,
    };
    let manifest = serde_json::to_vec(&manifest).map_err(|e| OciError::corrupt("manifest", e))?;
    let descriptor = Descriptor::new(MANIFEST_TYPE, Digest::of(&manifest), manifest.len() as u64);
    // The old format names the configuration by its digest.
    if let Some(Ok(named)) = saved.config.strip_suffix(".json").map(str::parse) {
        verify(&saved.config, named, Digest::of(&config_bytes))?;
    }
    let documents = Documents::new(descriptor, manifest, limits, |_| Ok(config_bytes))?;
    archive::write(to, documents, |layer| {
        let at = diff_ids.iter().position(|id| *id == layer.digest);
        let name = at.and_then(|at| saved.layers.get(at));
        let name = name.ok_or_else(|| OciError::corrupt("manifest.json", "a layer has no file"))?;
        Ok(open(name)?.0)
    })
}

fn pick_saved(all: Vec<SavedImage>, selection: &Selection) -> Result<SavedImage, OciError> {
    let tags = all.iter().flat_map(|image| image.repo_tags.clone()).collect::<Vec<_>>().join(", ");
    let mut fitting = all
        .into_iter()
        .filter(|image| selection.tag.as_ref().is_none_or(|tag| image.repo_tags.contains(tag)));
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(OciError::Choice(format!("there is no such image; there are: {tags}"))),
        _ => Err(OciError::Choice(format!("there are several images; name the tag of one: {tags}"))),
    }
}

/// Reads all of a small stream.
pub(crate) fn read_bounded(from: impl Read, what: &str, limit: u64) -> Result<Vec<u8>, OciError> {
    let mut bytes = Vec::new();
    from.take(limit + 1).read_to_end(&mut bytes).map_err(io(format!("read {what}")))?;
    if bytes.len() as u64 > limit { Err(OciError::too_large(what, limit)) } else { Ok(bytes) }
}
