//! Router advertisements (RFC 4861, 8106, 4191): who is the router, that addresses come from DHCPv6, the MTU, the
//! resolvers. No prefix is advertised: a port's address is a /128, and everything else is behind the router.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use super::Reply;
use crate::directory::{Directory, Nic};

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
/// Three times the most seconds between advertisements (RFC 4861, section 6.2.1).
const LIFETIME_SECONDS: u16 = 1800;
const HOP_LIMIT: u8 = 64;
/// Addresses and other settings come from DHCPv6.
const MANAGED_AND_OTHER: u8 = 0xc0;
/// Routes that are told; more do not fit a packet.
const ROUTES_MAX: usize = 32;
const DNS_MAX: usize = 4;

/// Answers a router solicitation that came in by `interface`.
pub fn answer_solicitation(
    directory: &Directory,
    interface: u32,
    from: Ipv6Addr,
    hop_limit: Option<u8>,
    packet: &[u8],
) -> Option<Reply> {
    // Whatever was forwarded is not from this link (RFC 4861, section 6.1.1).
    let is_sound = packet.len() >= 8 && packet[..2] == [ROUTER_SOLICITATION, 0] && hop_limit == Some(255);
    if !is_sound {
        return None;
    }
    let to = if from.is_unicast_link_local() { from } else { ALL_NODES };
    Some(Reply { to: SocketAddr::from((to, 0)), ..advertise(directory, interface)? })
}

/// The advertisement to every node at `interface`; `None` where the port has no IPv6 address.
pub fn advertise(directory: &Directory, interface: u32) -> Option<Reply> {
    let nic = &*directory.ports.get(&interface)?.nic;
    nic.ipv6()?;
    let source = nic.gateway6.filter(Ipv6Addr::is_unicast_link_local).map(IpAddr::V6);
    Some(Reply { bytes: compose(nic), to: SocketAddr::from((ALL_NODES, 0)), source })
}

fn compose(nic: &Nic) -> Vec<u8> {
    let lifetime = if nic.router6().is_some() { LIFETIME_SECONDS } else { 0 };
    // The kernel fills in the checksum.
    let mut bytes = vec![ROUTER_ADVERTISEMENT, 0, 0, 0, HOP_LIMIT, MANAGED_AND_OTHER];
    bytes.extend(lifetime.to_be_bytes());
    bytes.extend([0; 8]);
    if u32::from(nic.mtu) >= 1280 {
        bytes.extend([5, 1, 0, 0]);
        bytes.extend(u32::from(nic.mtu).to_be_bytes());
    }
    push_dns(&mut bytes, nic);
    for (to, prefix) in routes(nic).take(ROUTES_MAX) {
        // Route information (RFC 4191): type, length 3, prefix length, preference, lifetime, prefix.
        bytes.extend([24, 3, prefix, 0]);
        bytes.extend(u32::from(LIFETIME_SECONDS).to_be_bytes());
        bytes.extend(to.octets());
    }
    bytes
}

fn push_dns(bytes: &mut Vec<u8>, nic: &Nic) {
    let servers: Vec<Ipv6Addr> = nic.dns_v6().take(DNS_MAX).collect();
    if servers.is_empty() {
        return;
    }
    let length = u8::try_from(1 + 2 * servers.len()).unwrap_or(u8::MAX);
    bytes.extend([25, length, 0, 0]);
    bytes.extend(u32::from(LIFETIME_SECONDS).to_be_bytes());
    bytes.extend(servers.iter().flat_map(Ipv6Addr::octets));
    push_search_list(bytes, &nic.domain);
}

/// The DNS search list (RFC 8106, section 5.2), padded with zeros to whole units of 8 bytes.
fn push_search_list(bytes: &mut Vec<u8>, domain: &str) {
    let is_name = domain.len() <= 253 && domain.split('.').all(|l| (1..=63).contains(&l.len()));
    if !is_name {
        return;
    }
    let mut name: Vec<u8> = Vec::with_capacity(domain.len() + 2);
    for label in domain.split('.') {
        name.extend(u8::try_from(label.len()));
        name.extend(label.bytes());
    }
    name.push(0);
    name.resize(name.len().next_multiple_of(8), 0);
    let length = u8::try_from(1 + name.len() / 8).unwrap_or(u8::MAX);
    bytes.extend([31, length, 0, 0]);
    bytes.extend(u32::from(LIFETIME_SECONDS).to_be_bytes());
    bytes.extend(name);
}

/// Routes whose next hop is this router; others cannot be told in an advertisement.
fn routes(nic: &Nic) -> impl Iterator<Item = (Ipv6Addr, u8)> {
    nic.routes.iter().filter_map(|route| match (route.to, route.via) {
        (IpNet::V6(to), Some(IpAddr::V6(via))) if Some(via) == nic.gateway6 => {
            Some((to.network(), to.prefix_len()))
        }
        _ => None,
    })
}
