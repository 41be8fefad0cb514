//! The addresses of this machine.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;

/// Every address of this machine's own network namespace, loopback's included.
pub fn own() -> io::Result<Vec<IpAddr>> {
    let mut own = BTreeSet::new();
    for interface in getifaddrs()? {
        let Some(address) = interface.address else { continue };
        own.extend(address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip())));
        own.extend(address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())));
    }
    Ok(own.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_loopback() {
        assert!(own().expect("read").contains(&IpAddr::from([127, 0, 0, 1])));
    }
}
