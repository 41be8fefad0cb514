//! Where an image's files come from: a folder, or a tar that is read at random by an index of its members.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tar::{Archive, EntryType};

use super::error::{OciError, at, io};
use super::limits::Limits;
use super::tarball::walk;
use crate::digest::Digest;

/// Most links from one member's name to the next.
const LINKS_MAX: usize = 8;

#[derive(Debug)]
pub(crate) enum Source {
    Folder(PathBuf),
    Tar { file: File, members: HashMap<String, Found> },
}

/// What a name of a tar stands for.
#[derive(Debug)]
pub(crate) enum Found {
    File {
        position: u64,
        size: u64,
    },
    /// `docker save` wrote equal layers as links to the first of them.
    Link(String),
}

/// A file's content and its size.
pub(crate) type Opened<'a> = (Box<dyn Read + 'a>, u64);

impl Source {
    pub(crate) fn open(path: &Path, limits: &Limits) -> Result<Self, OciError> {
        if path.is_dir() {
            return Ok(Self::Folder(path.to_owned()));
        }
        let file = File::open(path).map_err(at("open", path))?;
        let mut members = HashMap::new();
        let mut end = 0;
        let mut archive = Archive::new(&file);
        let entries = archive.entries_with_seek().map_err(at("read", path))?;
        walk(entries, limits, |member| {
            let Ok(name) = String::from_utf8(member.path) else { return Ok(()) };
            let found = match member.kind {
                EntryType::Regular | EntryType::Continuous => {
                    Found::File { position: member.position, size: member.size }
                }
                EntryType::Symlink | EntryType::Link => {
                    let Ok(link) = String::from_utf8(member.link) else { return Ok(()) };
                    let base = if member.kind == EntryType::Symlink { parent(&name) } else { "" };
                    Found::Link(join(base, &link))
                }
                _ => return Ok(()),
            };
            end = end.max(member.position.saturating_add(member.size));
            members.insert(join("", &name), found);
            Ok(())
        })?;
        let length = file.metadata().map_err(at("read", path))?.len();
        if end > length {
            return Err(OciError::corrupt(
                path.display().to_string(),
                "the tar ends in the middle; get it again",
            ));
        }
        Ok(Self::Tar { file, members })
    }

    /// A file; `None` when there is none of that name.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Opened<'_>>, OciError> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(join("", name));
                let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
                let file = match File::options().read(true).custom_flags(flags).open(&path) {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
                    opened => opened.map_err(at("open", &path))?,
                };
                let size = file.metadata().map_err(at("read", &path))?.len();
                Ok(Some((Box::new(file), size)))
            }
            Self::Tar { file, members } => {
                let mut name = join("", name);
                for _ in 0..LINKS_MAX {
                    match members.get(&name) {
                        None => return Ok(None),
                        Some(Found::Link(next)) => name.clone_from(next),
                        Some(Found::File { position, size }) => {
                            return Ok(Some((Box::new(Range { file, at: *position, left: *size }), *size)));
                        }
                    }
                }
                Err(OciError::corrupt(name, "its links lead in a circle"))
            }
        }
    }

    /// A whole small file.
    pub(crate) fn read_document(&self, name: &str, limits: &Limits) -> Result<Option<Vec<u8>>, OciError> {
        let Some((reader, size)) = self.read(name)? else { return Ok(None) };
        if size > limits.document_bytes {
            return Err(OciError::too_large(name, limits.document_bytes));
        }
        let mut bytes = Vec::new();
        reader.take(limits.document_bytes).read_to_end(&mut bytes).map_err(io(format!("read {name}")))?;
        Ok(Some(bytes))
    }

    /// A blob of a layout, unverified.
    pub(crate) fn blob(&self, digest: Digest) -> Result<Opened<'_>, OciError> {
        let name = blob_name(digest);
        self.read(&name)?.ok_or_else(|| OciError::corrupt(name, "is missing from the image"))
    }

    /// A small blob, verified.
    pub(crate) fn blob_document(&self, digest: Digest, limits: &Limits) -> Result<Vec<u8>, OciError> {
        let name = blob_name(digest);
        let bytes = self
            .read_document(&name, limits)?
            .ok_or_else(|| OciError::corrupt(name.as_str(), "is missing from the image"))?;
        verify(&name, digest, Digest::of(&bytes))?;
        Ok(bytes)
    }
}

pub(crate) fn blob_name(digest: Digest) -> String {
    format!("blobs/sha256/{digest}")
}

pub(crate) fn verify(what: &str, expected: Digest, found: Digest) -> Result<(), OciError> {
    if expected == found {
        Ok(())
    } else {
        Err(OciError::WrongDigest { what: what.to_owned(), expected, found })
    }
}

fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// The name that `path` means below `base`; a `..` over the top stays there, for names are only looked up.
fn join(base: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Part of a file that others read too.
#[derive(Debug)]
struct Range<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Range<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(to.len());
        let n = self.file.read_at(&mut to[..most], self.at)?;
        self.at += n as u64;
        self.left -= n as u64;
        Ok(n)
    }
}
