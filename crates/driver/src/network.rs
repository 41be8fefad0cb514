//! The network contract: what a host's part of one VPC has to be, as a finished plan, and who makes it so.
//!
//! A plan is whole: it names everything of one VPC that concerns one host. Making it true programs only what
//! differs from what the kernel already has, so that repeating it costs little and changes nothing.

use std::net::IpAddr;
use std::path::PathBuf;

use async_trait::async_trait;
use ipnet::IpNet;
use model::Uid;
use serde::{Deserialize, Serialize};

use crate::{DriverError, FlowWatch};

/// Six bytes of a network card's address (IEEE 802).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mac(pub [u8; 6]);

impl std::fmt::Display for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if i == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl std::str::FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not six pairs of hexadecimal digits with ':' between them");
        let parts: Option<Vec<u8>> = text
            .split(':')
            .map(|p| (p.len() == 2).then(|| u8::from_str_radix(p, 16).ok()).flatten())
            .collect();
        parts.and_then(|p| p.try_into().ok()).map(Self).ok_or_else(wrong)
    }
}

/// One host's part of one VPC. Keyed by `uid`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct VpcPlan {
    pub uid: Uid,
    /// `project/name`, for messages only.
    pub label: String,
    /// The VXLAN network identifier (RFC 7348), 24 bits, the same on every host and this VPC's alone.
    pub vni: u32,
    /// Of the links to guests, in bytes.
    pub mtu: u16,
    /// This host's own address between hosts; `None` where the cloud has one host only: then there is no overlay.
    pub underlay: Option<IpAddr>,
    /// Ports on this host.
    pub ports: Vec<PortPlan>,
    /// Ports on other hosts that ports here may talk to.
    pub remotes: Vec<RemotePlan>,
    /// Every group that a port here is in, and every group that a rule of those names as a peer.
    pub groups: Vec<GroupPlan>,
    /// The way out; `None`: there is none.
    pub uplink: Option<UplinkPlan>,
    /// The VPC's own networks. An address in them that no port has is nowhere.
    pub ranges: Vec<IpNet>,
    /// Where packets go whose destination is not in `ranges`, by their source. What no table covers goes nowhere.
    pub tables: Vec<RouteTablePlan>,
    /// Subnets of ports here whose edge lets not everything through.
    pub acls: Vec<AclPlan>,
    /// Other VPCs whose ports this one's may talk to, as far as this host has to do with it.
    pub peers: Vec<PeerPlan>,
    /// Ways to the cloud's own API, which whoever answers guests has at addresses of the VPC's namespace.
    pub endpoints: Vec<EndpointPlan>,
    /// The ports are on this segment, in place of a network of the VPC's own: of the plan only they, their cards'
    /// addresses and `mtu` count then.
    pub segment: Option<SegmentPlan>,
}

/// A route table. The same on every host of the VPC: a packet that comes from another host is decided again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTablePlan {
    pub uid: Uid,
    /// Subnets that follow it. A port whose source is not checked follows the table of its own address instead,
    /// whatever source it sends from.
    pub sources: Vec<IpNet>,
    /// The narrowest destination wins; of equal ones the first.
    pub routes: Vec<RoutePlan>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutePlan {
    pub destination: IpNet,
    pub target: Hop,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hop {
    /// Out of this host; nowhere while the VPC has no uplink here.
    Uplink,
    /// Out of another host, which translates for all: by its address between hosts.
    Host(IpAddr),
    /// To the port of this address, here or on another host; dropped while there is none. The address is of the
    /// destination's family.
    Port(IpAddr),
    /// To the ports of a peer; dropped while it is none.
    Peer(Uid),
    /// Dropped.
    Blackhole,
}

/// Another VPC that this one is peered with. Of the two the one with the smaller uid carries: packets of both
/// directions pass between hosts in its overlay and cross at the host of the other one's port, where a link joins the
/// two. So each connection has one way, which the filters on it see whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerPlan {
    pub uid: Uid,
    /// Its networks, apart from this VPC's own: sources of whatever comes over the link.
    pub ranges: Vec<IpNet>,
    pub reach: Reach,
}

