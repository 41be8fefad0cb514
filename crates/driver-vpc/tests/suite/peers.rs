//! Peered VPCs: who reaches whom, by which way, and what nobody may send.

use driver::{GroupPlan, Hop, NetworkDriver, Peer, PeerPlan, PortPlan, Protocol, Reach, RulePlan, VpcPlan};
use ipnet::IpNet;

use crate::support::{
    Lab, address, anything, connects, echo, group, is_settled, net, plans, received, run, sandbox, table, uid,
};

/// Plans of two peered VPCs, per host. The first is the older one, and carries.
struct Pair {
    first: Vec<VpcPlan>,
    second: Vec<VpcPlan>,
}

fn second_ranges() -> Vec<IpNet> {
    vec![net("10.9.0.0/16"), net("fd00:9::/32")]
}

fn second_port(lab: &Lab, addresses: &[&str], groups: &[&model::Uid]) -> PortPlan {
    let gateways = vec![address("10.9.0.1"), address("fd00:9::1")];
    PortPlan { gateways, ..lab.port(addresses, groups) }
}

impl Pair {
    /// Ports per host of either, and groups of either.
    fn new(lab: &Lab, ports: [&[Vec<PortPlan>]; 2], groups: [&[GroupPlan]; 2]) -> Self {
        let mut first = plans(lab, 91, ports[0], groups[0]);
        let mut second = plans(lab, 92, ports[1], groups[1]);
        let (one, two) = (first[0].uid.clone(), second[0].uid.clone());
        let there = table(
            &first[0].ranges,
            &[("10.9.0.0/16", Hop::Peer(two.clone())), ("fd00:9::/32", Hop::Peer(two.clone()))],
        );
        let back = table(
            &second_ranges(),
            &[("10.0.0.0/16", Hop::Peer(one.clone())), ("fd00:1::/32", Hop::Peer(one.clone()))],
        );
        for (own, other) in first.iter_mut().zip(&mut second) {
            let here: Vec<_> = other.ports.iter().flat_map(|port| port.addresses.clone()).collect();
            if !here.is_empty() {
                let ranges = own.ranges.clone();
                other.peers = vec![PeerPlan { uid: one.clone(), ranges, reach: Reach::Link }];
            }
            let reach = Reach::Carried { here, remotes: other.remotes.clone() };
            own.peers = vec![PeerPlan { uid: two.clone(), ranges: second_ranges(), reach }];
            own.tables = vec![there.clone()];
            other.ranges = second_ranges();
            other.tables = vec![back.clone()];
        }
        Self { first, second }
    }

    /// What a host has nothing to do with is not made there.
    async fn ensure(&self, lab: &Lab) {
        for plans in [&self.first, &self.second] {
            for (host, plan) in lab.hosts.iter().zip(plans).filter(|(_, plan)| !plan.is_empty()) {
                host.driver.ensure(plan).await.expect("ensure");
            }
        }
    }

