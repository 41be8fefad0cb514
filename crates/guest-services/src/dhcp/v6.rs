//! DHCPv6 (RFC 8415, 3646): from a client's message to the server's. Clients name themselves by a DUID, which says
//! nothing on a point-to-point link: the interface says who it is.

use std::net::{Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use dhcproto::v6::{
    DhcpOption, DhcpOptions, IAAddr, IANA, IAPD, IATA, Message, MessageType, OptionCode, Status, StatusCode,
};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};
use hickory_proto::rr::Name;
use model::Uid;

use super::Reply;
use super::options::{Wanted, keep_v6};
use crate::directory::{Directory, Nic};

const CLIENT_PORT: u16 = 546;
/// A DUID has at most this many bytes (RFC 8415, section 11.1).
const DUID_MAX: usize = 130;
/// Room for an identity association; what else is in it is looked at there.
const ASSOCIATION: RangeInclusive<usize> = 4..=1500;
/// Options of a request that are read: client, server, the three identity associations, rapid commit.
const READ: [Wanted<u16, usize>; 6] = [
    (1, 1..=DUID_MAX),
    (2, 1..=DUID_MAX),
    (3, ASSOCIATION),
    (4, ASSOCIATION),
    (14, 0..=0),
    (25, ASSOCIATION),
];
/// Identity associations that are answered; a client has one per card.
const ASSOCIATIONS_MAX: usize = 4;

/// Answers a packet from the link-local address `from` that came in by `interface`.
pub fn answer(directory: &Directory, interface: u32, from: Ipv6Addr, packet: &[u8]) -> Option<Reply> {
    let nic = &*directory.ports.get(&interface)?.nic;
    let own = nic.ipv6()?.addr();
    if !from.is_unicast_link_local() {
        return None;
    }
    let packet = keep_v6(packet, &READ)?;
    let request = Message::decode(&mut Decoder::new(&packet)).ok()?;
    let server = server_id(&directory.vpc);
    let kind = decide(&request, &server)?;

    let mut reply = Message::new_with_id(kind, request.xid());
    let opts = reply.opts_mut();
    if let Some(client) = client_id(&request) {
        opts.insert(DhcpOption::ClientId(client.to_vec()));
    }
    opts.insert(DhcpOption::ServerId(server));
    fill(opts, &request, kind, nic, own)?;
    let mut bytes = Vec::with_capacity(256);
    reply.encode(&mut Encoder::new(&mut bytes)).ok()?;
    Some(Reply { bytes, to: SocketAddr::from((from, CLIENT_PORT)), source: None })
}

/// What sort of message answers (RFC 8415, sections 16 and 18.3); `None` is silence.
fn decide(request: &Message, server: &[u8]) -> Option<MessageType> {
    let to_whom = request.opts().get(OptionCode::ServerId);
    let is_to_us = matches!(to_whom, Some(DhcpOption::ServerId(id)) if id == server);
    let has_client = client_id(request).is_some();
    let is_rapid = request.opts().get(OptionCode::RapidCommit).is_some();
    match request.msg_type() {
        MessageType::Solicit if has_client && to_whom.is_none() => {
            Some(if is_rapid { MessageType::Reply } else { MessageType::Advertise })
        }
        MessageType::Confirm | MessageType::Rebind if has_client && to_whom.is_none() => {
            Some(MessageType::Reply)
        }
        MessageType::Request | MessageType::Renew | MessageType::Release | MessageType::Decline
            if has_client && is_to_us =>
        {
            Some(MessageType::Reply)
        }
        MessageType::InformationRequest if to_whom.is_none() || is_to_us => Some(MessageType::Reply),
        _ => None,
    }
}

fn fill(
    opts: &mut DhcpOptions,
    request: &Message,
    kind: MessageType,
    nic: &Nic,
    own: Ipv6Addr,
) -> Option<()> {
    match request.msg_type() {
        MessageType::Confirm => {
            let asked = asked_addresses(request);
            // Without addresses there is nothing to confirm, and the RFC wants silence.
            let is_ours = asked.first().map(|_| asked.iter().all(|a| *a == own))?;
            opts.insert(status(if is_ours { Status::Success } else { Status::NotOnLink }));
        }
        // The address stays the port's, whatever the client says.
        MessageType::Release | MessageType::Decline => opts.insert(status(Status::Success)),
        MessageType::InformationRequest => insert_configuration(opts, nic),
        _ => {
            if kind == MessageType::Reply && request.msg_type() == MessageType::Solicit {
                opts.insert(DhcpOption::RapidCommit);
            }
            insert_associations(opts, request, nic.lease_seconds, own);
            insert_configuration(opts, nic);
        }
    }
    Some(())
}

