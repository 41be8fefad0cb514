//! Sending an Ethernet frame as it is (packet(7)).

use std::io;
use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Sends a whole frame by a device of the calling thread's network namespace.
#[allow(unsafe_code)]
pub fn send(device: u32, frame: &[u8]) -> io::Result<()> {
    /// Bytes of an address of this family.
    const LENGTH: libc::socklen_t = 20;
    // Protocol 0: the socket receives nothing.
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
    let device = i32::try_from(device).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let family = u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
    let to = libc::sockaddr_ll {
        sll_family: family,
        sll_protocol: 0,
        sll_ifindex: device,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the kernel reads `frame` and `to`, both of the lengths given, which outlive the call.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const to).cast(),
            LENGTH,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