    async fn is_settled(&self, lab: &Lab) {
        for plans in [&self.first, &self.second] {
            for (host, plan) in lab.hosts.iter().zip(plans).filter(|(_, plan)| !plan.is_empty()) {
                is_settled(host, plan).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_reach_each_other_on_one_host_and_across() {
    let lab = Lab::new(3);
    let (one, two) = (uid(), uid());
    // The first VPC is on hosts 1 and 2, the second on hosts 2 and 3.
    let a = [lab.port(&["10.0.0.2", "fd00:1::2"], &[&one]), lab.port(&["10.0.0.3", "fd00:1::3"], &[&one])];
    let b = [
        second_port(&lab, &["10.9.0.2", "fd00:9::2"], &[&two]),
        second_port(&lab, &["10.9.0.3", "fd00:9::3"], &[&two]),
    ];
    let pair = Pair::new(
        &lab,
        [
            &[vec![a[0].clone()], vec![a[1].clone()], vec![]],
            &[vec![], vec![b[0].clone()], vec![b[1].clone()]],
        ],
        [&[group(&one, &[&a[0], &a[1]], anything())], &[group(&two, &[&b[0], &b[1]], anything())]],
    );
    pair.ensure(&lab).await;
    for from in &a {
        for to in &b {
            let name = format!("{} and {}", from.addresses[0], to.addresses[0]);
            assert!(connects(from, to, 80), "{name}");
            assert!(connects(to, from, 80), "{name}, back");
            let far = to.addresses[1];
            assert!(echo(sandbox(from), None, far), "{name} by IPv6");
        }
    }
    pair.is_settled(&lab).await;
    // A link that is torn is made again by either.
    let link = |host: usize, plan: &VpcPlan| {
        let namespace = crate::support::namespace_of(&lab.hosts[host], &plan.uid);
        let text = run(&namespace, "ip -br link");
        let name = text.lines().find(|line| line.starts_with('v')).expect("a link to the peer");
        run(&namespace, &format!("ip link del {}", name.split('@').next().unwrap()));
    };
    link(1, &pair.first[1]);
    assert!(!lab.hosts[1].driver.check(&pair.first[1]).await.unwrap().is_empty());
    assert!(!lab.hosts[1].driver.check(&pair.second[1]).await.unwrap().is_empty());
    pair.ensure(&lab).await;
    pair.is_settled(&lab).await;
    assert!(connects(&a[1], &b[0], 80), "on one host, again");
    // Peers no longer: nothing of it is left.
    let (mut first, mut second) = (pair.first[1].clone(), pair.second[1].clone());
    (first.peers, second.peers) = (Vec::new(), Vec::new());
    for plan in [&first, &second] {
        lab.hosts[1].driver.ensure(plan).await.expect("ensure without the peer");
    }
    for plan in [&first, &second] {
        is_settled(&lab.hosts[1], plan).await;
    }
    assert!(!connects(&a[1], &b[0], 80), "peers no longer");
    lab.hosts[1].driver.delete(&second.uid).await.expect("delete");
    is_settled(&lab.hosts[1], &first).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_filters_are_asked_and_a_route_is_needed() {
    let lab = Lab::new(2);
    let (one, two, closed) = (uid(), uid(), uid());
    let client = lab.port(&["10.0.0.2"], &[&one]);
    let shut = lab.port(&["10.0.0.3"], &[&closed]);
    let server = second_port(&lab, &["10.9.0.2"], &[&two]);
    // A group of the one names a group of the other as its peer.
    let ingress = vec![RulePlan { protocol: Protocol::Tcp(80, 80), peer: Peer::Group(one.clone()) }];
    let members = group(&one, &[&client], vec![]);
    let lets_nothing_out = GroupPlan { egress: vec![], ..group(&closed, &[&shut], vec![]) };
    let known = GroupPlan { egress: vec![], ..members.clone() };
    for server_host in [0, 1] {
        let mut places = vec![vec![], vec![]];
        places[server_host] = vec![server.clone()];
        let mut pair = Pair::new(
            &lab,
            [&[vec![client.clone(), shut.clone()], vec![]], &places],
            [
                &[members.clone(), lets_nothing_out.clone()],
                &[group(&two, &[&server], ingress.clone()), known.clone()],
            ],
        );
        pair.ensure(&lab).await;
        assert!(connects(&client, &server, 80), "a member of the peer's group");
        assert!(!connects(&client, &server, 81), "another port");
        assert!(!connects(&server, &client, 80), "nothing in");
        assert!(!connects(&shut, &server, 80), "nothing out");
        pair.is_settled(&lab).await;
        pair.second[server_host].tables.clear();
        lab.hosts[server_host].driver.ensure(&pair.second[server_host]).await.expect("ensure");
        assert!(!connects(&client, &server, 80), "no way back, no connection");
        for plans in [&pair.first, &pair.second] {
            for (host, plan) in lab.hosts.iter().zip(plans) {
                host.driver.delete(&plan.uid).await.expect("delete");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_speaks_for_another_across() {
    let lab = Lab::new(1);
    let (one, two) = (uid(), uid());
    let mut router = lab.port(&["10.0.0.2"], &[&one]);
    router.source_check = false;
    let other = second_port(&lab, &["10.9.0.2"], &[&two]);
    let neighbour = second_port(&lab, &["10.9.0.3"], &[&two]);
    let pair = Pair::new(
        &lab,
        [&[vec![router.clone()]], &[vec![other.clone(), neighbour.clone()]]],
        [&[group(&one, &[&router], anything())], &[group(&two, &[&other, &neighbour], anything())]],
    );
    pair.ensure(&lab).await;
    for extra in ["10.0.0.77", "10.9.0.3", "203.0.113.7"] {
        run(sandbox(&router), &format!("ip addr add {extra}/32 dev eth0"));
    }
    let before = received(&other);
    echo(sandbox(&router), Some(address("10.9.0.3")), address("10.9.0.2"));
    echo(sandbox(&router), Some(address("203.0.113.7")), address("10.9.0.2"));
    assert_eq!(received(&other), before, "no address of the peer's");
    echo(sandbox(&router), Some(address("10.0.0.77")), address("10.9.0.2"));
    assert!(received(&other) > before, "one of its own ranges");
    pair.is_settled(&lab).await;
}