/// How a peer is reached from this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reach {
    /// The peer carries, and this VPC has ports here: all goes over the link.
    Link,
    /// This VPC carries. Addresses of the peer's ports here, which are reached over the link (there is one if there is
    /// any), and of those on other hosts.
    Carried { here: Vec<IpAddr>, remotes: Vec<RemotePlan> },
}

impl PeerPlan {
    /// Whether a link joins the two VPCs on this host.
    pub fn is_linked(&self) -> bool {
        match &self.reach {
            Reach::Link => true,
            Reach::Carried { here, .. } => !here.is_empty(),
        }
    }
}

impl VpcPlan {
    /// Whether this host has anything to do with the VPC.
    pub fn is_empty(&self) -> bool {
        let shares = self.uplink.as_ref().is_some_and(|uplink| !uplink.shared.is_empty());
        self.ports.is_empty() && !shares && !self.peers.iter().any(PeerPlan::is_linked)
    }
}

/// A physical segment that ports are on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentPlan {
    /// The host's device: hardware without addresses, or a bridge of the operator's.
    pub link: String,
    /// The VLAN on it (IEEE 802.1Q), 1 to 4094.
    pub vlan: Option<u16>,
    /// What is on the segment, without a router between.
    pub networks: Vec<IpNet>,
}

/// A port on this host: a point-to-point link into the VPC's namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PortPlan {
    pub uid: Uid,
    pub link: Link,
    pub mac: Mac,
    /// The port's own addresses, the primary of each family first; each is routed to the link as /32 or /128.
    pub addresses: Vec<IpAddr>,
    /// The address that the guest has as its gateway, per family; answered by the host on the link.
    pub gateways: Vec<IpAddr>,
    /// Packets whose source is none of the port's addresses are dropped.
    pub source_check: bool,
    /// The security groups it is in; a port in none receives and sends nothing.
    pub groups: Vec<Uid>,
    /// Most bits per second in either direction.
    pub rate_bits: Option<u64>,
    /// What its rules refuse is kept for a [`FlowWatch`].
    pub logs_flows: bool,
}

/// What the guest's end of a link is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Link {
    /// A tap for a virtual machine that this user opens.
    Tap { user_id: u32 },
    /// A veth pair whose other end is `name` in the network namespace kept at `namespace`, made if it is not
    /// there, with the port's addresses and a default route set.
    Veth { namespace: PathBuf, name: String },
}

/// A port on another host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RemotePlan {
    pub address: IpAddr,
    /// The other host's address between hosts.
    pub host: IpAddr,
}

/// A security group as it acts on this host. Stateful: answers to what was let through pass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupPlan {
    pub uid: Uid,
    /// Addresses of every port in the group, on all hosts; sorted.
    pub members: Vec<IpAddr>,
    pub ingress: Vec<RulePlan>,
    pub egress: Vec<RulePlan>,
}

/// What may cross the edge of one subnet, asked packet by packet where one of its ports is. What stays within the subnet,
/// by its addresses, is not asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclPlan {
    pub subnet: Uid,
    pub networks: Vec<IpNet>,
    /// Its ports on this host.
    pub ports: Vec<Uid>,
    /// In their order: the first that matches decides, and what none matches is dropped.
    pub egress: Vec<AclRulePlan>,
    pub ingress: Vec<AclRulePlan>,
    /// What is refused is kept for a [`FlowWatch`].
    pub logs_flows: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclRulePlan {
    pub allows: bool,
    pub protocol: Protocol,
    pub network: IpNet,
}

/// Addresses that are this host's own in the VPC, on every host; HTTPS is let in there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointPlan {
    pub uid: Uid,
    /// Those of endpoints that routes lead to may be the same.
    pub addresses: Vec<IpAddr>,
    pub access: EndpointAccess,
}

/// Who comes to an endpoint, of those whose own groups let them out to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndpointAccess {
    /// These ports.
    Ports(Vec<Uid>),
    /// Whom one of these groups lets in.
    Groups(Vec<Uid>),
}

