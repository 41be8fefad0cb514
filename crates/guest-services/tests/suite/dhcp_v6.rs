//! DHCPv6 and router advertisements.

use std::net::Ipv6Addr;
use std::slice::from_ref;

use dhcproto::v6::{DhcpOption, DhcpOptions, IAAddr, IANA, IAPD, Message, MessageType, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};
use guest_services::dhcp::{advertise, answer_solicitation, answer_v6};
use proptest::prelude::*;

use crate::support::{DB, WEB, directory};

const GUEST: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x42);
const OWN: &str = "fd12:3456::5";

fn association(address: Option<&str>) -> DhcpOption {
    let mut opts = DhcpOptions::new();
    if let Some(address) = address {
        let addr = address.parse().unwrap();
        opts.insert(DhcpOption::IAAddr(IAAddr {
            addr,
            preferred_life: 9,
            valid_life: 9,
            opts: DhcpOptions::new(),
        }));
    }
    DhcpOption::IANA(IANA { id: 5, t1: 0, t2: 0, opts })
}

fn ask(kind: MessageType, options: &[DhcpOption]) -> Option<Message> {
    let mut message = Message::new_with_id(kind, [1, 2, 3]);
    message.opts_mut().insert(DhcpOption::ClientId(vec![0, 1, 2, 3]));
    for option in options {
        message.opts_mut().insert(option.clone());
    }
    let mut bytes = Vec::new();
    message.encode(&mut Encoder::new(&mut bytes)).unwrap();
    let reply = answer_v6(&directory(), WEB, GUEST, &bytes)?;
    assert_eq!(reply.to, std::net::SocketAddr::from((GUEST, 546)));
    Some(Message::decode(&mut Decoder::new(&reply.bytes)).unwrap())
}

fn server() -> DhcpOption {
    ask(MessageType::Solicit, &[]).unwrap().opts().get(OptionCode::ServerId).unwrap().clone()
}

/// The answer as text: its type, and every address with its lifetime or status.
fn check(kind: MessageType, options: &[DhcpOption], expected: &str) {
    let describe = |option: &DhcpOption| match option {
        DhcpOption::IAAddr(a) => Some(format!("{}={}", a.addr, a.valid_life)),
        DhcpOption::StatusCode(s) => Some(format!("{:?}", s.status)),
        _ => None,
    };
    let found = ask(kind, options).map_or("silence".to_owned(), |message| {
        let mut words: Vec<String> = Vec::new();
        for option in message.opts().iter() {
            words.extend(describe(option));
            match option {
                DhcpOption::IANA(ia) => words.extend(ia.opts.iter().filter_map(describe)),
                DhcpOption::IAPD(ia) => words.extend(ia.opts.iter().filter_map(describe)),
                _ => {}
            }
        }
        // The order of options says nothing.
        words.sort();
        words.insert(0, format!("{:?}", message.msg_type()));
        words.join(" ")
    });
    assert_eq!(found, expected, "{kind:?} {options:?}");
}

#[test]
fn every_message_has_its_answer() {
    use MessageType::{
        Confirm, Decline, InformationRequest, Rebind, Release, Renew, Reply, Request, Solicit,
    };
    let other = DhcpOption::ServerId(vec![0, 4, 9]);
    let none = association(None);
    let own = association(Some(OWN));
    let stale = association(Some("fd12:3456::9"));
    let prefix = DhcpOption::IAPD(IAPD { id: 1, t1: 0, t2: 0, opts: DhcpOptions::new() });
    check(Solicit, from_ref(&none), "Advertise fd12:3456::5=3600");
    check(Solicit, &[none.clone(), DhcpOption::RapidCommit], "Reply fd12:3456::5=3600");
    check(Solicit, &[none.clone(), none.clone()], "Advertise NoAddrsAvail fd12:3456::5=3600");
    check(Solicit, &[none.clone(), prefix], "Advertise NoPrefixAvail fd12:3456::5=3600");
    check(Solicit, &[none.clone(), server()], "silence");
    check(Request, &[none.clone(), server()], "Reply fd12:3456::5=3600");
    check(Request, &[none.clone(), other.clone()], "silence");
    check(Request, &[none], "silence");
    check(Renew, &[own.clone(), server()], "Reply fd12:3456::5=3600");
    check(Renew, &[stale.clone(), server()], "Reply fd12:3456::5=3600 fd12:3456::9=0");
    check(Rebind, from_ref(&own), "Reply fd12:3456::5=3600");
    check(Rebind, &[own.clone(), server()], "silence");
    check(Confirm, from_ref(&own), "Reply Success");
    check(Solicit, from_ref(&stale), "Advertise fd12:3456::5=3600");
    check(Request, &[stale.clone(), server()], "Reply fd12:3456::5=3600");
    check(Confirm, &[stale], "Reply NotOnLink");
    check(Confirm, &[], "silence");
    check(Release, &[own.clone(), server()], "Reply Success");
    check(Decline, &[own, server()], "Reply Success");
    check(InformationRequest, &[], "Reply");
    check(InformationRequest, &[other], "silence");
    check(Reply, &[], "silence");
}

