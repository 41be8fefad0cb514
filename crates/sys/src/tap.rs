//! Tap devices: making one that stays, and opening one that exists in whatever network namespace it lives, so that
//! an unprivileged program gets the descriptor and no right to open others.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use nix::sched::{CloneFlags, setns};

/// Opens `queues` queues of the tap `device` of the network namespace kept at `namespace` (our own when `None`), each
/// a descriptor; a tap that was made for one only gives one.
pub fn open(device: &str, namespace: Option<&Path>, queues: u8) -> io::Result<Vec<OwnedFd>> {
    let fds = match namespace {
        None => attach_all(device, queues),
        Some(path) => {
            let namespace = File::open(path)?;
            // A thread, because only threads change namespaces; this one ends in it.
            std::thread::scope(|scope| {
                scope
                    .spawn(|| {
                        setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)?;
                        attach_all(device, queues)
                    })
                    .join()
            })
            .unwrap_or_else(|_| Err(io::Error::other("the thread that opens taps panicked")))
        }
    };
    fds.map_err(|e| io::Error::new(e.kind(), format!("tap device {device}: {e}")))
}

/// Opens the kernel's part of virtio-net, which spares a copy of every packet; `None` where the kernel has none.
pub fn open_vhost() -> io::Result<Option<OwnedFd>> {
    match File::options().read(true).write(true).open("/dev/vhost-net") {
        Ok(file) => Ok(Some(file.into())),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::ENXIO)) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Makes the tap `device`, with as many queues as are opened later, in the calling thread's network namespace, or takes the one of that name. It stays when
/// nobody has it open, and `owner` may open it without further rights.
#[allow(unsafe_code)]
pub fn create(device: &str, owner: u32) -> io::Result<()> {
    nix::ioctl_write_int!(set_persistent, b'T', 203);
    nix::ioctl_write_int!(set_owner, b'T', 204);
    let tun = attach_any(named(device)?, libc::IFF_MULTI_QUEUE)?;
    // SAFETY: both requests take a number and touch no memory.
    unsafe {
        set_owner(tun.as_raw_fd(), libc::c_ulong::from(owner))?;
        set_persistent(tun.as_raw_fd(), 1)?;
    }
    Ok(())
}

fn attach_all(device: &str, queues: u8) -> io::Result<Vec<OwnedFd>> {
    let first = match attach(device, libc::IFF_MULTI_QUEUE) {
        // Made for one queue, which shows itself only now.
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => return Ok(vec![attach(device, 0)?]),
        first => first?,
    };
    let others = (1..queues).map(|_| attach(device, libc::IFF_MULTI_QUEUE));
    std::iter::once(Ok(first)).chain(others).collect()
}

#[allow(unsafe_code)]
fn attach(device: &str, flag: libc::c_int) -> io::Result<OwnedFd> {
    let request = named(device)?;
    // Without this check TUNSETIFF would make a device of that name.
    // SAFETY: the name ends in NUL, because the request was zeroed and the name is shorter.
    if unsafe { libc::if_nametoindex(request.ifr_name.as_ptr()) } == 0 {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    }
    let tun = attach_any(request, flag)?;
    nix::fcntl::fcntl(&tun, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
    Ok(tun)
}

/// Opens the tap that is named; the kernel makes it when there is none.
#[allow(unsafe_code)]
fn attach_any(mut request: libc::ifreq, flag: libc::c_int) -> io::Result<OwnedFd> {
    nix::ioctl_write_int!(set_interface, b'T', 202);
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | flag;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).map_err(io::Error::other)?;
    let tun = File::options().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: the request outlives the call, which reads and writes exactly one ifreq.
    unsafe {
        let pointer = (&raw mut request) as libc::c_ulong;
        set_interface(tun.as_raw_fd(), pointer)?;
    }
    Ok(tun.into())
}

fn named(device: &str) -> io::Result<libc::ifreq> {
    let mut request = zeroed();
    let room = request.ifr_name.len() - 1;
    if device.is_empty() || device.len() > room {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a device name has 1 to 15 bytes"));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *to = from.cast_signed();
    }
    Ok(request)
}

#[allow(unsafe_code)]
fn zeroed() -> libc::ifreq {
    // SAFETY: an all-zero ifreq is valid.
    unsafe { std::mem::zeroed() }
}
