//! Gateways that translate for the ports of all hosts, at one host and under one address.

use std::net::{IpAddr, SocketAddr};

use driver::{Hop, NetworkDriver, PortPlan, SharedPlan, UplinkPlan, VpcPlan};

use crate::support::{
    Lab, address, anything, ensure_all, group, is_settled, net, pings, plans, reach, run, sandbox, table,
    uid, uplink,
};

const OUTSIDE: &str = "192.0.2.254";
const SHARED: &str = "192.0.2.88";

/// Under which address a port is seen outside, if it gets there.
fn seen(lab: &Lab, from: &PortPlan) -> Option<IpAddr> {
    let to = SocketAddr::new(address(OUTSIDE), 80);
    reach(sandbox(from), &lab.outside(), to, to.ip())
}

/// Of the first subnet all leave by the host `at`, as `front`; of the second each by its own.
fn lead(lab: &Lab, all: &mut [VpcPlan], at: usize, front: &str) {
    let (private, public) = ([net("10.0.1.0/24")], [net("10.0.2.0/24")]);
    for (host, plan) in all.iter_mut().enumerate() {
        let way = if host == at { Hop::Uplink } else { Hop::Host(lab.hosts[at].underlay) };
        plan.tables[0].sources = private.to_vec();
        plan.tables[0].routes[0].target = way;
        let shared = SharedPlan { address: address(front), networks: private.to_vec() };
        let shared = if host == at { vec![shared] } else { Vec::new() };
        plan.uplink = Some(UplinkPlan { nat: public.to_vec(), shared, ..uplink() });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_of_all_hosts_leave_by_one() {
    let lab = Lab::new(3);
    let open = uid();
    let near = lab.port(&["10.0.1.2"], &[&open]);
    let far = lab.port(&["10.0.1.3"], &[&open]);
    let own = lab.port(&["10.0.2.4"], &[&open]);
    let members = [group(&open, &[&near, &far, &own], anything())];
    let ports = [vec![near.clone()], vec![far.clone(), own.clone()], Vec::new()];
    let mut all = plans(&lab, 88, &ports, &members);
    for plan in &mut all {
        let public = table(&[net("10.0.2.0/24")], &[("0.0.0.0/0", Hop::Uplink)]);
        plan.tables.push(public);
    }
    // At a host with one of them, and then at one that has no port at all.
    for (at, front) in [(0, SHARED), (2, SHARED), (2, "192.0.2.89")] {
        lead(&lab, &mut all, at, front);
        assert_eq!(all[2].is_empty(), at != 2, "who carries has something to do");
        ensure_all(&lab, &all).await;
        for port in [&near, &far] {
            assert_eq!(seen(&lab, port), Some(address(front)), "{:?} by host {at}", port.addresses);
        }
        assert_eq!(seen(&lab, &own), Some(address("192.0.2.2")), "its subnet goes out where it is");
        assert!(pings(sandbox(&near), "10.0.1.3") && pings(sandbox(&far), "10.0.2.4"), "inside as before");
        let to = SocketAddr::new(address(front), 80);
        assert_eq!(reach(&lab.outside(), sandbox(&far), to, address("10.0.1.3")), None, "nobody calls it");
        for (host, plan) in lab.hosts.iter().zip(&all) {
            is_settled(host, plan).await;
        }
    }
    assert!(!run(&lab.hosts[2].namespace, "ip neigh show proxy").contains(SHARED), "the old one is gone");

    // Who is not led there does not get out there, whatever it sends.
    all[1].tables[1].routes[0].target = Hop::Host(lab.hosts[2].underlay);
    all[1].uplink = None;
    ensure_all(&lab, &all).await;
    assert_eq!(seen(&lab, &own), None);

    for (host, plan) in lab.hosts.iter().zip(&all) {
        host.driver.delete(&plan.uid).await.expect("delete");
        assert_eq!(run(&host.namespace, "nft list tables"), "");
        assert_eq!(run(&host.namespace, "ip neigh show proxy"), "");
        assert_eq!(run(&host.namespace, "ip route show proto 67"), "");
    }
}
