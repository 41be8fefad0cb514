//! Making one layer's files below a folder that nothing can leave.
//!
//! The parent of every entry is opened from the layer's root with `openat2`, which refuses `..`, absolute paths
//! and symbolic links, also those that earlier entries made; the entry itself is made in that parent by its
//! last name alone. Whiteouts become what overlayfs understands: a character device 0/0 for a removed name, an
//! attribute for a folder that hides what is below it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, UtimensatFlags, fchmod, fstatat, mkdirat, mknodat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, linkat, symlinkat, unlinkat};
use tar::EntryType;

use super::error::{OciError, io};
use super::limits::Limits;
use super::tarball::Member;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Longest name that Linux takes.
const NAME_MAX: usize = 255;
const OPAQUE_ATTRIBUTE: &std::ffi::CStr = c"trusted.overlay.opaque";

/// A layer that is being unpacked.
#[derive(Debug)]
pub(crate) struct Root<'a> {
    folder: OwnedFd,
    limits: &'a Limits,
    bytes: u64,
    /// The folder of the entry before this one: archives are in order.
    last: Option<(Vec<u8>, OwnedFd)>,
}

impl<'a> Root<'a> {
    pub(crate) fn open(path: &Path, limits: &'a Limits) -> io::Result<Self> {
        Ok(Self { folder: File::open(path)?.into(), limits, bytes: 0, last: None })
    }

    pub(crate) fn add<R: Read>(&mut self, mut member: Member<'_, R>) -> Result<(), OciError> {
        let whole = member.path.clone();
        let path = normalise(&whole)?;
        let Some((name, parent)) = path.split_last() else {
            // The layer's own root.
            return self.set_owner_and_mode_of_root(&member);
        };
        let folder = self.parent(parent, &whole)?;
        let failed = |e: Errno| failed(&whole, e);
        if *name == OPAQUE {
            return make_opaque(&folder).map_err(|e| io(shown(&member.path))(e));
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            return add_whiteout(&folder, hidden, &member.path);
        }
        match member.kind {
            EntryType::Directory => add_folder(&folder, name, &member),
            EntryType::Regular | EntryType::Continuous => {
                make_room(&folder, name, &member.path)?;
                self.count(member.size)?;
                add_file(&folder, name, &mut member)
            }
            EntryType::Symlink => {
                make_room(&folder, name, &member.path)?;
                if member.link.is_empty() {
                    return Err(OciError::hostile(&member.path, "a symbolic link to nothing"));
                }
                symlinkat(member.link.as_slice(), &folder, *name).map_err(failed)?;
                own(&folder, name, &member)
            }
            EntryType::Link => self.add_hard_link(&folder, name, &member),
            EntryType::Fifo => {
                make_room(&folder, name, &member.path)?;
                mknodat(&folder, *name, SFlag::S_IFIFO, mode(&member), 0).map_err(failed)?;
                own(&folder, name, &member)
            }
            // A container's devices are its runtime's to make; one from an image would be the host's.
            EntryType::Char | EntryType::Block => Ok(()),
            _ => Err(OciError::hostile(&member.path, "a sort of entry that layers do not have")),
        }
    }

    fn count(&mut self, size: u64) -> Result<(), OciError> {
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.limits.layer_bytes {
            return Err(OciError::too_large(
                "the unpacked size of a layer, in bytes,",
                self.limits.layer_bytes,
            ));
        }
        Ok(())
    }

    fn add_hard_link<R: Read>(
        &mut self,
        folder: &OwnedFd,
        name: &[u8],
        member: &Member<'_, R>,
    ) -> Result<(), OciError> {
        let target = normalise(&member.link)?;
        let Some((target, parent)) = target.split_last() else {
            return Err(OciError::hostile(&member.path, "a hard link to the root"));
        };
        let no_file = || OciError::hostile(&member.path, "a hard link to no file of this layer");
        let from = open_below(&self.folder, &parent.join(&b'/')).map_err(|_| no_file())?;
        match kind_at(&from, target).map_err(|e| failed(&member.path, e))? {
            Some(SFlag::S_IFREG | SFlag::S_IFLNK) => {}
            _ => return Err(no_file()),
        }
        make_room(folder, name, &member.path)?;
        linkat(&from, *target, folder, name, AtFlags::empty()).map_err(|e| failed(&member.path, e))
    }

