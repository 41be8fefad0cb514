//! A socket that hears of changes in other network namespaces too: of all that its own has a number for, as the kernel
//! gives one to the namespace of every link's other end. It tells where something has changed, and not what.

use std::collections::BTreeSet;
use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, NetlinkAddr, recvmsg};

use super::{NetlinkError, Protocol, Socket, enable};

/// Room for one control message with an int.
const CONTROL_BYTES: usize = 64;

/// Does not keep the other namespaces alive, but its own.
#[derive(Debug)]
pub struct Places {
    socket: Socket,
}

impl Places {
    /// In the network namespace of the calling thread; hears what the kernel tells the groups of this mask.
    pub fn open(protocol: Protocol, groups: u32) -> io::Result<Self> {
        let socket = Socket::subscribed(protocol, groups)?;
        enable(&socket.fd, libc::NETLINK_LISTEN_ALL_NSID)?;
        Ok(Self { socket })
    }

    /// Numbers of the namespaces in which something has changed since the last call, without the socket's own. An error
    /// also when there was more than the socket could keep: then anything may have changed anywhere.
    pub fn changed(&mut self) -> Result<BTreeSet<i32>, NetlinkError> {
        let mut changed = BTreeSet::new();
        let mut control = vec![0; CONTROL_BYTES];
        loop {
            // The messages themselves are not looked at, and may be cut off.
            let mut head = [0; 64];
            let mut parts = [IoSliceMut::new(&mut head)];
            let fd = self.socket.fd.as_raw_fd();
            match recvmsg::<NetlinkAddr>(fd, &mut parts, Some(&mut control), MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(changed),
                Err(e) => return Err(io::Error::from(e).into()),
                Ok(message) => changed.extend(message.cmsgs().map_err(io::Error::from)?.filter_map(number)),
            }
        }
    }
}

fn number(control: ControlMessageOwned) -> Option<i32> {
    let ControlMessageOwned::Unknown(unknown) = control else { return None };
    let (level, kind) = (unknown.cmsg_header.cmsg_level, unknown.cmsg_header.cmsg_type);
    if (level, kind) != (libc::SOL_NETLINK, libc::NETLINK_LISTEN_ALL_NSID) {
        return None;
    }
    unknown.data_bytes.get(..4)?.try_into().ok().map(i32::from_ne_bytes)
}
