//! Names and addresses that follow from others, so that every host comes to the same ones without asking. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use driver::SegmentPlan;
use model::Uid;

/// Of the host's end of every port, on all hosts: a guest that moves finds its gateway where it was.
pub const GATEWAY_MAC: [u8; 6] = [0x02, 0xc0, 0x7e, 0, 0, 1];
/// Of the VPC's end of an uplink; the host's end has [`GATEWAY_MAC`].
pub(crate) const UPLINK_MAC: [u8; 6] = [0x02, 0xc0, 0x7e, 0, 0, 2];
/// Of the two ends of a link between peers: the one's that carries, and the other's.
const PEER_MACS: [[u8; 6]; 2] = [[0x02, 0xc0, 0x7e, 0, 0, 3], [0x02, 0xc0, 0x7e, 0, 0, 4]];
/// The gateway of every IPv6 guest.
pub(crate) const GATEWAY_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// Devices of a VPC's namespace that are no ports.
pub(crate) const OVERLAY: &str = "overlay";
pub(crate) const UPLINK: &str = "uplink";
/// How the host's ends of uplinks begin.
pub(crate) const UPLINK_PREFIX: &str = "cu";

/// A device's name has at most 15 bytes.
const NAME_DIGITS: usize = 13;

/// The device of a port in its VPC's namespace. Different uids share one once in 2^52 pairs; `attempt` leads to
/// another name then.
pub(crate) fn port_device(port: &Uid, attempt: u8) -> String {
    let digest = fnv(&[port.as_str().as_bytes(), &[attempt]].concat());
    format!("p{}", &format!("{digest:032x}")[..NAME_DIGITS])
}

/// The host's end of a VPC's uplink.
pub(crate) fn uplink_device(tag: &str, vpc: &Uid) -> String {
    let digest = fnv(&[tag.as_bytes(), b"/", vpc.as_str().as_bytes()].concat());
    format!("{UPLINK_PREFIX}{}", &format!("{digest:032x}")[..NAME_DIGITS])
}

/// What the host's end of an uplink says it is for.
pub(crate) fn uplink_alias(tag: &str, vpc: &Uid) -> String {
    format!("corten-{tag}/{vpc}")
}

/// The VPC of an alias of [`uplink_alias`].
pub(crate) fn uplink_vpc(tag: &str, alias: &str) -> Option<Uid> {
    alias.strip_prefix("corten-")?.strip_prefix(tag)?.strip_prefix('/').and_then(Uid::parse)
}

/// The bridge that joins a segment's wires to the host's device, and the VLAN on it.
pub(crate) fn segment_bridge(tag: &str, segment: &SegmentPlan) -> String {
    format!("cb{}", segment_digits(tag, segment))
}

pub(crate) fn segment_vlan(tag: &str, segment: &SegmentPlan) -> String {
    format!("cv{}", segment_digits(tag, segment))
}

/// What both say they are for.
pub(crate) fn segment_alias(tag: &str) -> String {
    format!("corten-{tag}:segment")
}

fn segment_digits(tag: &str, segment: &SegmentPlan) -> String {
    let text = format!("{tag}/{}/{}", segment.link, segment.vlan.unwrap_or(0));
    format!("{:032x}", fnv(text.as_bytes()))[..NAME_DIGITS].to_owned()
}

/// The Ethernet address of the VXLAN device of a host with this address. IPv4 is contained whole, so two hosts
/// never share one; of IPv6 it is 44 bits of a digest.
pub(crate) fn tunnel_mac(host: IpAddr) -> [u8; 6] {
    match host {
        IpAddr::V4(host) => {
            let [a, b, c, d] = host.octets();
            [0x02, 0xc1, a, b, c, d]
        }
        IpAddr::V6(host) => {
            let digest = fnv(&host.octets()).to_be_bytes();
            let mut mac = [0; 6];
            mac.copy_from_slice(&digest[..6]);
            // Locally administered, and another first byte than IPv4 has.
            mac[0] = mac[0] & 0xf0 | 0x06;
            mac
        }
    }
}

/// The next hop that stands for a host on the overlay, for routes of both families (RFC 5549): its IPv6 link-local
/// address as RFC 4291 would derive it. An IPv4 hop in 169.254/16 has 16 bits for a host's 32, and would collide.
pub(crate) fn tunnel_hop(host: IpAddr) -> IpAddr {
    tunnel_link_local(tunnel_mac(host))
}

