//! DHCPv4: the table of RFC 2131, whose packet is answered, and what is in the reply.

use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};
use guest_services::dhcp::answer_v4;
use proptest::prelude::*;

use crate::support::{DB, DB_MAC, WEB, WEB_MAC, directory};

fn request(mac: [u8; 6], ciaddr: &str, options: &[DhcpOption]) -> Message {
    let none = "0.0.0.0".parse().unwrap();
    let mut message = Message::new_with_id(0xc0ff_ee00, ciaddr.parse().unwrap(), none, none, none, &mac);
    for option in options {
        message.opts_mut().insert(option.clone());
    }
    message
}

fn bytes(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut Encoder::new(&mut bytes)).unwrap();
    bytes
}

fn decoded(bytes: &[u8]) -> Message {
    Message::decode(&mut Decoder::new(bytes)).unwrap()
}

fn kind(kind: MessageType) -> DhcpOption {
    DhcpOption::MessageType(kind)
}

fn wants(address: &str) -> DhcpOption {
    DhcpOption::RequestedIpAddress(address.parse().unwrap())
}

fn chose(server: &str) -> DhcpOption {
    DhcpOption::ServerIdentifier(server.parse().unwrap())
}

/// What `web` is answered: type, address given, where the reply goes.
fn check(ciaddr: &str, options: &[DhcpOption], expected: &str) {
    let found = match answer_v4(&directory(), WEB, &bytes(&request(WEB_MAC, ciaddr, options))) {
        None => "silence".to_owned(),
        Some(reply) => {
            let message = decoded(&reply.bytes);
            format!("{:?} {} to {}", message.opts().msg_type().unwrap(), message.yiaddr(), reply.to)
        }
    };
    assert_eq!(found, expected, "{options:?}");
}

#[test]
fn every_message_has_its_answer() {
    use MessageType::{Decline, Discover, Inform, Release, Request};
    let broadcast = "to 255.255.255.255:68";
    let ack = format!("Ack 10.0.0.5 {broadcast}");
    let nak = format!("Nak 0.0.0.0 {broadcast}");
    check("0.0.0.0", &[kind(Discover)], &format!("Offer 10.0.0.5 {broadcast}"));
    check("0.0.0.0", &[kind(Discover), wants("10.0.0.99")], &format!("Offer 10.0.0.5 {broadcast}"));
    check("0.0.0.0", &[kind(Discover), DhcpOption::RapidCommit], &ack);
    // Selecting.
    check("0.0.0.0", &[kind(Request), chose("10.0.0.1"), wants("10.0.0.5")], &ack);
    check("0.0.0.0", &[kind(Request), chose("10.0.0.1"), wants("10.0.0.6")], &nak);
    check("0.0.0.0", &[kind(Request), chose("10.0.0.9"), wants("10.0.0.5")], "silence");
    // After a reboot.
    check("0.0.0.0", &[kind(Request), wants("10.0.0.5")], &ack);
    check("0.0.0.0", &[kind(Request), wants("192.168.1.5")], &nak);
    // Renewing and rebinding.
    check("10.0.0.5", &[kind(Request)], "Ack 10.0.0.5 to 10.0.0.5:68");
    check("10.0.0.6", &[kind(Request)], &nak);
    check("0.0.0.0", &[kind(Request)], "silence");
    check("10.0.0.5", &[kind(Inform)], "Ack 0.0.0.0 to 10.0.0.5:68");
    check("10.0.0.6", &[kind(Inform)], "silence");
    check("10.0.0.5", &[kind(Release), chose("10.0.0.1")], "silence");
    check("0.0.0.0", &[kind(Decline), wants("10.0.0.5")], "silence");
    check("0.0.0.0", &[kind(MessageType::Offer)], "silence");
    check("0.0.0.0", &[], "silence");
}

#[test]
fn only_the_ports_own_card_on_the_ports_own_interface_is_answered() {
    let discover = |mac| request(mac, "0.0.0.0", &[kind(MessageType::Discover)]);
    let directory = directory();
    let is_answered =
        |interface, message: &Message| answer_v4(&directory, interface, &bytes(message)).is_some();
    assert!(is_answered(WEB, &discover(WEB_MAC)));
    assert!(is_answered(DB, &discover(DB_MAC)));
    assert!(!is_answered(WEB, &discover(DB_MAC)), "a neighbour's MAC");
    assert!(!is_answered(99, &discover(WEB_MAC)), "no port's interface");
    let mut relayed = discover(WEB_MAC);
    relayed.set_giaddr([10, 0, 0, 77]);
    assert!(!is_answered(WEB, &relayed));
    let mut reply = discover(WEB_MAC);
    reply.set_opcode(Opcode::BootReply);
    assert!(!is_answered(WEB, &reply));
    let mut cookie = bytes(&discover(WEB_MAC));
    cookie[236] = 0;
    assert!(answer_v4(&directory, WEB, &cookie).is_none());
    let mut long = bytes(&discover(WEB_MAC));
    long[2] = 200;
    assert!(answer_v4(&directory, WEB, &long).is_none(), "a hardware address that is too long");
}

