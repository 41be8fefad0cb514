//! What a VPC's guests are told, as an immutable snapshot. Owns no rule of how it is told.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use model::Uid;

use crate::metadata::Instance;
use crate::zone::Zone;

/// One VPC as one host's guests see it. Built whole, then shared and never changed.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    /// The VPC's; the same on every host, and so is the DHCPv6 server's identity made from it.
    pub vpc: Uid,
    /// Ports on this host, by the index of the interface they have in the VPC's namespace.
    pub ports: HashMap<u32, Port>,
    /// Names that are answered here, whole zones each: what a zone does not have does not exist.
    pub zones: Vec<Zone>,
    /// The VPC's own networks. Their reverse names are answered here and never forwarded.
    pub networks: Vec<IpNet>,
    /// Names of addresses, for reverse lookups (without the dot at the end).
    pub reverse: HashMap<IpAddr, String>,
    /// Resolvers for every other name, asked from the host's own namespace. Empty: other names are refused.
    pub upstreams: Vec<SocketAddr>,
    /// Ways to the cloud's own API.
    pub doors: Vec<Arc<Door>>,
}

/// A Vpc endpoint as the guests here come to it.
#[derive(Debug, Clone)]
pub struct Door {
    pub endpoint: EndpointId,
    pub addresses: Vec<IpAddr>,
    /// The ports that have a way to it, and what the server calls them.
    pub clients: Arc<HashMap<u32, String>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointId {
    pub project: String,
    pub name: String,
    pub uid: Uid,
}

/// A port on this host.
#[derive(Debug, Clone)]
pub struct Port {
    pub uid: Uid,
    pub nic: Arc<Nic>,
    /// Whose port it is; `None`: there is no metadata for it.
    pub instance: Option<Arc<Instance>>,
}

/// A guest's network card as DHCP and the metadata service describe it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nic {
    pub mac: [u8; 6],
    /// Without domain.
    pub hostname: String,
    /// The domain it is in, also searched for names; empty: none.
    pub domain: String,
    /// Addresses with the length of the prefix the guest takes for its own link, the primary of each family
    /// first. A /32 or /128 gets an onlink route to its gateway.
    pub addresses: Vec<IpNet>,
    pub gateway4: Option<Ipv4Addr>,
    pub gateway6: Option<Ipv6Addr>,
    /// Another card of the guest's has the default route: this one's gateways are for what is asked of them.
    pub is_secondary: bool,
    pub mtu: u16,
    pub dns: Vec<IpAddr>,
    /// Servers that tell the time.
    pub ntp: Vec<Ipv4Addr>,
    /// Name servers of NetBIOS, and which kind of node the guest is to be (RFC 2132, section 8).
    pub netbios: Vec<Ipv4Addr>,
    pub netbios_node: Option<u8>,
    /// Beyond the default route, which follows from the gateway.
    pub routes: Vec<Route>,
    pub lease_seconds: u32,
}

/// A route that the guest is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    pub to: IpNet,
    /// `None`: on the link itself.
    pub via: Option<IpAddr>,
}

impl Directory {
    /// Where a connection of a port to one of our addresses leads.
    pub(crate) fn door(&self, port: u32, to: IpAddr) -> Option<&Arc<Door>> {
        self.doors.iter().find(|door| door.addresses.contains(&to) && door.clients.contains_key(&port))
    }

    /// The zone with the longest name that `name` (lower case, no dot at the end) is in.
    pub(crate) fn zone_of(&self, name: &str) -> Option<&Zone> {
        self.zones.iter().filter(|zone| zone.holds(name)).max_by_key(|zone| zone.name().len())
    }
}

impl Nic {
    /// The primary IPv4 address.
    pub fn ipv4(&self) -> Option<Ipv4Net> {
        self.addresses_v4().next()
    }

    /// The primary IPv6 address.
    pub fn ipv6(&self) -> Option<Ipv6Net> {
        self.addresses_v6().next()
    }

    pub fn addresses_v4(&self) -> impl Iterator<Item = Ipv4Net> {
        self.addresses.iter().filter_map(|net| if let IpNet::V4(net) = net { Some(*net) } else { None })
    }

    pub fn addresses_v6(&self) -> impl Iterator<Item = Ipv6Net> {
        self.addresses.iter().filter_map(|net| if let IpNet::V6(net) = net { Some(*net) } else { None })
    }

    pub fn dns_v4(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.dns.iter().filter_map(|ip| if let IpAddr::V4(ip) = ip { Some(*ip) } else { None })
    }

    pub fn dns_v6(&self) -> impl Iterator<Item = Ipv6Addr> {
        self.dns.iter().filter_map(|ip| if let IpAddr::V6(ip) = ip { Some(*ip) } else { None })
    }

    /// With its domain, when it has one.
    pub fn fqdn(&self) -> String {
        if self.domain.is_empty() {
            self.hostname.clone()
        } else {
            format!("{}.{}", self.hostname, self.domain)
        }
    }

    /// As in `02:00:5e:00:53:01`.
    pub fn mac_text(&self) -> String {
        self.mac.map(|byte| format!("{byte:02x}")).join(":")
    }

    /// Where the guest sends what no other route is for.
    pub fn router4(&self) -> Option<Ipv4Addr> {
        self.gateway4.filter(|_| !self.is_secondary)
    }

    pub fn router6(&self) -> Option<Ipv6Addr> {
        self.gateway6.filter(|_| !self.is_secondary)
    }

    /// Every IPv4 route a guest needs, when the mask and the router alone do not tell it all: then the default
    /// route stands among them, since clients that take option 121 ignore the router (RFC 3442).
    pub(crate) fn classless_routes(&self) -> Vec<(Ipv4Net, Ipv4Addr)> {
        let is_far = |gateway: &Ipv4Addr| self.ipv4().is_some_and(|own| !own.contains(gateway));
        let far = self.gateway4.filter(is_far);
        let extra: Vec<_> = self.routes.iter().filter_map(Route::v4).collect();
        if far.is_none() && extra.is_empty() {
            return Vec::new();
        }
        let onlink = far.map(|gateway| (Ipv4Net::from(gateway), Ipv4Addr::UNSPECIFIED));
        let default = self.router4().map(|gateway| (Ipv4Net::default(), gateway));
        onlink.into_iter().chain(extra).chain(default).collect()
    }
}

impl Route {
    fn v4(&self) -> Option<(Ipv4Net, Ipv4Addr)> {
        match (self.to, self.via) {
            (IpNet::V4(to), None) => Some((to.trunc(), Ipv4Addr::UNSPECIFIED)),
            (IpNet::V4(to), Some(IpAddr::V4(via))) => Some((to.trunc(), via)),
            _ => None,
        }
    }
}
