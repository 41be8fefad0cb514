//! Unix sockets in folders of any depth, and descriptors sent over them. A socket's address holds 108 bytes;
//! naming the folder by a descriptor keeps every address short.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, socket,
};

/// Listens at `folder/name`; a socket file that is left from before is replaced.
pub fn listen(folder: &Path, name: &str) -> io::Result<UnixListener> {
    match std::fs::remove_file(folder.join(name)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let folder = open(folder)?;
    UnixListener::bind(address(&folder, name))
}

/// Connects to `folder/name`.
pub fn connect(folder: &Path, name: &str) -> io::Result<UnixStream> {
    let folder = open(folder)?;
    UnixStream::connect(address(&folder, name))
}

/// The same without ever standing still: `WouldBlock` while as many wait to be let in as the listener lets wait. The
/// stream does not block either.
pub fn connect_at_once(folder: &Path, name: &str) -> io::Result<UnixStream> {
    let folder = open(folder)?;
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let stream = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    nix::sys::socket::connect(stream.as_raw_fd(), &UnixAddr::new(&address(&folder, name))?)?;
    Ok(stream.into())
}

/// Sends all of `bytes`, and one descriptor along with them.
pub fn send_descriptor(socket: BorrowedFd<'_>, bytes: &[u8], descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let descriptors: [RawFd; 1] = [descriptor.as_raw_fd()];
    let message = [ControlMessage::ScmRights(&descriptors)];
    let sent =
        sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], &message, MsgFlags::MSG_NOSIGNAL, None)?;
    if sent < bytes.len() { Err(io::ErrorKind::WriteZero.into()) } else { Ok(()) }
}

fn open(folder: &Path) -> io::Result<File> {
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    File::options().read(true).custom_flags(flags).open(folder)
}

fn address(folder: &File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))
}