#[test]
fn a_lease_has_all_a_guest_needs() {
    let discover = bytes(&request(WEB_MAC, "0.0.0.0", &[kind(MessageType::Discover)]));
    let reply = answer_v4(&directory(), WEB, &discover).unwrap();
    assert!(reply.bytes.len() >= 300, "BOOTP's length");
    assert_eq!(reply.source, Some("10.0.0.1".parse().unwrap()));
    let message = decoded(&reply.bytes);
    assert_eq!(message.xid(), 0xc0ff_ee00);
    assert_eq!(message.opcode(), Opcode::BootReply);
    let gateway = "10.0.0.1".parse().unwrap();
    for expected in [
        DhcpOption::SubnetMask("255.255.255.0".parse().unwrap()),
        DhcpOption::Router(vec![gateway]),
        DhcpOption::DomainNameServer(vec![gateway]),
        DhcpOption::Hostname("web".into()),
        DhcpOption::DomainName("demo.internal".into()),
        DhcpOption::InterfaceMtu(1450),
        DhcpOption::ServerIdentifier(gateway),
        DhcpOption::AddressLeaseTime(3600),
        DhcpOption::Renewal(1800),
        DhcpOption::Rebinding(3150),
    ] {
        assert_eq!(message.opts().get(OptionCode::from(&expected)), Some(&expected));
    }
    assert!(
        !message.opts().contains(OptionCode::ClasslessStaticRoute),
        "the mask and the router tell it all"
    );
}

#[test]
fn a_guest_with_a_single_address_as_its_network_is_told_every_route() {
    let discover = bytes(&request(DB_MAC, "0.0.0.0", &[kind(MessageType::Discover)]));
    let message = decoded(&answer_v4(&directory(), DB, &discover).unwrap().bytes);
    let route = |to: &str, via: &str| (to.parse().unwrap(), via.parse().unwrap());
    let routes = vec![
        route("10.0.1.1/32", "0.0.0.0"),
        route("192.168.0.0/16", "10.0.1.9"),
        route("0.0.0.0/0", "10.0.1.1"),
    ];
    let found = message.opts().get(OptionCode::ClasslessStaticRoute);
    assert_eq!(found, Some(&DhcpOption::ClasslessStaticRoute(routes)));
}

#[test]
fn inform_gives_settings_and_no_lease() {
    let inform = bytes(&request(WEB_MAC, "10.0.0.5", &[kind(MessageType::Inform)]));
    let message = decoded(&answer_v4(&directory(), WEB, &inform).unwrap().bytes);
    assert!(message.opts().contains(OptionCode::DomainNameServer));
    assert!(!message.opts().contains(OptionCode::AddressLeaseTime));
}

#[test]
fn an_option_of_a_wrong_length_is_none() {
    let discover = bytes(&request(WEB_MAC, "0.0.0.0", &[kind(MessageType::Discover)]));
    let directory = directory();
    let answer = |code: u8, length: u8| {
        let mut packet = discover[..243].to_vec();
        packet.extend([code, length]);
        packet.extend(vec![1; length.into()]);
        answer_v4(&directory, WEB, &packet).map(|reply| decoded(&reply.bytes).opts().msg_type())
    };
    for code in 1..255 {
        for length in [0, 1, 2, 3, 4, 5, 8, 255] {
            let is_rapid = code == 80 && length == 0;
            let expected = if is_rapid { MessageType::Ack } else { MessageType::Offer };
            assert_eq!(answer(code, length), Some(Some(expected)), "option {code} of {length} bytes");
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = answer_v4(&directory(), WEB, &bytes);
    }

    #[test]
    fn arbitrary_options_never_panic_and_never_give_another_address(
        options in proptest::collection::vec(any::<u8>(), 0..300),
        spot in 0usize..240,
        value in any::<u8>(),
    ) {
        let mut packet = bytes(&request(WEB_MAC, "0.0.0.0", &[kind(MessageType::Discover)]));
        packet.truncate(243);
        packet.extend(options);
        packet[spot] = value;
        if let Some(reply) = answer_v4(&directory(), WEB, &packet) {
            let given = decoded(&reply.bytes).yiaddr();
            prop_assert!(given.is_unspecified() || given == "10.0.0.5".parse::<std::net::Ipv4Addr>().unwrap());
        }
    }
}

#[test]
fn options_of_the_vpc_are_told() {
    let mut directory = directory();
    let port = directory.ports.get_mut(&WEB).unwrap();
    let mut nic = (*port.nic).clone();
    nic.ntp = vec!["10.0.0.3".parse().unwrap()];
    nic.netbios = vec!["10.0.0.4".parse().unwrap()];
    nic.netbios_node = Some(2);
    port.nic = std::sync::Arc::new(nic);
    let discover = bytes(&request(WEB_MAC, "0.0.0.0", &[kind(MessageType::Discover)]));
    let offer = decoded(&answer_v4(&directory, WEB, &discover).unwrap().bytes);
    let ntp = DhcpOption::NtpServers(vec!["10.0.0.3".parse().unwrap()]);
    assert_eq!(offer.opts().get(OptionCode::NtpServers), Some(&ntp));
    let netbios = DhcpOption::NetBiosNameServers(vec!["10.0.0.4".parse().unwrap()]);
    assert_eq!(offer.opts().get(OptionCode::NetBiosNameServers), Some(&netbios));
    assert_eq!(offer.opts().get(OptionCode::NetBiosNodeType), Some(&DhcpOption::NetBiosNodeType(2.into())));
}

#[test]
fn a_second_card_has_no_default_route() {
    let mut directory = directory();
    let port = directory.ports.get_mut(&WEB).unwrap();
    let mut nic = (*port.nic).clone();
    nic.is_secondary = true;
    port.nic = std::sync::Arc::new(nic);
    let discover = bytes(&request(WEB_MAC, "0.0.0.0", &[kind(MessageType::Discover)]));
    let offer = decoded(&answer_v4(&directory, WEB, &discover).unwrap().bytes);
    assert_eq!(offer.yiaddr().to_string(), "10.0.0.5");
    assert!(
        !offer.opts().contains(OptionCode::Router)
            && !offer.opts().contains(OptionCode::ClasslessStaticRoute)
    );
}