    /// The folder an entry is in, made with its parents where the archive leaves them out.
    fn parent(&mut self, parts: &[&[u8]], entry: &[u8]) -> Result<OwnedFd, OciError> {
        let path = parts.join(&b'/');
        if let Some((last, folder)) = &self.last
            && *last == path
        {
            return folder.try_clone().map_err(io(shown(entry)));
        }
        let folder = match open_below(&self.folder, &path) {
            Err(Errno::ENOENT) => make_below(&self.folder, parts),
            opened => opened,
        };
        let folder = folder.map_err(|e| match e {
            Errno::ELOOP | Errno::EXDEV | Errno::ENOTDIR => {
                OciError::hostile(entry, "its folder is a link or a file of this layer")
            }
            e => failed(entry, e),
        })?;
        self.last = Some((path, folder.try_clone().map_err(io(shown(entry)))?));
        Ok(folder)
    }

    fn set_owner_and_mode_of_root<R: Read>(&self, member: &Member<'_, R>) -> Result<(), OciError> {
        if member.kind != EntryType::Directory {
            return Err(OciError::hostile(&member.path, "the root is not a folder"));
        }
        let owner = (Some(Uid::from_raw(member.uid)), Some(Gid::from_raw(member.gid)));
        nix::unistd::fchown(&self.folder, owner.0, owner.1)
            .and_then(|()| fchmod(&self.folder, mode(member)))
            .map_err(|e| failed(&member.path, e))
    }
}

/// The names on the way to an entry. A leading `/` is as good as none.
fn normalise(path: &[u8]) -> Result<Vec<&[u8]>, OciError> {
    let parts: Vec<&[u8]> = path.split(|b| *b == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    for part in &parts {
        if *part == b".." {
            return Err(OciError::hostile(path, "its path has a .."));
        }
        if part.len() > NAME_MAX {
            return Err(OciError::hostile(path, "a name is over 255 bytes long"));
        }
    }
    Ok(parts)
}

fn open_below(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC).resolve(
        ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV,
    );
    openat2(root, if path.is_empty() { b".".as_slice() } else { path }, how)
}

/// Opens folder by folder and makes what is missing.
fn make_below(root: &OwnedFd, parts: &[&[u8]]) -> Result<OwnedFd, Errno> {
    let mut folder = open_below(root, b".")?;
    for part in parts {
        let next = match open_below(&folder, part) {
            Err(Errno::ENOENT) => {
                mkdirat(&folder, *part, Mode::from_bits_truncate(0o755))?;
                open_below(&folder, part)?
            }
            opened => opened?,
        };
        folder = next;
    }
    Ok(folder)
}

fn add_folder<R: Read>(folder: &OwnedFd, name: &[u8], member: &Member<'_, R>) -> Result<(), OciError> {
    let failed = |e: Errno| failed(&member.path, e);
    match kind_at(folder, name).map_err(failed)? {
        Some(SFlag::S_IFDIR) => {}
        known => {
            make_room(folder, name, &member.path)?;
            mkdirat(folder, name, Mode::from_bits_truncate(0o700)).map_err(failed)?;
            // It was removed and made anew: nothing of the lower layers shows through.
            if known == Some(SFlag::S_IFCHR) {
                make_opaque(&open_below(folder, name).map_err(failed)?).map_err(io(shown(&member.path)))?;
            }
        }
    }
    let made = open_below(folder, name).map_err(failed)?;
    nix::unistd::fchown(&made, Some(Uid::from_raw(member.uid)), Some(Gid::from_raw(member.gid)))
        .and_then(|()| fchmod(&made, mode(member)))
        .map_err(failed)
}

