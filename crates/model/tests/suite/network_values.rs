//! Networks, ranges and addresses: what is read, and what is said of what is not.

use std::net::IpAddr;

use model::network::{Address, AddressRange, Cidr, Mac, Protocol};
use proptest::prelude::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn networks_have_no_host_bits() {
    for good in ["10.0.0.0/8", "0.0.0.0/0", "192.0.2.7/32", "fd00:1::/48", "::/0"] {
        assert_eq!(good.parse::<Cidr>().unwrap().to_string(), good);
    }
    assert_eq!("FD00:0001::/48".parse::<Cidr>().unwrap().to_string(), "fd00:1::/48");
    for (wrong, expected) in [
        ("10.0.0.1/8", r#""10.0.0.1/8" has host bits set: write "10.0.0.0/8""#),
        ("fd00:1::7/64", r#""fd00:1::7/64" has host bits set: write "fd00:1::/64""#),
        ("10.0.0.0", r#""10.0.0.0" is not a network: write for example "10.0.0.0/16" or "fd00:1::/48""#),
        (
            "10.0.0.0/33",
            r#""10.0.0.0/33" is not a network: write for example "10.0.0.0/16" or "fd00:1::/48""#,
        ),
    ] {
        assert_eq!(wrong.parse::<Cidr>().unwrap_err().to_string(), expected);
    }
    for wrong in ["", "/", "10.0.0.0/", "/8", "10.0.0/8", "010.0.0.0/8", "10.0.0.0/-1", "10.0.0.0/8 ", "a/8"]
    {
        assert!(wrong.parse::<Cidr>().is_err(), "{wrong:?}");
        assert!(serde_json::from_value::<Cidr>(wrong.into()).is_err(), "{wrong:?}");
    }
}

#[test]
fn what_a_network_holds() {
    let net = |text: &str| text.parse::<Cidr>().unwrap();
    assert!(net("10.0.0.0/8").holds(&net("10.1.0.0/16")));
    assert!(!net("10.1.0.0/16").holds(&net("10.0.0.0/8")));
    assert!(net("10.1.0.0/16").overlaps(&net("10.0.0.0/8")));
    assert!(!net("10.1.0.0/16").overlaps(&net("10.2.0.0/16")));
    assert!(!net("0.0.0.0/0").overlaps(&net("::/0")));
    assert_eq!(net("10.0.1.0/24").gateway(), ip("10.0.1.1"));
    assert_eq!(net("10.0.1.0/24").for_ports().unwrap().to_string(), "10.0.1.4-10.0.1.254");
    assert_eq!(net("10.0.1.0/24").for_ports().unwrap().count(), 251);
    assert_eq!(net("10.0.1.0/28").for_ports().unwrap().count(), 11);
    assert_eq!(net("10.0.1.0/29").for_ports().unwrap().count(), 3);
    assert_eq!(net("10.0.1.0/30").for_ports(), None);
    assert_eq!(net("10.0.1.0/32").for_ports(), None);
    assert_eq!(net("fd00::/64").for_ports().unwrap().first(), ip("fd00::4"));
    assert_eq!(net("::/0").range().count(), u128::MAX);
}

#[test]
fn ranges_are_read_in_three_forms() {
    let check = |text: &str, expected: Result<(&str, u128), &str>| {
        let found =
            text.parse::<AddressRange>().map(|r| (r.to_string(), r.count())).map_err(|e| e.to_string());
        assert_eq!(found, expected.map(|(t, n)| (t.to_owned(), n)).map_err(str::to_owned), "{text:?}");
    };
    check("192.0.2.10-192.0.2.50", Ok(("192.0.2.10-192.0.2.50", 41)));
    check("192.0.2.0/24", Ok(("192.0.2.0-192.0.2.255", 256)));
    check("192.0.2.1", Ok(("192.0.2.1", 1)));
    check("fd00::1-fd00::ff", Ok(("fd00::1-fd00::ff", 255)));
    check(
        "192.0.2.9-192.0.2.1",
        Err(r#""192.0.2.9-192.0.2.1" ends before it begins: exchange the two addresses"#),
    );
    let form = "is not a range: write for example \"192.0.2.10-192.0.2.50\" or \"192.0.2.0/24\"";
    check("192.0.2.9-fd00::1", Err(&format!("\"192.0.2.9-fd00::1\" {form}")));
    check("many", Err(&format!("\"many\" {form}")));
    check("192.0.2.1/24", Err(r#""192.0.2.1/24" has host bits set: write "192.0.2.0/24""#));
}

#[test]
fn cards_have_addresses_of_their_own() {
    assert_eq!("02:00:5E:10:00:07".parse::<Mac>().unwrap().to_string(), "02:00:5e:10:00:07");
    for wrong in
        ["", "02:00:5e:10:00", "02:00:5e:10:00:07:08", "2:0:5e:10:0:7", "02-00-5e-10-00-07", "0g:0:0:0:0:0"]
    {
        assert!(wrong.parse::<Mac>().unwrap_err().to_string().contains("six pairs"), "{wrong:?}");
    }
    for wrong in ["01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"] {
        assert!(wrong.parse::<Mac>().unwrap_err().to_string().contains("of its own"), "{wrong:?}");
    }
    assert_eq!(
        "10.0.0".parse::<Address>().unwrap_err().to_string(),
        "\"10.0.0\" is not an address: write for example \"10.0.0.7\" or \"fd00:1::7\""
    );
}

#[test]
fn a_protocol_is_written_in_one_way() {
    for (given, expected) in
        [("\"tcp\"", "tcp"), ("6", "tcp"), ("\"17\"", "udp"), ("58", "icmp"), ("47", "47")]
    {
        assert_eq!(serde_json::from_str::<Protocol>(given).unwrap().to_string(), expected, "{given}");
    }
    for wrong in ["\"TCP\"", "256", "-1", "\"\"", "null", "[6]"] {
        assert!(serde_json::from_str::<Protocol>(wrong).is_err(), "{wrong}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(address in any::<IpAddr>(), length in 0_u8..=128, mac in any::<[u8; 5]>()) {
        let length = if address.is_ipv4() { length % 33 } else { length };
        let net = Cidr::around(address, length).unwrap();
        prop_assert_eq!(net.to_string().parse::<Cidr>(), Ok(net));
        prop_assert_eq!(net.to_string().parse::<AddressRange>().unwrap(), net.range());
        prop_assert_eq!(net.range().to_string().parse::<AddressRange>().unwrap(), net.range());
        prop_assert_eq!(Address(address).to_string().parse::<Address>(), Ok(Address(address)));
        let mac = Mac::from_random(mac);
        prop_assert_eq!(mac.to_string().parse::<Mac>(), Ok(mac));
    }

    /// Every address that ports may have is inside, and neither the gateway's nor the last.
    #[test]
    fn ports_get_addresses_inside(address in any::<std::net::Ipv4Addr>(), length in 0_u8..=29, n in any::<u32>()) {
        let net = Cidr::around(address.into(), length).unwrap();
        let pool = net.for_ports().unwrap();
        let picked = pool.nth(u128::from(n) % pool.count()).unwrap();
        prop_assert!(net.contains(picked) && pool.contains(picked));
        prop_assert!(picked != net.gateway() && picked != net.range().first() && picked != net.range().last());
        prop_assert_eq!(pool.nth(pool.count()), None);
        prop_assert_eq!(pool.count(), net.range().count() - 5);
    }
}
