//! Who reaches whom: on one host, across hosts, across VPCs, outside.

use std::net::SocketAddr;

use driver::NetworkDriver;

use crate::support::{
    Lab, address, anything, connects, ensure_all, group, pings, plans, reach, run, sandbox, uid, uplink,
};

#[tokio::test(flavor = "multi_thread")]
async fn on_one_host_and_across() {
    let lab = Lab::new(2);
    let open = uid();
    let a = lab.port(&["10.0.0.2", "fd00:1::2"], &[&open]);
    let b = lab.port(&["10.0.0.3", "fd00:1::3"], &[&open]);
    // Of another subnet, on the other host.
    let c = lab.port(&["10.0.9.4", "fd00:1:9::4"], &[&open]);
    let ports = [vec![a.clone(), b.clone()], vec![c.clone()]];
    ensure_all(&lab, &plans(&lab, 11, &ports, &[group(&open, &[&a, &b, &c], anything())])).await;
    for to in ["10.0.0.3", "fd00:1::3", "10.0.9.4", "fd00:1:9::4"] {
        assert!(pings(sandbox(&a), to), "a to {to}");
    }
    assert!(pings(sandbox(&c), "10.0.0.2") && pings(sandbox(&c), "fd00:1::3"), "and back");
    assert!(!pings(sandbox(&a), "10.0.0.9"), "nobody is there");
    let counters = lab.hosts[1].driver.counters(&plans(&lab, 11, &ports, &[])[0].uid).await.unwrap();
    assert!(counters.is_empty(), "of an unknown VPC");
}

#[tokio::test(flavor = "multi_thread")]
async fn overlapping_ranges_never_meet() {
    let lab = Lab::new(2);
    let open = uid();
    let mut servers = Vec::new();
    let mut clients = Vec::new();
    for vni in [21, 22] {
        let client = lab.port(&["10.0.0.2"], &[&open]);
        let server = lab.port(&["10.0.0.3"], &[&open]);
        let group = group(&open, &[&client, &server], anything());
        ensure_all(&lab, &plans(&lab, vni, &[vec![client.clone()], vec![server.clone()]], &[group])).await;
        clients.push(client);
        servers.push(server);
    }
    for (client, server) in clients.iter().zip(&servers) {
        assert!(connects(client, server, 80), "within its own VPC");
    }
    assert!(!connects(&clients[0], &servers[1], 81), "never in the other");
    assert!(!connects(&clients[1], &servers[0], 81), "never in the other");
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_by_translation_and_floating_addresses() {
    let lab = Lab::new(1);
    let open = uid();
    let a = lab.port(&["10.0.0.2"], &[&open]);
    let b = lab.port(&["10.0.0.3"], &[&open]);
    let mut plan =
        plans(&lab, 31, &[vec![a.clone(), b.clone()]], &[group(&open, &[&a, &b], anything())]).remove(0);
    plan.uplink = Some(uplink());
    plan.uplink.as_mut().unwrap().floating = vec![(address("192.0.2.77"), address("10.0.0.3"))];
    plan.uplink.as_mut().unwrap().closed = vec!["192.0.2.200/32".parse().unwrap()];
    let host = &lab.hosts[0];
    host.driver.ensure(&plan).await.expect("ensure");
    let outside = SocketAddr::new(address("192.0.2.254"), 80);
    let seen = |from| reach(sandbox(from), &lab.outside(), outside, outside.ip());
    assert_eq!(seen(&a), Some(address("192.0.2.1")), "as the host");
    assert_eq!(seen(&b), Some(address("192.0.2.77")), "as its floating address");
    let floating = SocketAddr::new(address("192.0.2.77"), 80);
    let from = reach(&lab.outside(), sandbox(&b), floating, address("10.0.0.3"));
    assert_eq!(from, Some(address("192.0.2.254")), "from outside, and the peer is seen as it is");
    assert!(reach(sandbox(&a), sandbox(&b), floating, address("10.0.0.3")).is_some(), "from a neighbour");
    run(&lab.outside(), "ip addr add 192.0.2.200/32 dev wire");
    let closed = SocketAddr::new(address("192.0.2.200"), 80);
    assert_eq!(reach(sandbox(&a), &lab.outside(), closed, closed.ip()), None, "closed");
    assert!(!pings(sandbox(&a), "169.254.1.0"), "link-local stays closed");

    plan.uplink.as_mut().unwrap().floating.clear();
    host.driver.ensure(&plan).await.expect("ensure");
    assert_eq!(seen(&b), Some(address("192.0.2.1")), "without its floating address");
    assert_eq!(run(&host.namespace, "ip neigh show proxy"), "");
    plan.uplink = None;
    host.driver.ensure(&plan).await.expect("ensure");
    assert_eq!(seen(&a), None, "no uplink, no way out");
    assert_eq!(host.driver.check(&plan).await.unwrap(), []);
}
