//! Route tables: who leaves by which way.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use driver::{Hop, NetworkDriver, PortPlan, VpcPlan};

use crate::support::{
    Lab, address, anything, echo, ensure_all, group, is_settled, net, pings, plans, reach, received_in, run,
    sandbox, table, uid, uplink,
};

/// Whom somebody outside sees when a port calls.
fn seen(lab: &Lab, from: &PortPlan, to: &str) -> Option<IpAddr> {
    let to = SocketAddr::new(address(to), 80);
    reach(sandbox(from), &lab.outside(), to, to.ip())
}

/// The guest forwards what comes and sends it on as itself.
fn translate(guest: &Path) {
    for line in [
        "sysctl -q -w net.ipv4.ip_forward=1",
        "nft add table ip nat",
        "nft add chain ip nat post { type nat hook postrouting priority 100 ; }",
        "nft add rule ip nat post oifname eth0 masquerade",
    ] {
        run(guest, line);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn through_a_guest_that_translates_here_and_on_another_host() {
    let lab = Lab::new(2);
    let open = uid();
    let near = lab.port(&["10.0.1.2"], &[&open]);
    let far = lab.port(&["10.0.1.3"], &[&open]);
    let mut middle = lab.port(&["10.0.0.9"], &[&open]);
    middle.source_check = false;
    let groups = [group(&open, &[&near, &far, &middle], anything())];
    let ports = [vec![near.clone(), middle.clone()], vec![far.clone()]];
    let mut all = plans(&lab, 81, &ports, &groups);
    let tables = vec![
        table(&[net("10.0.0.0/24")], &[("0.0.0.0/0", Hop::Uplink)]),
        table(&[net("10.0.1.0/24")], &[("0.0.0.0/0", Hop::Port(address("10.0.0.9")))]),
    ];
    for plan in &mut all {
        plan.tables.clone_from(&tables);
        plan.uplink = Some(uplink());
        plan.uplink.as_mut().unwrap().nat = vec![net("10.0.0.0/24")];
    }
    ensure_all(&lab, &all).await;
    translate(sandbox(&middle));
    assert_eq!(seen(&lab, &near, "192.0.2.254"), Some(address("192.0.2.1")), "on its own host");
    assert_eq!(seen(&lab, &far, "192.0.2.254"), Some(address("192.0.2.1")), "by the other host");
    assert!(pings(sandbox(&far), "10.0.1.2"), "inside there is no detour");
    for (host, plan) in lab.hosts.iter().zip(&all) {
        is_settled(host, plan).await;
    }
    // What no subnet's way out translates stays in: neither host sends it on.
    let direct = table(&[net("10.0.1.0/24")], &[("0.0.0.0/0", Hop::Uplink)]);
    for plan in &mut all {
        plan.tables[1] = direct.clone();
    }
    ensure_all(&lab, &all).await;
    assert_eq!(seen(&lab, &near, "192.0.2.254"), None, "no address outside");
    assert_eq!(seen(&lab, &middle, "192.0.2.254"), Some(address("192.0.2.1")));
    is_settled(&lab.hosts[0], &all[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_passes_on_for_others_follows_its_own_table() {
    let lab = Lab::new(1);
    let open = uid();
    let behind = lab.port(&["10.0.1.2"], &[&open]);
    let mut middle = lab.port(&["10.0.0.9"], &[&open]);
    middle.source_check = false;
    let members = group(&open, &[&behind, &middle], anything());
    let mut plan = plans(&lab, 80, &[vec![behind, middle.clone()]], &[members]).remove(0);
    plan.uplink = Some(uplink());
    plan.tables = vec![
        table(&[net("10.0.0.0/24")], &[("0.0.0.0/0", Hop::Uplink)]),
        table(&[net("10.0.1.0/24")], &[("0.0.0.0/0", Hop::Port(address("10.0.0.9")))]),
    ];
    lab.hosts[0].driver.ensure(&plan).await.expect("ensure");
    is_settled(&lab.hosts[0], &plan).await;
    // By the table of its source the packet would come back to who sends it.
    run(sandbox(&middle), "ip addr add 10.0.1.2/32 dev eth0");
    let before = received_in(&lab.outside());
    echo(sandbox(&middle), Some(address("10.0.1.2")), address("192.0.2.254"));
    assert!(received_in(&lab.outside()) > before, "out by the table of its own subnet");
}

/// One port in each of two subnets of one host, with a way out for both.
fn two_subnets(lab: &Lab) -> (PortPlan, PortPlan, VpcPlan) {
    let open = uid();
    let a = lab.port(&["10.0.1.2"], &[&open]);
    let b = lab.port(&["10.0.2.2"], &[&open]);
    let members = group(&open, &[&a, &b], anything());
    let mut plan = plans(lab, 82, &[vec![a.clone(), b.clone()]], &[members]).remove(0);
    plan.uplink = Some(uplink());
    (a, b, plan)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_subnet_follows_its_own_table() {
    let lab = Lab::new(1);
    let (a, b, mut plan) = two_subnets(&lab);
    let host = &lab.hosts[0];
    let (outside, own) = ("192.0.2.254", Some(address("192.0.2.1")));
    plan.tables =
        vec![table(&[net("10.0.1.0/24")], &[("0.0.0.0/0", Hop::Uplink)]), table(&[net("10.0.2.0/24")], &[])];
    host.driver.ensure(&plan).await.expect("ensure");
    assert_eq!(seen(&lab, &a, outside), own);
    assert_eq!(seen(&lab, &b, outside), None, "no way out");
    assert!(pings(sandbox(&b), "10.0.1.2"), "but inside");
    is_settled(host, &plan).await;
    // The other way round: both change at once.
    plan.tables[0].sources = vec![net("10.0.2.0/24")];
    plan.tables[1].sources = vec![net("10.0.1.0/24")];
    host.driver.ensure(&plan).await.expect("ensure");
    assert_eq!(seen(&lab, &a, outside), None);
    assert_eq!(seen(&lab, &b, outside), own);
    is_settled(host, &plan).await;
    plan.tables.clear();
    host.driver.ensure(&plan).await.expect("ensure");
    assert_eq!(seen(&lab, &b, outside), None, "without a table there is the inside only");
    assert!(pings(sandbox(&b), "10.0.1.2"));
    is_settled(host, &plan).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_narrowest_destination_wins_and_the_inside_stays_inside() {
    let lab = Lab::new(1);
    let (a, _, mut plan) = two_subnets(&lab);
    let host = &lab.hosts[0];
    for extra in ["198.51.100.1/32", "198.51.100.2/32", "10.0.1.77/32"] {
        run(&lab.outside(), &format!("ip addr add {extra} dev wire"));
    }
    let routes = [
        ("0.0.0.0/0", Hop::Uplink),
        ("198.51.100.0/24", Hop::Blackhole),
        ("198.51.100.2/32", Hop::Uplink),
        ("203.0.113.0/24", Hop::Port(address("10.0.1.99"))),
    ];
    plan.tables = vec![table(&[net("10.0.1.0/24")], &routes)];
    host.driver.ensure(&plan).await.expect("ensure");
    let own = Some(address("192.0.2.1"));
    assert_eq!(seen(&lab, &a, "192.0.2.254"), own, "by the default route");
    assert_eq!(seen(&lab, &a, "198.51.100.1"), None, "dropped");
    assert_eq!(seen(&lab, &a, "198.51.100.2"), own, "narrower still");
    assert_eq!(seen(&lab, &a, "10.0.1.77"), None, "an inner address that no port has is nowhere");
    is_settled(host, &plan).await;
    plan.tables[0].routes.remove(1);
    host.driver.ensure(&plan).await.expect("ensure");
    assert_eq!(seen(&lab, &a, "198.51.100.1"), own, "no longer dropped");
    is_settled(host, &plan).await;
}
