//! This host's address between hosts: what the tunnels of tenant networks go to.

use std::io;
use std::net::{IpAddr, ToSocketAddrs, UdpSocket};

use crate::failure::Failure;

/// Somewhere outside (TEST-NET-1, RFC 5737): the way there begins at the machine's main address.
const OUTSIDE: &str = "192.0.2.1:9";

/// Of the machine that serves the cloud: as asked for, or the address that it listens on. A cloud that listens on
/// loopback has hosts on this machine only, and no tunnels.
pub(crate) fn of_server(asked: Option<IpAddr>, listen: IpAddr) -> Result<Option<IpAddr>, Failure> {
    match asked {
        Some(address) => own(address).map(Some),
        // A machine without a way out has nobody to talk to.
        None if listen.is_unspecified() => Ok(towards(OUTSIDE).ok().filter(spans_hosts)),
        None => Ok(Some(listen).filter(spans_hosts)),
    }
}

/// Of a machine that joined: as asked for, or the address from which it calls the cloud.
pub(crate) fn of_joined(asked: Option<IpAddr>, calls_from: IpAddr) -> Result<Option<IpAddr>, Failure> {
    of_server(asked, calls_from)
}

/// The address from which this machine calls `authority`, an `address:port`. No packet is sent.
pub(crate) fn towards(authority: &str) -> io::Result<IpAddr> {
    let socket = UdpSocket::bind(if authority.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" })?;
    socket.connect(authority)?;
    socket.local_addr().map(|address| address.ip())
}

/// The addresses of an `address:port` or `name:port`.
pub(crate) fn addresses_of(authority: &str) -> Result<Vec<IpAddr>, Failure> {
    let all = authority.to_socket_addrs();
    let all = all.map_err(|e| Failure::failed(format!("{authority}: its addresses are not known: {e}")))?;
    Ok(all.map(|address| address.ip()).collect())
}

fn spans_hosts(address: &IpAddr) -> bool {
    !address.is_loopback() && !address.is_unspecified()
}

fn own(address: IpAddr) -> Result<IpAddr, Failure> {
    let all = sys::addresses::own()
        .map_err(|e| Failure::failed(format!("this machine's addresses cannot be read: {e}")))?;
    let usable: Vec<IpAddr> = all.into_iter().filter(spans_hosts).collect();
    if usable.contains(&address) {
        return Ok(address);
    }
    let names: Vec<String> = usable.iter().map(ToString::to_string).collect();
    Err(Failure::usage(format!("--underlay: {address} is not an address of this machine that others reach"))
        .hint(format!("this machine has {}", names.join(", "))))
}