#[test]
fn settings_come_along() {
    let message = ask(MessageType::InformationRequest, &[]).unwrap();
    let dns = DhcpOption::DomainNameServers(vec!["fd12:3456::1".parse().unwrap()]);
    assert_eq!(message.opts().get(OptionCode::DomainNameServers), Some(&dns));
    assert!(message.opts().get(OptionCode::DomainSearchList).is_some());
}

#[test]
fn ports_without_an_address_and_strangers_hear_nothing() {
    let solicit = [1, 1, 2, 3, 0, 1, 0, 2, 0, 1];
    assert!(answer_v6(&directory(), WEB, GUEST, &solicit).is_some());
    assert!(answer_v6(&directory(), DB, GUEST, &solicit).is_none());
    assert!(answer_v6(&directory(), 99, GUEST, &solicit).is_none());
    assert!(answer_v6(&directory(), WEB, OWN.parse().unwrap(), &solicit).is_none(), "not from the link");
    assert!(advertise(&directory(), DB).is_none());
}

#[test]
fn a_solicitation_is_answered_to_whom_it_is_from() {
    let solicit = [133, 0, 0, 0, 0, 0, 0, 0];
    let to = |from: &str, hops| {
        answer_solicitation(&directory(), WEB, from.parse().unwrap(), hops, &solicit)
            .map(|reply| reply.to.ip().to_string())
    };
    assert_eq!(to("fe80::42", Some(255)).as_deref(), Some("fe80::42"));
    assert_eq!(to("::", Some(255)).as_deref(), Some("ff02::1"));
    assert_eq!(to("fe80::42", Some(64)), None, "it was forwarded");
    assert_eq!(to("fe80::42", None), None);
}

#[test]
fn an_advertisement_says_router_managed_mtu_and_resolver() {
    let reply = advertise(&directory(), WEB).unwrap();
    assert_eq!(reply.source, Some("fe80::1".parse().unwrap()));
    let bytes = reply.bytes;
    assert_eq!(bytes[..16], [134, 0, 0, 0, 64, 0xc0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes[16..24], [5, 1, 0, 0, 0, 0, 0x05, 0xaa]);
    assert_eq!(bytes[24..32], [25, 3, 0, 0, 0, 0, 0x07, 0x08]);
    assert_eq!(bytes[32..48], "fd12:3456::1".parse::<Ipv6Addr>().unwrap().octets());
    assert_eq!(bytes[48], 31);
    assert_eq!(bytes.len() % 8, 0);
    assert_eq!(bytes.len() - 48, usize::from(bytes[49]) * 8);
}

#[test]
fn the_server_is_the_same_on_every_host() {
    assert_eq!(server(), server());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = answer_v6(&directory(), WEB, GUEST, &bytes);
        let _ = answer_solicitation(&directory(), WEB, GUEST, Some(255), &bytes);
    }

    #[test]
    fn arbitrary_options_never_panic(
        kind in 0u8..16,
        options in proptest::collection::vec((prop_oneof![0u16..40, any::<u16>()], proptest::collection::vec(any::<u8>(), 0..60)), 0..12),
    ) {
        let mut packet = vec![kind, 1, 2, 3, 0, 1, 0, 2, 0, 1];
        for (code, data) in options {
            packet.extend(code.to_be_bytes());
            packet.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            packet.extend(data);
        }
        let _ = answer_v6(&directory(), WEB, GUEST, &packet);
    }
}
