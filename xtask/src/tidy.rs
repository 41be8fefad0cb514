//! Runs every check over the tree and collects the breaches. Owns no rule itself.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cargo_metadata::{Metadata, MetadataCommand};

use crate::ratchet::Ratchet;
use crate::sources::SourceFile;
use crate::{architecture, layers, licences, ratchet, sources};

/// One rule broken in one place, with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Breach {
    /// A path relative to the root, with `:line` where there is one, or a crate's name.
    pub(crate) at: String,
    pub(crate) message: String,
}

impl Breach {
    pub(crate) fn new(at: impl Into<String>, message: impl Into<String>) -> Self {
        Self { at: at.into(), message: message.into() }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.message)
    }
}

/// Why the tree could not be checked at all.
#[derive(Debug)]
pub(crate) enum TidyError {
    File { path: PathBuf, source: io::Error },
    Metadata(cargo_metadata::Error),
    Ratchet(String),
    Licences(String),
}

impl fmt::Display for TidyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Metadata(e) => write!(f, "cargo metadata: {e}"),
            Self::Ratchet(e) => write!(f, "{}: {e}", ratchet::PATH),
            Self::Licences(e) => write!(f, "{}: {e}", licences::PATH),
        }
    }
}

impl std::error::Error for TidyError {}

/// The folder that holds the workspace's Cargo.toml.
pub(crate) fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// All breaches in the tree, sorted.
pub(crate) fn run(root: &Path) -> Result<Vec<Breach>, TidyError> {
    let files = sources::read_tree(root)?;
    let metadata = read_metadata(root)?;
    let mut breaches = sources::check(root, &files);
    breaches.extend(ratchet::check(&read_ratchet(root)?, &lengths(&files)));
    breaches.extend(layers::check(&metadata));
    breaches.extend(licences::check(&licences::allowed(&read(root, licences::PATH)?)?, &metadata));
    let map = read(root, architecture::PATH)?;
    breaches.extend(architecture::check(&map, |path| root.join(path).exists()));
    breaches.sort();
    Ok(breaches)
}

/// Writes the ratchet anew with every entry that has become shorter, and without those that are short enough.
pub(crate) fn lower_ratchet(root: &Path) -> Result<(), TidyError> {
    let files = sources::read_tree(root)?;
    let lowered = read_ratchet(root)?.lowered(&lengths(&files));
    let path = root.join(ratchet::PATH);
    fs::write(&path, lowered.to_string()).map_err(|source| TidyError::File { path, source })
}

fn lengths(files: &[SourceFile]) -> Vec<ratchet::Length> {
    files.iter().filter(|f| f.is_rust()).flat_map(|f| ratchet::measure(&f.path, &f.text)).collect()
}

fn read_ratchet(root: &Path) -> Result<Ratchet, TidyError> {
    read(root, ratchet::PATH)?.parse().map_err(TidyError::Ratchet)
}

fn read(root: &Path, path: &str) -> Result<String, TidyError> {
    let path = root.join(path);
    fs::read_to_string(&path).map_err(|source| TidyError::File { path, source })
}

fn read_metadata(root: &Path) -> Result<Metadata, TidyError> {
    // Crates of other platforms are neither built nor shipped, so neither are they downloaded to be judged.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .other_options(["--locked".into(), "--filter-platform".into(), platform])
        .exec()
        .map_err(TidyError::Metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_tidy() {
        let breaches = run(&workspace_root()).expect("the tree can be read");
        let lines: Vec<String> = breaches.iter().map(Breach::to_string).collect();
        assert!(lines.is_empty(), "rules of the house are broken:\n{}", lines.join("\n"));
    }
}
