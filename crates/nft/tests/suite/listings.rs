//! What we make is what `nft` shows.

use std::net::{IpAddr, SocketAddr};

use nft::{
    Base, Batch, Chain, ChainKind, Connection, Element, Family, Field, Hook, KeyType, Policy, Rule, Set,
    Value, Verdict, intervals, key, states,
};

use crate::support::{in_own_network, listing};

const TABLE: &str = "t";

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn base(kind: ChainKind, hook: Hook, priority: i32, policy: Policy) -> Base {
    Base { kind, hook, priority, policy }
}

/// One rule in a forward chain, and the line that `nft` has for it.
fn check(rule: Rule, expected: &str) {
    let expected = expected.to_owned();
    in_own_network(move |mut connection: Connection| {
        let mut batch = Batch::new();
        batch.add_table(Family::Inet, TABLE);
        for set in [
            Set::new("pairs", &[KeyType::InterfaceIndex, KeyType::Ipv4Address]),
            Set::new("six", &[KeyType::Ipv6Address]),
            Set::verdict_map("ways", &[KeyType::InterfaceIndex]),
        ] {
            batch.add_set(Family::Inet, TABLE, &set);
        }
        let plain = Chain { name: "plain".into(), base: None };
        let forward = base(ChainKind::Filter, Hook::Forward, 0, Policy::Drop);
        batch.add_chain(Family::Inet, TABLE, &plain);
        batch.add_chain(Family::Inet, TABLE, &Chain { name: "forward".into(), base: Some(forward) });
        batch.append_rule(Family::Inet, TABLE, "forward", &rule);
        connection.commit(&batch).expect("commit");
        let lines = listing();
        let place = lines.iter().position(|line| line == "chain forward {").expect("the chain");
        assert_eq!(lines[place + 1], "type filter hook forward priority filter; policy drop;");
        assert_eq!(lines[place + 2], expected);
    });
}

#[test]
fn tests_of_devices_and_marks() {
    check(Rule::new().equal(Field::InputDevice, 1_u32).accept(), "iif \"lo\" accept");
    check(Rule::new().not_equal(Field::OutputDevice, 1_u32).drop(), "oif != \"lo\" drop");
    check(Rule::new().equal(Field::InputName, Value::device_prefix("cu")).drop(), "iifname \"cu*\" drop");
    check(Rule::new().equal(Field::OutputName, Value::device("cu")).drop(), "oifname \"cu\" drop");
    check(Rule::new().equal(Field::Mark, 7_u32).accept(), "meta mark 0x00000007 accept");
    check(Rule::new().set_mark(7), "meta mark set 0x00000007");
}

#[test]
fn tests_of_connections() {
    let known = states::ESTABLISHED | states::RELATED;
    check(Rule::new().any_bit(Field::ConnectionState, known).accept(), "ct state established,related accept");
    check(Rule::new().any_bit(Field::ConnectionState, states::INVALID).drop(), "ct state invalid drop");
    check(Rule::new().any_bit(Field::ConnectionStatus, 0x20).accept(), "ct status dnat accept");
}

#[test]
fn tests_of_addresses() {
    check(
        Rule::new().ipv4().in_network(Field::Ip4Source, address("10.1.2.3"), 32).accept(),
        "ip saddr 10.1.2.3 accept",
    );
    check(
        Rule::new().ipv4().in_network(Field::Ip4Source, address("10.1.2.3"), 12).accept(),
        "ip saddr 10.0.0.0/12 accept",
    );
    check(
        Rule::new().ipv6().in_network(Field::Ip6Destination, address("fd00::1"), 64).accept(),
        "ip6 daddr fd00::/64 accept",
    );
    check(
        Rule::new().ipv4().in_set(&[Field::InputDevice, Field::Ip4Source], "pairs").accept(),
        "iif . ip saddr @pairs accept",
    );
    check(Rule::new().ipv6().not_in_set(&[Field::Ip6Source], "six").drop(), "ip6 saddr != @six drop");
    check(Rule::new().verdict_of(&[Field::InputDevice], "ways"), "iif vmap @ways");
    check(Rule::new().no_way_back().drop(), "fib saddr . iif oif missing drop");
    check(
        Rule::new().by_ethernet().equal(Field::EtherSource, [2, 0, 0, 0, 0, 1]).drop(),
        "ether saddr 02:00:00:00:00:01 drop",
    );
}