fn add_file<R: Read>(folder: &OwnedFd, name: &[u8], member: &mut Member<'_, R>) -> Result<(), OciError> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let fd =
        openat(folder, name, flags, Mode::from_bits_truncate(0o600)).map_err(|e| failed(&member.path, e))?;
    let mut file = File::from(fd);
    let copied =
        io::copy(&mut (&mut member.content).take(member.size), &mut file).map_err(io(shown(&member.path)))?;
    if copied != member.size {
        return Err(OciError::corrupt(shown(&member.path), "the layer ends in the middle of it"));
    }
    let time = TimeSpec::new(member.mtime, 0);
    // The owner first: changing it clears the set-user-id bits.
    nix::unistd::fchown(&file, Some(Uid::from_raw(member.uid)), Some(Gid::from_raw(member.gid)))
        .and_then(|()| fchmod(&file, mode(member)))
        .and_then(|()| utimensat(folder, name, &time, &time, UtimensatFlags::NoFollowSymlink))
        .map_err(|e| failed(&member.path, e))
}

/// Hides `hidden` of the lower layers; what this layer itself has of that name stays.
fn add_whiteout(folder: &OwnedFd, hidden: &[u8], entry: &[u8]) -> Result<(), OciError> {
    if matches!(hidden, b"" | b"." | b"..") {
        return Err(OciError::hostile(entry, "it removes nothing that has a name"));
    }
    // Old tools' bookkeeping.
    if hidden.starts_with(WHITEOUT) {
        return Ok(());
    }
    match kind_at(folder, hidden).map_err(|e| failed(entry, e))? {
        None => mknodat(folder, hidden, SFlag::S_IFCHR, Mode::empty(), 0).map_err(|e| failed(entry, e)),
        Some(SFlag::S_IFDIR) => {
            let hiding = open_below(folder, hidden).map_err(|e| failed(entry, e))?;
            make_opaque(&hiding).map_err(io(shown(entry)))
        }
        Some(_) => Ok(()),
    }
}

fn make_opaque(folder: &OwnedFd) -> io::Result<()> {
    sys::xattr::set(folder.as_fd(), OPAQUE_ATTRIBUTE, b"y")
}

/// Removes what an earlier entry made under this name. A folder is only removed while it is empty.
fn make_room(folder: &OwnedFd, name: &[u8], entry: &[u8]) -> Result<(), OciError> {
    let flag = match kind_at(folder, name).map_err(|e| failed(entry, e))? {
        None => return Ok(()),
        Some(SFlag::S_IFDIR) => UnlinkatFlags::RemoveDir,
        Some(_) => UnlinkatFlags::NoRemoveDir,
    };
    match unlinkat(folder, name, flag) {
        Err(Errno::ENOTEMPTY) => Err(OciError::hostile(entry, "it replaces a folder that this layer filled")),
        done => done.map_err(|e| failed(entry, e)),
    }
}

fn kind_at(folder: &OwnedFd, name: &[u8]) -> Result<Option<SFlag>, Errno> {
    match fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(FileStat { st_mode, .. }) => Ok(Some(SFlag::from_bits_truncate(st_mode & SFlag::S_IFMT.bits()))),
        Err(Errno::ENOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

fn own<R: Read>(folder: &OwnedFd, name: &[u8], member: &Member<'_, R>) -> Result<(), OciError> {
    let owner = (Some(Uid::from_raw(member.uid)), Some(Gid::from_raw(member.gid)));
    fchownat(folder, name, owner.0, owner.1, AtFlags::AT_SYMLINK_NOFOLLOW)
        .map_err(|e| failed(&member.path, e))
}

fn mode<R: Read>(member: &Member<'_, R>) -> Mode {
    Mode::from_bits_truncate(member.mode)
}

fn failed(entry: &[u8], e: Errno) -> OciError {
    io(shown(entry))(e.into())
}

fn shown(entry: &[u8]) -> String {
    format!("unpack {:?}", String::from_utf8_lossy(&entry[..entry.len().min(200)]))
}
