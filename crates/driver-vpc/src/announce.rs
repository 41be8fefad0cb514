//! Telling a network that an address is here now: what others have kept of where it was would lead them astray for as
//! long as they keep it. A gratuitous ARP (RFC 5227) or an unsolicited neighbour advertisement (RFC 4861, 7.2.6).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::VpcError;
use crate::rtnl::{Link, Neighbour};

const ETHER_ARP: [u8; 2] = [0x08, 0x06];
const ETHER_IPV6: [u8; 2] = [0x86, 0xdd];
const ICMPV6: u8 = 58;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

/// Says of proxies that have just been made where their addresses are. In the namespace of the calling thread.
pub(crate) fn announce(proxies: &[&Neighbour], links: &[Link]) -> Result<(), VpcError> {
    for proxy in proxies {
        let device = links.iter().find(|link| link.index == proxy.device && link.mac != [0; 6]);
        let Some(device) = device.filter(|link| link.up) else { continue };
        let frame = frame(device.mac, proxy.address);
        let what = || format!("announce {} by {}", proxy.address, device.name);
        sys::frame::send(device.index, &frame).map_err(|e| VpcError::system(what())(e))?;
    }
    Ok(())
}

fn frame(mac: [u8; 6], address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => arp(mac, address),
        IpAddr::V6(address) => advertisement(mac, address),
    }
}

/// Ethernet and IPv4, a request for the address by the one who has it.
fn arp(mac: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    const REQUEST: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 1];
    let address = address.octets();
    [&[0xff; 6][..], &mac, &ETHER_ARP, &REQUEST, &mac, &address, &[0; 6], &address].concat()
}

fn advertisement(mac: [u8; 6], address: Ipv6Addr) -> Vec<u8> {
    /// Takes the place of what is known.
    const OVERRIDE: u8 = 0x20;
    /// The option with our own address, of one unit of eight bytes.
    const TARGET_LINK: [u8; 2] = [2, 1];
    let (source, destination) = (address.octets(), ALL_NODES.octets());
    let mut message = [&[136, 0, 0, 0, OVERRIDE, 0, 0, 0][..], &source, &TARGET_LINK, &mac].concat();
    let length = u8::try_from(message.len()).unwrap_or(0);
    let pseudo = [&source[..], &destination, &[0, 0, 0, length, 0, 0, 0, ICMPV6], &message].concat();
    message[2..4].copy_from_slice(&checksum(&pseudo).to_be_bytes());
    let head = [0x60, 0, 0, 0, 0, length, ICMPV6, 255];
    [&ALL_NODES_MAC[..], &mac, &ETHER_IPV6, &head, &source, &destination, &message].concat()
}

/// RFC 1071, of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|two| u32::from(u16::from_be_bytes([two[0], two[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_as_the_standards_have_them() {
        let mac = [2, 0, 0, 0, 0, 1];
        let arp = frame(mac, "192.0.2.7".parse().unwrap());
        assert_eq!(arp.len(), 42);
        assert_eq!(arp[28..32], arp[38..42], "asks for its own address");
        let advertisement = frame(mac, "2001:db8::7".parse().unwrap());
        assert_eq!(advertisement.len(), 14 + 40 + 32);
        let (head, message) = advertisement[14..].split_at(40);
        let pseudo = [&head[8..], &[0, 0, 0, 32, 0, 0, 0, ICMPV6], message].concat();
        assert_eq!(checksum(&pseudo), 0, "with its checksum the sum is zero");
    }
}