#[test]
fn tests_of_transports() {
    let tcp = || Rule::new().protocol(6);
    check(tcp().equal(Field::DestinationPort, 80_u16).accept(), "tcp dport 80 accept");
    check(tcp().between(Field::DestinationPort, 10_u16, 20_u16).accept(), "tcp dport 10-20 accept");
    check(Rule::new().protocol(17).equal(Field::SourcePort, 53_u16).accept(), "udp sport 53 accept");
    check(Rule::new().protocol(1).equal(Field::IcmpType, 8_u8).accept(), "icmp type echo-request accept");
    check(
        Rule::new().protocol(58).equal(Field::IcmpType, 135_u8).accept(),
        "icmpv6 type nd-neighbor-solicit accept",
    );
    check(Rule::new().protocol(47).accept(), "meta l4proto gre accept");
}

#[test]
fn what_to_do() {
    check(Rule::new().jump("plain"), "jump plain");
    check(Rule::new().verdict(&Verdict::Goto("plain".into())), "goto plain");
    check(Rule::new().verdict(&Verdict::Return).comment("why \"not\""), "return comment \"why not\"");
    check(Rule::new().counter().drop(), "counter packets 0 bytes 0 drop");
    check(Rule::new().reject(), "reject with icmpx admin-prohibited");
    check(
        Rule::new().over_rate(1 << 20, 100 << 10).drop(),
        "limit rate over 1 mbytes/second burst 100 kbytes drop",
    );
    check(Rule::new().within_rate(5, 10).accept(), "limit rate 5/second burst 10 packets accept");
    check(Rule::new().log(3, "seen "), "log prefix \"seen \" group 3");
}

#[test]
fn translation_of_addresses() {
    in_own_network(|mut connection| {
        let mut batch = Batch::new();
        batch.add_table(Family::Inet, TABLE);
        let map = Set::map("floating", &[KeyType::Ipv4Address], KeyType::Ipv4Address);
        batch.add_set(Family::Inet, TABLE, &map);
        let pair = Element::with_value(key([address("192.0.2.1").into()]), address("10.0.0.1"));
        batch.add_elements(Family::Inet, TABLE, "floating", [&pair]);
        for (name, hook, priority) in [("in", Hook::Prerouting, -100), ("out", Hook::Postrouting, 100)] {
            let base = base(ChainKind::Nat, hook, priority, Policy::Accept);
            batch.add_chain(Family::Inet, TABLE, &Chain { name: name.into(), base: Some(base) });
        }
        let rules = [
            ("in", Rule::new().ipv4().destination_from(Family::Ip, Field::Ip4Destination, "floating")),
            ("in", Rule::new().ipv6().destination_to(address("fd00::1"))),
            ("out", Rule::new().ipv4().source_from(Family::Ip, Field::Ip4Source, "floating")),
            ("out", Rule::new().ipv4().in_network(Field::Ip4Source, address("10.0.0.0"), 8).masquerade()),
        ];
        for (chain, rule) in rules {
            batch.append_rule(Family::Inet, TABLE, chain, &rule);
        }
        connection.commit(&batch).expect("commit");
        let expected = [
            "table inet t {",
            "map floating {",
            "type ipv4_addr : ipv4_addr",
            "elements = { 192.0.2.1 : 10.0.0.1 }",
            "}",
            "chain in {",
            "type nat hook prerouting priority dstnat; policy accept;",
            "dnat ip to ip daddr map @floating",
            "meta nfproto ipv6 dnat ip6 to fd00::1",
            "}",
            "chain out {",
            "type nat hook postrouting priority srcnat; policy accept;",
            "snat ip to ip saddr map @floating",
            "ip saddr 10.0.0.0/8 masquerade",
            "}",
            "}",
        ];
        assert_eq!(listing(), expected);
    });
}

