//! Ports on physical segments: of two hosts on one wire, tagged and untagged, beside machines that are nobody's guests.

use driver::{Link, NetworkDriver, PortPlan, SegmentPlan, VpcPlan};

use crate::support::{Lab, Machine, address, net, pings, run, sandbox, try_run, uid};

/// A second wire without addresses, with a machine of its own at 10.9.0.254.
fn with_trunk(lab: &Lab) {
    let outside = lab.outside();
    run(&outside, "ip link add wire2 type bridge forward_delay 0");
    run(&outside, "ip addr add 10.9.0.254/24 dev wire2");
    run(&outside, "ip link set wire2 up");
    for (number, host) in lab.hosts.iter().enumerate() {
        lab.join(host, &format!("trunk{number}"), "eth1");
        run(&outside, &format!("ip link set trunk{number} master wire2 up"));
        run(&host.namespace, "ip link set eth1 up");
    }
}

fn plan(port: &PortPlan, vlan: Option<u16>, network: &str) -> VpcPlan {
    let mut port = port.clone();
    let net = net(network);
    port.gateways = vec![net.hosts().next().expect("a gateway")];
    VpcPlan {
        uid: uid(),
        label: "test/segment".into(),
        mtu: 1500,
        ports: vec![port],
        segment: Some(SegmentPlan { link: "eth1".into(), vlan, networks: vec![net] }),
        ..VpcPlan::default()
    }
}

async fn is_true(host: &Machine, plan: &VpcPlan) {
    host.driver.ensure(plan).await.expect("ensure");
    assert_eq!(host.driver.check(plan).await.expect("check"), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_are_on_the_wire_with_everyone_else() {
    let lab = Lab::new(2);
    with_trunk(&lab);
    let [a, b] = ["10.9.0.2", "10.9.0.3"].map(|at| lab.port(&[at], &[]));
    let plans = [(0, plan(&a, None, "10.9.0.0/24")), (1, plan(&b, None, "10.9.0.0/24"))];
    for (host, plan) in &plans {
        is_true(&lab.hosts[*host], plan).await;
    }
    assert!(pings(sandbox(&a), "10.9.0.3") && pings(sandbox(&b), "10.9.0.2"), "across hosts");
    assert!(pings(sandbox(&a), "10.9.0.254"), "and with what is nobody's guest");
    // Once more changes nothing, and a guest that speaks as another card is not heard.
    is_true(&lab.hosts[0], &plans[0].1).await;
    assert!(pings(sandbox(&a), "10.9.0.3"));
    run(sandbox(&a), "ip link set eth0 address 02:00:00:00:00:99");
    assert!(!pings(sandbox(&a), "10.9.0.3"), "another card's address");
    is_true(&lab.hosts[0], &plans[0].1).await;
    assert!(pings(sandbox(&a), "10.9.0.3"), "its own is set again");

    for (host, plan) in &plans {
        let driver = &lab.hosts[*host].driver;
        assert!(driver.list().await.expect("list").contains(&plan.uid));
        driver.delete(&plan.uid).await.expect("delete");
        assert_eq!(driver.list().await.expect("list").iter().filter(|u| **u == plan.uid).count(), 0);
    }
    for host in &lab.hosts {
        let left = run(&host.namespace, "ip -o link");
        assert!(!left.contains(": cb") && !left.contains(": cv") && !left.contains(": cu"), "{left}");
        assert!(left.contains("eth1"), "the host's own device stays");
    }
}

/// Where the kernel has VLANs (8021q); where it has none, the driver says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_vlan_is_a_wire_of_its_own() {
    let lab = Lab::new(2);
    with_trunk(&lab);
    let outside = lab.outside();
    let [a, b] = ["10.9.5.2", "10.9.5.3"].map(|at| lab.port(&[at], &[]));
    let untagged = lab.port(&["10.9.5.4"], &[]);
    let plans = [plan(&a, Some(5), "10.9.5.0/24"), plan(&b, Some(5), "10.9.5.0/24")];
    if !try_run(&outside, "ip link add link wire2 name wire2.5 type vlan id 5").0 {
        let refused = lab.hosts[0].driver.ensure(&plans[0]).await.expect_err("no VLANs").to_string();
        assert!(refused.contains("VLAN 5 on eth1"), "{refused}");
        return;
    }
    run(&outside, "ip addr add 10.9.5.254/24 dev wire2.5");
    run(&outside, "ip link set wire2.5 up");
    let beside = plan(&untagged, None, "10.9.5.0/24");
    for (host, plan) in lab.hosts.iter().zip(&plans).chain([(&lab.hosts[1], &beside)]) {
        is_true(host, plan).await;
    }
    assert!(pings(sandbox(&a), "10.9.5.3") && pings(sandbox(&a), "10.9.5.254"), "tagged");
    assert!(!pings(sandbox(&a), "10.9.5.4"), "not what is on the wire without a tag");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_of_the_operators_is_used_as_it_is() {
    let lab = Lab::new(1);
    with_trunk(&lab);
    let host = &lab.hosts[0];
    run(&host.namespace, "ip link add br-data type bridge forward_delay 0");
    run(&host.namespace, "ip link set eth1 master br-data");
    run(&host.namespace, "ip link set br-data up");
    let a = lab.port(&["10.9.0.2"], &[]);
    let mut plan = plan(&a, None, "10.9.0.0/24");
    plan.segment.as_mut().expect("a segment").link = "br-data".into();
    is_true(host, &plan).await;
    assert!(pings(sandbox(&a), "10.9.0.254"));
    host.driver.delete(&plan.uid).await.expect("delete");
    let left = run(&host.namespace, "ip -o link");
    assert!(left.contains("br-data") && !left.contains(": cb"), "{left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_cut_the_host_off_is_refused() {
    let lab = Lab::new(1);
    let host = &lab.hosts[0];
    let a = lab.port(&["10.9.0.2"], &[]);
    let mut plan = plan(&a, None, "10.9.0.0/24");
    plan.segment.as_mut().expect("a segment").link = "eth0".into();
    let refused = host.driver.ensure(&plan).await.expect_err("it has addresses").to_string();
    assert!(refused.contains("eth0 has the host's address 192.0.2.1"), "{refused}");
    assert_eq!(address("192.0.2.1"), host.underlay);
    plan.segment.as_mut().expect("a segment").link = "eth7".into();
    let refused = host.driver.ensure(&plan).await.expect_err("it is not there").to_string();
    assert!(refused.contains("no device \"eth7\""), "{refused}");
    host.driver.delete(&plan.uid).await.expect("delete");
    assert!(try_run(&host.namespace, "ip link show eth0").0);
    assert!(matches!(a.link, Link::Veth { .. }));
}