/// The first association gets the port's address; others, temporary addresses and prefixes there are none.
fn insert_associations(opts: &mut DhcpOptions, request: &Message, lease: u32, own: Ipv6Addr) {
    for (i, option) in associations(request).enumerate() {
        let answer = match option {
            DhcpOption::IANA(ia) if i == 0 => {
                let mut inner = DhcpOptions::new();
                inner.insert(address(own, lease));
                // What the client still holds from elsewhere ends now (RFC 8415, section 18.3.4).
                let is_held = matches!(request.msg_type(), MessageType::Renew | MessageType::Rebind);
                for stale in addresses_in(ia).filter(|a| is_held && *a != own) {
                    inner.insert(address(stale, 0));
                }
                // Renewal at a half, rebinding at four fifths (RFC 8415, section 21.4).
                DhcpOption::IANA(IANA { id: ia.id, t1: lease / 2, t2: lease - lease / 5, opts: inner })
            }
            DhcpOption::IANA(ia) => {
                DhcpOption::IANA(IANA { id: ia.id, t1: 0, t2: 0, opts: only(Status::NoAddrsAvail) })
            }
            DhcpOption::IATA(ia) => DhcpOption::IATA(IATA { id: ia.id, opts: only(Status::NoAddrsAvail) }),
            DhcpOption::IAPD(ia) => {
                DhcpOption::IAPD(IAPD { id: ia.id, t1: 0, t2: 0, opts: only(Status::NoPrefixAvail) })
            }
            _ => continue,
        };
        opts.insert(answer);
    }
}

fn insert_configuration(opts: &mut DhcpOptions, nic: &Nic) {
    let dns: Vec<Ipv6Addr> = nic.dns_v6().collect();
    if !dns.is_empty() {
        opts.insert(DhcpOption::DomainNameServers(dns));
    }
    if let Ok(name) = Name::from_ascii(&nic.domain)
        && !nic.domain.is_empty()
    {
        opts.insert(DhcpOption::DomainSearchList(vec![name]));
    }
}

fn associations(request: &Message) -> impl Iterator<Item = &DhcpOption> {
    // Options are sorted by code, so the addresses (3) come before temporary ones (4) and prefixes (25).
    let is_association =
        |o: &&DhcpOption| matches!(o, DhcpOption::IANA(_) | DhcpOption::IATA(_) | DhcpOption::IAPD(_));
    request.opts().iter().filter(is_association).take(ASSOCIATIONS_MAX)
}

fn asked_addresses(request: &Message) -> Vec<Ipv6Addr> {
    let all = associations(request).filter_map(|option| match option {
        DhcpOption::IANA(ia) => Some(addresses_in(ia)),
        _ => None,
    });
    all.flatten().collect()
}

fn addresses_in(ia: &IANA) -> impl Iterator<Item = Ipv6Addr> {
    const ADDRESSES_MAX: usize = 8;
    let of = |o: &DhcpOption| if let DhcpOption::IAAddr(a) = o { Some(a.addr) } else { None };
    ia.opts.iter().filter_map(of).take(ADDRESSES_MAX)
}

fn client_id(request: &Message) -> Option<&[u8]> {
    match request.opts().get(OptionCode::ClientId) {
        Some(DhcpOption::ClientId(id)) => Some(id),
        _ => None,
    }
}

/// A DUID of type UUID (RFC 6355), made from the VPC's uid: a guest that moves to another host finds there the
/// server it knows.
fn server_id(vpc: &Uid) -> Vec<u8> {
    const UUID: [u8; 2] = [0, 4];
    let digest = ring::digest::digest(&ring::digest::SHA256, vpc.as_str().as_bytes());
    UUID.iter().chain(digest.as_ref().iter().take(16)).copied().collect()
}

fn address(addr: Ipv6Addr, lease: u32) -> DhcpOption {
    DhcpOption::IAAddr(IAAddr { addr, preferred_life: lease, valid_life: lease, opts: DhcpOptions::new() })
}

fn status(status: Status) -> DhcpOption {
    DhcpOption::StatusCode(StatusCode { status, msg: String::new() })
}

fn only(code: Status) -> DhcpOptions {
    DhcpOptions::from_iter([status(code)])
}
