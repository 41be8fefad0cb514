//! DHCPv4 (RFC 2131, 2132, 3442, 4039): from a client's message to the server's.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use dhcproto::v4::{DhcpOption, DhcpOptions, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};
use hickory_proto::rr::Name;

use super::Reply;
use super::options::{Wanted, keep_v4};
use crate::directory::{Directory, Nic};

const CLIENT_PORT: u16 = 68;
/// Options of a request that are read: address, type, server, size, client's id, rapid commit.
const READ: [Wanted<u8, u8>; 6] =
    [(50, 4..=4), (53, 1..=1), (54, 4..=4), (57, 2..=2), (61, 2..=255), (80, 0..=0)];
/// BOOTP's length; some clients drop shorter messages.
const LENGTH_MIN: usize = 300;
/// Every client takes an IP packet of this many bytes (RFC 2131, section 2); option 57 may allow more.
const PACKET_MIN: u16 = 576;
const PACKET_MAX: u16 = 1500;
const IP_AND_UDP: u16 = 28;

/// Answers a packet that came in by `interface`, for the port there only: its own MAC, its own address.
pub fn answer(directory: &Directory, interface: u32, packet: &[u8]) -> Option<Reply> {
    let nic = &*directory.ports.get(&interface)?.nic;
    let packet = keep_v4(packet, &READ)?;
    let request = Message::decode(&mut Decoder::new(&packet)).ok()?;
    let own = nic.ipv4()?.addr();
    // Nothing between the client and us relays, so a relay's address can only be a trick.
    let is_direct = request.opcode() == Opcode::BootRequest && request.giaddr().is_unspecified();
    if !is_direct || request.chaddr() != nic.mac {
        return None;
    }
    let server = server_of(nic);
    let kind = decide(&request, own, server)?;
    let reply = compose(nic, &request, kind, server);
    let is_settled = kind == MessageType::Ack && request.ciaddr() == own;
    let to = if is_settled { own } else { Ipv4Addr::BROADCAST };
    let bytes = encode(reply, room(&request))?;
    Some(Reply { bytes, to: SocketAddr::from((to, CLIENT_PORT)), source: Some(IpAddr::V4(server)) })
}

/// The address that we answer as: the gateway's, which is ours on every link.
fn server_of(nic: &Nic) -> Ipv4Addr {
    nic.gateway4.unwrap_or(Ipv4Addr::new(169, 254, 169, 254))
}

/// The table of RFC 2131, section 4.3; `None` is silence.
fn decide(request: &Message, own: Ipv4Addr, server: Ipv4Addr) -> Option<MessageType> {
    let opts = request.opts();
    let requested = match opts.get(OptionCode::RequestedIpAddress) {
        Some(DhcpOption::RequestedIpAddress(address)) => Some(*address),
        _ => None,
    };
    let chosen = match opts.get(OptionCode::ServerIdentifier) {
        Some(DhcpOption::ServerIdentifier(address)) => Some(*address),
        _ => None,
    };
    let ack_if = |ok: bool| if ok { MessageType::Ack } else { MessageType::Nak };
    match opts.msg_type()? {
        MessageType::Discover if opts.contains(OptionCode::RapidCommit) => Some(MessageType::Ack),
        MessageType::Discover => Some(MessageType::Offer),
        // The client chose another server's offer, which on this link is nobody's.
        MessageType::Request if chosen.is_some_and(|s| s != server) => None,
        MessageType::Request => {
            let wanted = requested.or(Some(request.ciaddr()).filter(|a| !a.is_unspecified()))?;
            Some(ack_if(wanted == own))
        }
        MessageType::Inform => (request.ciaddr() == own).then_some(MessageType::Ack),
        // The address stays the port's whatever the client says, so there is nothing to release or to withdraw.
        _ => None,
    }
}