#[test]
fn spreading_over_servers() {
    in_own_network(|mut connection| {
        let mut batch = Batch::new();
        batch.add_table(Family::Inet, TABLE);
        let base = base(ChainKind::Nat, Hook::Prerouting, -100, Policy::Accept);
        batch.add_chain(Family::Inet, TABLE, &Chain { name: "in".into(), base: Some(base) });
        batch.add_chain(Family::Inet, TABLE, &Chain { name: "a".into(), base: None });
        batch.add_set(Family::Inet, TABLE, &Set::verdict_map("turns", &[KeyType::Mark]));
        let turn = Element::with_verdict(key([1_u32.into()]), Verdict::Goto("a".into()));
        batch.add_elements(Family::Inet, TABLE, "turns", [&turn]);
        let four = SocketAddr::new(address("10.0.0.1"), 53);
        let six = SocketAddr::new(address("fd00::1"), 53);
        let rules = [
            ("in", Rule::new().ipv4().number_in_turn(2).verdict_of(&[], "turns")),
            ("in", Rule::new().ipv4().number_at_random(2).verdict_of(&[], "turns")),
            ("in", Rule::new().ipv4().number_of(Field::Ip4Source, 2).verdict_of(&[], "turns")),
            ("in", Rule::new().ipv6().number_of(Field::Ip6Source, 2).verdict_of(&[], "turns")),
            ("a", Rule::new().ipv4().protocol(17).destination_to_port(four)),
            ("a", Rule::new().ipv6().protocol(17).destination_to_port(six)),
        ];
        for (chain, rule) in rules {
            batch.append_rule(Family::Inet, TABLE, chain, &rule);
        }
        connection.commit(&batch).expect("commit");
        let expected = [
            "table inet t {",
            "map turns {",
            "type mark : verdict",
            "elements = { 0x00000001 : goto a }",
            "}",
            "chain in {",
            "type nat hook prerouting priority dstnat; policy accept;",
            "meta nfproto ipv4 numgen inc mod 2 vmap @turns",
            "meta nfproto ipv4 numgen random mod 2 vmap @turns",
            "jhash ip saddr mod 2 seed 0x0 vmap @turns",
            "jhash ip6 saddr mod 2 seed 0x0 vmap @turns",
            "}",
            "chain a {",
            "meta nfproto ipv4 meta l4proto udp dnat ip to 10.0.0.1:53",
            "meta nfproto ipv6 meta l4proto udp dnat ip6 to [fd00::1]:53",
            "}",
            "}",
        ];
        assert_eq!(listing(), expected);
    });
}

#[test]
fn sets_and_their_elements() {
    in_own_network(|mut connection| {
        let mut batch = Batch::new();
        let family = Family::Arp;
        batch.add_table(family, TABLE);
        batch.add_chain(family, TABLE, &Chain { name: "plain".into(), base: None });
        let macs = Set::new("macs", &[KeyType::InterfaceIndex, KeyType::EtherAddress]);
        batch.add_set(family, TABLE, &macs);
        let mac = Element::new(key([1_u32.into(), [2, 0, 0, 0, 0, 1].into()]));
        batch.add_elements(family, TABLE, "macs", [&mac]);
        let networks = Set::of_intervals("networks", KeyType::Ipv4Address);
        batch.add_set(family, TABLE, &networks);
        let ranges = [("10.0.0.0", "10.255.255.255"), ("192.168.0.0", "192.168.0.9")];
        let ranges = intervals(ranges.map(|(first, last)| (address(first), address(last))));
        batch.add_elements(family, TABLE, "networks", &ranges);
        let ways = Set::verdict_map("ways", &[KeyType::InterfaceIndex]);
        batch.add_set(family, TABLE, &ways);
        let way = Element::with_verdict(key([1_u32.into()]), Verdict::Jump("plain".into()));
        batch.add_elements(family, TABLE, "ways", [&way]);
        connection.commit(&batch).expect("commit");
        let expected = [
            "table arp t {",
            "set macs {",
            "type iface_index . ether_addr",
            "elements = { \"lo\" . 02:00:00:00:00:01 }",
            "}",
            "set networks {",
            "type ipv4_addr",
            "flags interval",
            "elements = { 10.0.0.0/8, 192.168.0.0-192.168.0.9 }",
            "}",
            "map ways {",
            "type iface_index : verdict",
            "elements = { \"lo\" : jump plain }",
            "}",
            "chain plain {",
            "}",
            "}",
        ];
        assert_eq!(listing(), expected);
        let read = connection.elements(family, TABLE, "ways").expect("elements");
        assert_eq!(read, [way]);
        let mut read = connection.elements(family, TABLE, "networks").expect("elements");
        read.sort();
        assert_eq!(read, ranges);
    });
}