/// Lets through what matches. There are no rules that refuse: what no rule lets through is dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulePlan {
    pub protocol: Protocol,
    pub peer: Peer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    Any,
    /// Ports from and to, both included.
    Tcp(u16, u16),
    Udp(u16, u16),
    /// Type and code; `None` is any. Stands for ICMPv6 where the peer is of that family.
    Icmp {
        kind: Option<u8>,
        code: Option<u8>,
    },
    /// Another protocol by its number (IANA).
    Other(u8),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Peer {
    /// One of these networks; a list stands for a prefix list.
    Networks(Vec<IpNet>),
    /// A member of the group.
    Group(Uid),
}

/// How a VPC reaches what is outside of it, on this host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UplinkPlan {
    /// Sources that are translated to the host's own address on the way out.
    pub nat: Vec<IpNet>,
    /// Floating addresses and the port address here that each stands for, one to one.
    pub floating: Vec<(IpAddr, IpAddr)>,
    /// What leaves here for ports on all hosts.
    pub shared: Vec<SharedPlan>,
    /// IPv6 networks whose ports leave as themselves; nobody outside begins to talk to them. What is in none of
    /// these four does not leave.
    pub egress: Vec<IpNet>,
    /// Networks that guests must not reach through the uplink, such as the hosts' own.
    pub closed: Vec<IpNet>,
}

/// Networks whose ports, on whatever host, leave by this one and under one address of the outside. Nobody outside
/// begins to talk to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedPlan {
    pub address: IpAddr,
    /// Of the address's family.
    pub networks: Vec<IpNet>,
}

/// Where a port's link is, for whoever starts the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortLink {
    pub uid: Uid,
    /// The device in the VPC's namespace.
    pub device: String,
    /// Its number there.
    pub index: u32,
    /// Where the VPC's namespace is kept.
    pub namespace: PathBuf,
}

/// Something that is programmed and should not be, or is not and should.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Drift {
    /// What it is about: `link`, `address`, `route`, `lookup`, `neighbour`, `fdb`, `rule`, `set`.
    pub kind: &'static str,
    pub what: String,
    pub missing: bool,
}

/// Bytes and packets that crossed a port's link, as the guest sees them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PortCounters {
    pub received_bytes: u64,
    pub received_packets: u64,
    pub sent_bytes: u64,
    pub sent_packets: u64,
    pub dropped_packets: u64,
    /// What the guest sent in another's name, by MAC, IP or ARP; dropped, though the link counts it as sent.
    pub spoofed_packets: u64,
}

/// Makes VPCs real on this host. Every method is idempotent, starts from facts of the kernel, and is safe to
/// repeat after a crash at any line. What it made goes on without the process.
#[async_trait]
pub trait NetworkDriver: Send + Sync + 'static {
    fn name(&self) -> &'static str;

    /// Finds out what works here; an error says what is missing and how to get it.
    async fn probe(&self) -> Result<(), DriverError>;

    /// Makes the plan true and says where each port's link is. Only what differs is programmed, and what stays
    /// the same drops no packet.
    async fn ensure(&self, plan: &VpcPlan) -> Result<Vec<PortLink>, DriverError>;

    /// What differs from the plan now; changes nothing.
    async fn check(&self, plan: &VpcPlan) -> Result<Vec<Drift>, DriverError>;

    /// Every VPC that has left a trace on this host.
    async fn list(&self) -> Result<Vec<Uid>, DriverError>;

    /// Removes every trace of a VPC. Deleting what does not exist succeeds.
    async fn delete(&self, vpc: &Uid) -> Result<(), DriverError>;

    /// Where the network namespace of a VPC is kept, if it has one here.
    fn namespace(&self, vpc: &Uid) -> Option<PathBuf>;

    /// Begins to look at the flows of a VPC that is here. One at a time.
    async fn watch_flows(&self, vpc: &Uid) -> Result<Box<dyn FlowWatch>, DriverError>;

    /// Counters of every port of a VPC on this host.
    async fn counters(&self, vpc: &Uid) -> Result<Vec<(Uid, PortCounters)>, DriverError>;
}
