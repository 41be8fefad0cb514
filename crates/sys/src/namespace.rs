//! Namespaces that live without a process: made in a thread of their own and kept by a bind mount.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use nix::sched::{CloneFlags, setns, unshare};

use crate::mount;

/// Held from the look whether a namespace is kept to its being so: two who keep the same would mount one over the other.
static KEEPING: Mutex<()> = Mutex::new(());

/// A sort of namespace that containers of one sandbox share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Namespace {
    Net,
    Ipc,
    Uts,
}

impl Namespace {
    pub const ALL: [Self; 3] = [Self::Net, Self::Ipc, Self::Uts];

    /// Its name under `/proc/PID/ns`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Net => "net",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
        }
    }

    fn flag(self) -> CloneFlags {
        match self {
            Self::Net => CloneFlags::CLONE_NEWNET,
            Self::Ipc => CloneFlags::CLONE_NEWIPC,
            Self::Uts => CloneFlags::CLONE_NEWUTS,
        }
    }
}

/// Makes one namespace of every sort and keeps each at `folder/net`, `folder/ipc`, `folder/uts`. The loopback
/// of the new network is up, the host name is `hostname`. What already is kept there is kept on.
pub fn hold(folder: &Path, hostname: &str) -> io::Result<()> {
    let _keeping = KEEPING.lock().unwrap_or_else(PoisonError::into_inner);
    let missing: Vec<Namespace> =
        Namespace::ALL.into_iter().filter(|namespace| !is_held(&folder.join(namespace.as_str()))).collect();
    if missing.is_empty() {
        return Ok(());
    }
    // A thread, because namespaces are left by ending it; the rest of this process never moves.
    std::thread::scope(|scope| scope.spawn(|| make(&missing, folder, hostname)).join())
        .unwrap_or_else(|_| Err(io::Error::other("the thread that makes namespaces panicked")))
}

/// Makes a network namespace with its loopback up and keeps it at the file `path`; one that is kept there already
/// is kept on. True when it was made.
pub fn hold_network(path: &Path) -> io::Result<bool> {
    let _keeping = KEEPING.lock().unwrap_or_else(PoisonError::into_inner);
    if is_held(path) {
        return Ok(false);
    }
    let make = || {
        unshare(CloneFlags::CLONE_NEWNET)?;
        raise_loopback()?;
        File::options().create(true).append(true).open(path)?;
        mount::bind(Path::new("/proc/thread-self/ns/net"), path)
    };
    std::thread::scope(|scope| scope.spawn(make).join())
        .unwrap_or_else(|_| Err(io::Error::other("the thread that makes namespaces panicked")))?;
    Ok(true)
}

/// Whether a namespace, and not the empty file it is mounted on, is at `path`.
pub fn is_held(path: &Path) -> bool {
    nix::sys::statfs::statfs(path).is_ok_and(|fs| fs.filesystem_type() == nix::sys::statfs::NSFS_MAGIC)
}

thread_local! {
    /// Where a thread is that may roam.
    static PLACE: RefCell<Option<File>> = const { RefCell::new(None) };
}

/// Runs `work` in a thread of its own, which may go from one network namespace to another: within `work`,
/// [`within_network`] takes no thread.
pub fn roaming<T: Send, E: From<io::Error> + Send>(
    work: impl FnOnce() -> Result<T, E> + Send,
) -> Result<T, E> {
    let begin = || {
        PLACE.set(Some(File::open("/proc/thread-self/ns/net")?));
        work()
    };
    std::thread::scope(|scope| scope.spawn(begin).join())
        .unwrap_or_else(|_| Err(io::Error::other("a thread that roams network namespaces panicked").into()))
}

/// Runs `work` in a network namespace, in a thread of its own unless this one may roam; `None` is where the caller is.
/// What it opens stays there.
pub fn within_network<T: Send, E: From<io::Error> + Send>(
    namespace: Option<&File>,
    work: impl FnOnce() -> Result<T, E> + Send,
) -> Result<T, E> {
    if let Some(here) = PLACE.take() {
        return visit(here, namespace, work);
    }
    let enter = || {
        if let Some(namespace) = namespace {
            setns(namespace, CloneFlags::CLONE_NEWNET).map_err(io::Error::from)?;
        }
        work()
    };
    std::thread::scope(|scope| scope.spawn(enter).join())
        .unwrap_or_else(|_| Err(io::Error::other("the thread in a network namespace panicked").into()))
}

/// As [`within_network`], by a thread that is `here` and comes back.
fn visit<T, E: From<io::Error>>(
    here: File,
    namespace: Option<&File>,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let there = namespace.map_or_else(|| here.try_clone(), File::try_clone);
    let entered =
        there.and_then(|there| setns(&there, CloneFlags::CLONE_NEWNET).map(|()| there).map_err(Into::into));
    let there = match entered {
        Ok(there) => there,
        Err(e) => {
            PLACE.set(Some(here));
            return Err(e.into());
        }
    };
    PLACE.set(Some(there));
    let done = work();
    // Whoever stayed would work on another's network: the thread ends before that.
    setns(&here, CloneFlags::CLONE_NEWNET)
        .expect("invariant: a namespace that was left open can be entered again");
    PLACE.set(Some(here));
    done
}

/// Lets go of every namespace under `folder`; each ends when its last process does.
pub fn release(folder: &Path) -> io::Result<()> {
    Namespace::ALL.into_iter().try_for_each(|namespace| mount::detach(&folder.join(namespace.as_str())))
}

fn make(missing: &[Namespace], folder: &Path, hostname: &str) -> io::Result<()> {
    let flags = missing.iter().fold(CloneFlags::empty(), |flags, namespace| flags | namespace.flag());
    unshare(flags)?;
    if missing.contains(&Namespace::Uts) {
        nix::unistd::sethostname(hostname)?;
    }
    if missing.contains(&Namespace::Net) {
        raise_loopback()?;
    }
    for namespace in missing {
        let at = folder.join(namespace.as_str());
        File::options().create(true).append(true).open(&at)?;
        mount::bind(&Path::new("/proc/thread-self/ns").join(namespace.as_str()), &at)?;
    }
    Ok(())
}

/// Sets IFF_UP on `lo` of the calling thread's network namespace.
#[allow(unsafe_code)]
fn raise_loopback() -> io::Result<()> {
    /// IFF_UP is 1.
    const UP: libc::c_short = 1;
    nix::ioctl_write_ptr_bad!(set_flags, libc::SIOCSIFFLAGS, libc::ifreq);
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))?;
    // SAFETY: an all-zero ifreq is valid; it outlives the call, which reads exactly one ifreq.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l'.cast_signed();
        request.ifr_name[1] = b'o'.cast_signed();
        request.ifr_ifru.ifru_flags = UP;
        set_flags(socket.as_raw_fd(), &raw const request)?;
    }
    Ok(())
}