/// The next hop that stands for a device on the other side with this Ethernet address.
pub(crate) fn tunnel_link_local(mac: [u8; 6]) -> IpAddr {
    let mut hop = [0; 16];
    hop[..2].copy_from_slice(&[0xfe, 0x80]);
    hop[8..11].copy_from_slice(&[mac[0] ^ 2, mac[1], mac[2]]);
    hop[11..13].copy_from_slice(&[0xff, 0xfe]);
    hop[13..].copy_from_slice(&mac[3..]);
    IpAddr::V6(Ipv6Addr::from(hop))
}

/// The device in a VPC's namespace that leads to this peer's.
pub(crate) fn peer_device(peer: &Uid) -> String {
    let digest = fnv(&[b"peer/", peer.as_str().as_bytes()].concat());
    format!("v{}", &format!("{digest:032x}")[..NAME_DIGITS])
}

/// The Ethernet address of `own`'s end of its link with `peer`.
pub(crate) fn peer_mac(own: &Uid, peer: &Uid) -> [u8; 6] {
    PEER_MACS[usize::from(own > peer)]
}

/// The number of a route table: above those that a namespace has from the start.
pub(crate) fn route_table(table: &Uid) -> u32 {
    const FIRST: u32 = 1 << 16;
    FIRST + u32::try_from(fnv(table.as_str().as_bytes()) & 0x3fff_ffff).unwrap_or(0)
}

/// The two ends of an uplink: a pair of link-local IPv4 addresses, and of unique local IPv6 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UplinkAddresses {
    pub(crate) slot: u16,
}

impl UplinkAddresses {
    /// Pairs there are: 169.254.1.0 to 169.254.168.255. Above lies 169.254.169.254, below what RFC 3927 reserves.
    pub(crate) const SLOTS: u16 = 168 * 128;

    /// Where the search for a free pair begins.
    pub(crate) fn preferred(vpc: &Uid) -> u16 {
        let digest = fnv(vpc.as_str().as_bytes()) % u128::from(Self::SLOTS);
        u16::try_from(digest).unwrap_or(0)
    }

    /// The pair that an address of a host's end belongs to.
    pub(crate) fn of_host_end(address: IpAddr) -> Option<Self> {
        let IpAddr::V4(address) = address else { return None };
        let [169, 254, high @ 1..=168, low] = address.octets() else { return None };
        Some(Self { slot: (u16::from(high) - 1) * 128 + u16::from(low) / 2 })
    }

    pub(crate) fn host4(self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(0xa9fe_0100 + u32::from(self.slot) * 2))
    }

    pub(crate) fn vpc4(self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(0xa9fe_0100 + u32::from(self.slot) * 2 + 1))
    }

    pub(crate) fn host6(self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::new(0xfdc0, 0x7e00, 0, 0, 0, 0, self.slot, 0x0a))
    }

    pub(crate) fn vpc6(self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::new(0xfdc0, 0x7e00, 0, 0, 0, 0, self.slot, 0x0b))
    }
}

/// FNV-1a of 128 bits: the same on every host and in every version.
pub(crate) fn fnv(bytes: &[u8]) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_a_device() {
        let uid = Uid::parse(&"a".repeat(64)).unwrap();
        for name in [port_device(&uid, 0), port_device(&uid, 1), uplink_device("a-tag", &uid)] {
            assert!(name.len() <= 15, "{name}");
        }
        assert_ne!(port_device(&uid, 0), port_device(&uid, 1));
        assert_eq!(uplink_vpc("x", &uplink_alias("x", &uid)), Some(uid.clone()));
        assert_eq!(uplink_vpc("y", &uplink_alias("x", &uid)), None);
    }

    #[test]
    fn hosts_have_hops_of_their_own() {
        let hop = |host: &str| tunnel_hop(host.parse().unwrap()).to_string();
        assert_eq!(hop("10.0.0.5"), "fe80::c1:aff:fe00:5");
        assert_ne!(hop("10.0.0.5"), hop("10.1.0.5"));
        assert_ne!(hop("fd00::5"), hop("fd00::6"));
        assert!(hop("fd00::5").starts_with("fe80::"));
    }

    #[test]
    fn uplinks_have_pairs_of_their_own() {
        let first = UplinkAddresses { slot: 0 };
        assert_eq!(
            (first.host4().to_string(), first.vpc4().to_string()),
            ("169.254.1.0".into(), "169.254.1.1".into())
        );
        let last = UplinkAddresses { slot: UplinkAddresses::SLOTS - 1 };
        assert_eq!(last.vpc4().to_string(), "169.254.168.255");
        assert_eq!(UplinkAddresses::of_host_end(last.host4()), Some(last));
        assert_eq!(UplinkAddresses::of_host_end("169.254.169.254".parse().unwrap()), None);
    }
}
