//! What is mounted anew in this process's mount namespace, told in proportion to what has changed: polled by way of
//! `/proc/self/mountinfo` (proc(5)), and then listed by numbers (listmount(2), statmount(2), Linux 6.8).

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// The numbers are the same on all architectures.
const STATMOUNT: libc::c_long = 457;
const LISTMOUNT: libc::c_long = 458;
/// All mounts below the root.
const ROOT: u64 = u64::MAX;
/// STATMOUNT_MNT_POINT.
const WITH_PATH: u64 = 0x10;
/// STATX_MNT_ID_UNIQUE.
const WITH_MOUNT: u32 = 0x4000;
/// struct mnt_id_req in its first form.
const REQUEST_BYTES: u32 = 24;
/// Of struct statmount: where the offset of the path stands, and where what it counts from begins.
const PATH_AT: usize = 108;
const TEXT_AT: usize = 512;
/// Room for a path of any length (PATH_MAX).
const ANSWER_BYTES: usize = TEXT_AT + 4096 + 256;
/// Mounts listed by one call.
const AT_ONCE: usize = 512;

/// Follows what is mounted.
#[derive(Debug)]
pub struct Mounts {
    table: File,
    /// The numbers of all mounts that are known, in their order; nothing where the kernel cannot say.
    known: Option<Vec<u64>>,
}

/// What has happened since the last look.
#[derive(Debug, PartialEq, Eq)]
pub enum Mounted {
    Nothing,
    /// Mounts of these numbers are gone, and at these places, without symbolic links, is something new.
    Changed {
        gone: Vec<u64>,
        new: Vec<PathBuf>,
    },
    /// Something, somewhere.
    Something,
}

impl Mounts {
    /// Knows all that is mounted now.
    pub fn open() -> io::Result<Self> {
        Self::of(File::open("/proc/self/mountinfo")?)
    }

    fn of(table: File) -> io::Result<Self> {
        let mounts = Self { table, known: None };
        mounts.has_changed()?;
        Ok(Self { known: list().ok(), ..mounts })
    }

    /// What was mounted and what was taken away since the last call.
    pub fn look(&mut self) -> io::Result<Mounted> {
        if !self.has_changed()? {
            return Ok(Mounted::Nothing);
        }
        let Some(known) = &self.known else { return Ok(Mounted::Something) };
        let found = list()?;
        let gone = known.iter().filter(|mount| found.binary_search(mount).is_err()).copied().collect();
        let added: Vec<u64> =
            found.iter().filter(|mount| known.binary_search(mount).is_err()).copied().collect();
        self.known = Some(found);
        let mut new = Vec::new();
        for mount in added {
            match path_of(mount) {
                Ok(Some(path)) => new.push(path),
                Ok(None) => return Ok(Mounted::Something),
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Mounted::Changed { gone, new })
    }

    fn has_changed(&self) -> io::Result<bool> {
        let mut table = [PollFd::new(self.table.as_fd(), PollFlags::POLLPRI)];
        poll(&mut table, PollTimeout::ZERO)?;
        let told = table[0].revents().unwrap_or(PollFlags::empty());
        Ok(told.intersects(PollFlags::POLLPRI | PollFlags::POLLERR))
    }
}

/// struct mnt_id_req.
#[repr(C)]
struct Request {
    size: u32,
    spare: u32,
    mount: u64,
    parameter: u64,
}

impl Request {
    fn new(mount: u64, parameter: u64) -> Self {
        Self { size: REQUEST_BYTES, spare: 0, mount, parameter }
    }
}

/// The numbers of all mounts, in their order. No number is given twice.
#[allow(unsafe_code)]
fn list() -> io::Result<Vec<u64>> {
    let mut all: Vec<u64> = Vec::new();
    loop {
        let request = Request::new(ROOT, all.last().copied().unwrap_or(0));
        let mut some = [0_u64; AT_ONCE];
        // SAFETY: the request is of the size it says, the kernel writes at most AT_ONCE numbers, and both outlive the call.
        let count =
            unsafe { libc::syscall(LISTMOUNT, &raw const request, some.as_mut_ptr(), AT_ONCE, 0_usize) };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        all.extend_from_slice(&some[..count]);
        if count < AT_ONCE {
            return Ok(all);
        }
    }
}

/// The number of the mount that a path leads to, as [`Mounts`] tells of it (statx(2), Linux 6.8).
#[allow(unsafe_code)]
pub fn mount_at(path: &Path) -> io::Result<u64> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: an all-zero statx is valid; path and answer outlive the call, which writes exactly one statx.
    let (done, found) = unsafe {
        let mut found: libc::statx = std::mem::zeroed();
        let done = libc::statx(libc::AT_FDCWD, path.as_ptr(), 0, WITH_MOUNT, &raw mut found);
        (done, found)
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    if found.stx_mask & WITH_MOUNT == 0 {
        return Err(io::Error::from(io::ErrorKind::Unsupported));
    }
    Ok(found.stx_mnt_id)
}

/// Where something is mounted; nothing where the kernel has written it with escapes.
#[allow(unsafe_code)]
fn path_of(mount: u64) -> io::Result<Option<PathBuf>> {
    let request = Request::new(mount, WITH_PATH);
    let mut answer = vec![0_u64; ANSWER_BYTES / size_of::<u64>()];
    // SAFETY: the request is of the size it says, the kernel writes at most ANSWER_BYTES, and both outlive the call.
    let done =
        unsafe { libc::syscall(STATMOUNT, &raw const request, answer.as_mut_ptr(), ANSWER_BYTES, 0_usize) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    let bytes: Vec<u8> = answer.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let offset = bytes[PATH_AT..PATH_AT + 4].try_into().map_or(u32::MAX, u32::from_ne_bytes);
    let text = usize::try_from(offset).ok().and_then(|offset| bytes.get(TEXT_AT.checked_add(offset)?..));
    let text = text.and_then(|text| text.split(|byte| *byte == 0).next()).unwrap_or_default();
    let is_plain = !text.is_empty() && !text.contains(&b'\\');
    Ok(is_plain.then(|| PathBuf::from(std::ffi::OsStr::from_bytes(text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mounted_is_told_once() {
        // In a namespace of its own, or other tests' mounts would be told as well.
        let thread = std::thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).expect("tests of mounts run as root");
            let none: Option<&str> = None;
            let private = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE;
            nix::mount::mount(none, "/", none, private, none).expect("private");
            let folder = tempfile::tempdir().expect("a folder");
            let place = folder.path().canonicalize().expect("a path").join("place");
            std::fs::create_dir(&place).expect("a place");
            let mut mounts =
                Mounts::of(File::open("/proc/thread-self/mountinfo").expect("the table")).unwrap();
            assert_eq!(mounts.look().expect("look"), Mounted::Nothing);
            let knows = mounts.known.is_some();
            crate::mount::bind(folder.path(), &place).expect("bind");
            let number = mount_at(&place);
            assert_eq!(number.is_ok(), knows);
            let told = |gone: Vec<u64>, new: Vec<PathBuf>| {
                if knows { Mounted::Changed { gone, new } } else { Mounted::Something }
            };
            assert_eq!(mounts.look().expect("look"), told(Vec::new(), vec![place.clone()]));
            assert_eq!(mounts.look().expect("look"), Mounted::Nothing);
            crate::mount::detach(&place).expect("detach");
            assert_eq!(mounts.look().expect("look"), told(number.into_iter().collect(), Vec::new()));
        });
        thread.join().expect("no panic");
    }
}
