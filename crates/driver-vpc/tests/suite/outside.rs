//! Ways out of hosts: translation and floating addresses of both families, and who may send into an overlay.

use std::net::{IpAddr, SocketAddr};

use driver::{Hop, NetworkDriver, PortPlan};

use crate::support::{
    Lab, address, anything, echo, ensure_all, group, is_settled, net, pings, plans, reach, received, run,
    sandbox, table, uid, uplink,
};

/// What of the outside a port has reached, and as whom.
fn seen(lab: &Lab, from: &PortPlan, to: &str) -> Option<IpAddr> {
    let to = SocketAddr::new(address(to), 80);
    reach(sandbox(from), &lab.outside(), to, to.ip())
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_is_translated_floats_or_leaves_as_itself() {
    let lab = Lab::new(1);
    run(&lab.outside(), "ip addr add fd00:192::fe/64 dev wire nodad");
    let open = uid();
    let plain = lab.port(&["fd00:1::2", "10.0.0.2"], &[&open]);
    let front = lab.port(&["fd00:1::3", "10.0.0.3"], &[&open]);
    let own = lab.port(&["fd00:1:9::4", "10.0.9.4"], &[&open]);
    let members = group(&open, &[&plain, &front, &own], anything());
    let ports = vec![plain.clone(), front.clone(), own.clone()];
    let mut plan = plans(&lab, 84, &[ports], &[members]).remove(0);
    let mut way_out = uplink();
    way_out.nat.push(net("fd00:1::/64"));
    way_out.egress = vec![net("fd00:1:9::/64")];
    way_out.floating = vec![(address("fd00:192::77"), address("fd00:1::3"))];
    plan.uplink = Some(way_out);
    let host = &lab.hosts[0];
    host.driver.ensure(&plan).await.expect("ensure");
    is_settled(host, &plan).await;
    let outside = "fd00:192::fe";
    assert_eq!(seen(&lab, &plain, outside), Some(address("fd00:192::1")), "as the host");
    assert_eq!(seen(&lab, &front, outside), Some(address("fd00:192::77")), "as its floating address");
    let to = SocketAddr::new(address("fd00:192::77"), 80);
    let caller = reach(&lab.outside(), sandbox(&front), to, address("fd00:1::3"));
    assert_eq!(caller, Some(address(outside)), "from outside");
    assert!(reach(sandbox(&plain), sandbox(&front), to, address("fd00:1::3")).is_some(), "by a neighbour");
    // Somebody has to know the way back; the hosts of a network that routes IPv6 to guests do.
    run(&lab.outside(), "ip -6 route add fd00:1:9::4/128 via fd00:192::1 dev wire");
    assert_eq!(seen(&lab, &own, outside), Some(address("fd00:1:9::4")), "as itself");
    let to = SocketAddr::new(address("fd00:1:9::4"), 80);
    assert_eq!(reach(&lab.outside(), sandbox(&own), to, to.ip()), None, "but nobody calls it");
    assert!(!pings(&lab.outside(), "fd00:1:9::4"));
    // IPv4 goes on meanwhile, and without IPv6 its guests are told at once.
    assert_eq!(seen(&lab, &plain, "192.0.2.254"), Some(address("192.0.2.1")));
    plan.uplink = Some(uplink());
    host.driver.ensure(&plan).await.expect("ensure");
    assert_eq!(seen(&lab, &plain, outside), None);
    is_settled(host, &plan).await;
    assert_eq!(run(&host.namespace, "ip -6 neigh show proxy"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_floating_address_that_moves_is_announced() {
    let lab = Lab::new(2);
    run(&lab.outside(), "ip addr add fd00:192::fe/64 dev wire nodad");
    let open = uid();
    let a = lab.port(&["10.0.0.2", "fd00:1::2"], &[&open]);
    let b = lab.port(&["10.0.0.3", "fd00:1::3"], &[&open]);
    let members = [group(&open, &[&a, &b], anything())];
    let mut all = plans(&lab, 85, &[vec![a.clone()], vec![b.clone()]], &members);
    let outside = ["192.0.2.77", "fd00:192::77"];
    let places = [["10.0.0.2", "fd00:1::2"], ["10.0.0.3", "fd00:1::3"]];
    let known = |front: &str| run(&lab.outside(), &format!("ip neigh show {front}"));
    for at in [0, 1, 0] {
        for (host, plan) in all.iter_mut().enumerate() {
            plan.uplink = Some(uplink());
            if host == at {
                let pairs = outside.iter().zip(places[host]);
                plan.uplink.as_mut().unwrap().floating =
                    pairs.map(|(front, inside)| (address(front), address(inside))).collect();
            }
        }
        ensure_all(&lab, &all).await;
        let text = run(&lab.hosts[at].namespace, "ip -br link show eth0");
        let own = text.split_whitespace().nth(2).unwrap().to_owned();
        for front in outside {
            // At first nobody outside has heard of it; then what was known is put right before anybody asks.
            assert!(known(front).is_empty() || known(front).contains(&own), "{front}: {}", known(front));
            assert!(pings(&lab.outside(), front), "{front} at host {at}");
            assert!(known(front).contains(&own), "{front}: {}", known(front));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_host_sends_into_an_overlay() {
    let lab = Lab::new(3);
    let open = uid();
    let a = lab.port(&["10.0.0.2"], &[&open]);
    let b = lab.port(&["10.0.0.3"], &[&open]);
    let stranger = lab.port(&["10.0.0.4"], &[&open]);
    let members = [group(&open, &[&a, &b, &stranger], anything())];
    let mut all = plans(&lab, 86, &[vec![a.clone()], vec![b.clone()], vec![stranger.clone()]], &members);
    let whole = all.clone();
    for plan in &mut all[..2] {
        plan.remotes.retain(|remote| remote.address != stranger.addresses[0]);
    }
    ensure_all(&lab, &all).await;
    for (host, plan) in lab.hosts.iter().zip(&all) {
        is_settled(host, plan).await;
    }
    assert!(pings(sandbox(&a), "10.0.0.3"), "among its hosts");
    let before = received(&a);
    echo(sandbox(&stranger), None, address("10.0.0.2"));
    assert_eq!(received(&a), before, "nothing of the stranger's came in");
    ensure_all(&lab, &whole).await;
    assert!(pings(sandbox(&stranger), "10.0.0.2"), "now it is one of them");
    is_settled(&lab.hosts[0], &whole[0]).await;
    run(&lab.hosts[0].namespace, "nft flush table inet corten-0-overlays");
    assert!(!lab.hosts[0].driver.check(&whole[0]).await.unwrap().is_empty(), "seen");
    lab.hosts[0].driver.ensure(&whole[0]).await.expect("ensure");
    is_settled(&lab.hosts[0], &whole[0]).await;
    // Another VPC's hosts are its own.
    let lone = lab.port(&["10.0.0.2"], &[&open]);
    let mut second = plans(&lab, 87, &[vec![lone], vec![], vec![]], &members).remove(0);
    second.tables = vec![table(&[net("10.0.0.0/24")], &[("0.0.0.0/0", Hop::Uplink)])];
    lab.hosts[0].driver.ensure(&second).await.expect("ensure another");
    is_settled(&lab.hosts[0], &whole[0]).await;
    lab.hosts[0].driver.delete(&whole[0].uid).await.expect("delete");
    is_settled(&lab.hosts[0], &second).await;
    let text = run(&lab.hosts[0].namespace, "nft list table inet corten-0-overlays");
    assert!(!text.contains("192.0.2.2"), "{text}");
    lab.hosts[0].driver.delete(&second.uid).await.expect("delete");
    assert_eq!(run(&lab.hosts[0].namespace, "nft list tables"), "");
}