fn compose(nic: &Nic, request: &Message, kind: MessageType, server: Ipv4Addr) -> Message {
    let is_inform = request.opts().has_msg_type(MessageType::Inform);
    let mut reply = Message::new_with_id(
        request.xid(),
        Ipv4Addr::UNSPECIFIED,
        Ipv4Addr::UNSPECIFIED,
        Ipv4Addr::UNSPECIFIED,
        Ipv4Addr::UNSPECIFIED,
        &nic.mac,
    );
    reply.set_opcode(Opcode::BootReply).set_flags(request.flags());
    let opts = reply.opts_mut();
    opts.insert(DhcpOption::MessageType(kind));
    opts.insert(DhcpOption::ServerIdentifier(server));
    // Repeated, and not looked at (RFC 6842): several clients on one card tell their replies apart by it.
    if let Some(id) = request.opts().get(OptionCode::ClientIdentifier) {
        opts.insert(id.clone());
    }
    if kind == MessageType::Nak {
        opts.insert(DhcpOption::Message("that is not this port's address".to_owned()));
        return reply;
    }
    insert_configuration(opts, nic);
    if !is_inform {
        insert_lease(opts, nic.lease_seconds);
        if request.opts().contains(OptionCode::RapidCommit) && kind == MessageType::Ack {
            opts.insert(DhcpOption::RapidCommit);
        }
        reply.set_yiaddr(nic.ipv4().map_or(Ipv4Addr::UNSPECIFIED, |own| own.addr()));
    }
    reply.set_ciaddr(if kind == MessageType::Ack { request.ciaddr() } else { Ipv4Addr::UNSPECIFIED });
    reply
}

fn insert_configuration(opts: &mut DhcpOptions, nic: &Nic) {
    if let Some(own) = nic.ipv4() {
        opts.insert(DhcpOption::SubnetMask(own.netmask()));
    }
    if let Some(gateway) = nic.router4() {
        opts.insert(DhcpOption::Router(vec![gateway]));
    }
    let dns: Vec<Ipv4Addr> = nic.dns_v4().collect();
    if !dns.is_empty() {
        opts.insert(DhcpOption::DomainNameServer(dns));
    }
    if !nic.ntp.is_empty() {
        opts.insert(DhcpOption::NtpServers(nic.ntp.clone()));
    }
    if !nic.netbios.is_empty() {
        opts.insert(DhcpOption::NetBiosNameServers(nic.netbios.clone()));
    }
    if let Some(node) = nic.netbios_node {
        opts.insert(DhcpOption::NetBiosNodeType(node.into()));
    }
    if !nic.hostname.is_empty() {
        opts.insert(DhcpOption::Hostname(nic.hostname.clone()));
    }
    if !nic.domain.is_empty() {
        opts.insert(DhcpOption::DomainName(nic.domain.clone()));
        if let Ok(name) = Name::from_ascii(&nic.domain) {
            opts.insert(DhcpOption::DomainSearch(vec![name]));
        }
    }
    if nic.mtu > 0 {
        opts.insert(DhcpOption::InterfaceMtu(nic.mtu));
    }
    let routes = nic.classless_routes();
    if !routes.is_empty() {
        opts.insert(DhcpOption::ClasslessStaticRoute(routes));
    }
}

/// Renewal at a half, rebinding at seven eighths (RFC 2131, section 4.4.5).
fn insert_lease(opts: &mut DhcpOptions, seconds: u32) {
    opts.insert(DhcpOption::AddressLeaseTime(seconds));
    opts.insert(DhcpOption::Renewal(seconds / 2));
    opts.insert(DhcpOption::Rebinding(seconds - seconds / 8));
}

/// Bytes the client takes.
fn room(request: &Message) -> usize {
    let asked = match request.opts().get(OptionCode::MaxMessageSize) {
        Some(DhcpOption::MaxMessageSize(size)) => *size,
        _ => PACKET_MIN,
    };
    usize::from(asked.clamp(PACKET_MIN, PACKET_MAX) - IP_AND_UDP)
}

/// Options a guest can do without go first when the message is too long for it; its routes never do, since a
/// guest without them is cut off.
fn encode(mut reply: Message, room: usize) -> Option<Vec<u8>> {
    let dispensable = [
        OptionCode::NetBiosNodeType,
        OptionCode::NetBiosNameServers,
        OptionCode::DomainSearch,
        OptionCode::DomainName,
        OptionCode::Hostname,
    ];
    let mut dispensable = dispensable.into_iter();
    loop {
        let mut bytes = Vec::with_capacity(LENGTH_MIN);
        reply.encode(&mut Encoder::new(&mut bytes)).ok()?;
        if bytes.len() > room
            && let Some(code) = dispensable.next()
        {
            reply.opts_mut().remove(code);
            continue;
        }
        bytes.resize(bytes.len().max(LENGTH_MIN), 0);
        return Some(bytes);
    }
}
