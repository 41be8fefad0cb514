//! What a VPC itself answers to its guests, in place of another guest: addresses, names, metadata, and nothing else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::network::{Port, Vpc};

use crate::Traffic;
use crate::objects::Objects;

/// The metadata service: EC2's addresses, which guests of every cloud look for.
const METADATA: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];
const DHCP: u16 = 67;
const DHCPV6: u16 = 547;
const DNS: u16 = 53;
const HTTP: u16 = 80;

/// Who answers at an address of the network's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Own {
    Metadata,
    Gateway,
}

/// The network's own address, as seen from `port`: a subnet's gateway is there where one of its ports is.
pub(crate) fn own_address(objects: &Objects, vpc: &Vpc, port: &Port, address: IpAddr) -> Option<Own> {
    if METADATA.contains(&address) {
        return Some(Own::Metadata);
    }
    let here = objects.ports_in(vpc).filter(|other| other.status.host == port.status.host);
    let mut gateways = here
        .filter_map(|other| objects.subnet_of(other))
        .flat_map(|subnet| subnet.spec.cidrs().map(model::network::Cidr::gateway));
    gateways.any(|gateway| gateway == address).then_some(Own::Gateway)
}

/// What is asked there, if the network answers it.
pub(crate) fn answers(own: Own, ipv4: bool, traffic: Traffic) -> Option<&'static str> {
    let dhcp = if ipv4 { DHCP } else { DHCPV6 };
    match (own, traffic) {
        (_, Traffic::Udp { to, .. }) if to == dhcp => Some("addresses (DHCP)"),
        (Own::Gateway, Traffic::Udp { to: DNS, .. } | Traffic::Tcp { to: DNS, .. }) => Some("names (DNS)"),
        (Own::Metadata, Traffic::Tcp { to: HTTP, .. }) => Some("metadata (HTTP)"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_answers_little() {
        let udp = |to| Traffic::Udp { from: 1, to };
        let tcp = |to| Traffic::Tcp { from: 1, to };
        assert!(
            answers(Own::Gateway, true, udp(53)).is_some() && answers(Own::Gateway, true, tcp(53)).is_some()
        );
        assert!(answers(Own::Metadata, true, tcp(80)).is_some());
        assert!(
            answers(Own::Gateway, true, udp(67)).is_some()
                && answers(Own::Gateway, false, udp(547)).is_some()
        );
        for (own, traffic) in [
            (Own::Gateway, tcp(22)),
            (Own::Gateway, tcp(80)),
            (Own::Metadata, udp(53)),
            (Own::Gateway, Traffic::Icmp { kind: 8, code: 0 }),
        ] {
            assert_eq!(answers(own, true, traffic), None, "{own:?} {traffic}");
        }
    }
}
