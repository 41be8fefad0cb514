//! What security groups let through, and what nobody may send.

use driver::{NetworkDriver, Peer, PortPlan, Protocol, RulePlan, VpcPlan};

use crate::support::{
    Lab, address, anything, connects, echo, ensure_all, group, pings, plans, received, run, sandbox, uid,
};

#[tokio::test(flavor = "multi_thread")]
async fn only_what_a_rule_lets_through() {
    let lab = Lab::new(2);
    let (web, client, lone) = (uid(), uid(), uid());
    let server = lab.port(&["10.0.0.2"], &[&web]);
    let near = lab.port(&["10.0.0.3"], &[&client]);
    let far = lab.port(&["10.0.0.4"], &[&client]);
    let stranger = lab.port(&["10.0.0.5"], &[&lone]);
    let none = lab.port(&["10.0.0.6"], &[]);
    let ingress = vec![
        RulePlan { protocol: Protocol::Tcp(80, 90), peer: Peer::Group(client.clone()) },
        RulePlan {
            protocol: Protocol::Icmp { kind: Some(8), code: None },
            peer: Peer::Networks(vec!["10.0.0.5/32".parse().unwrap(), "10.9.0.0/16".parse().unwrap()]),
        },
    ];
    let mut groups = vec![
        group(&web, &[&server], ingress),
        group(&client, &[&near, &far], vec![]),
        group(&lone, &[&stranger], vec![]),
    ];
    let ports = [vec![server.clone(), near.clone(), none.clone()], vec![far.clone(), stranger.clone()]];
    let mut all = plans(&lab, 41, &ports, &groups);
    ensure_all(&lab, &all).await;
    assert!(connects(&near, &server, 80) && connects(&far, &server, 90), "members, near and far");
    assert!(!connects(&near, &server, 91), "another port");
    assert!(!connects(&stranger, &server, 80) && !connects(&none, &server, 80), "no member");
    assert!(!connects(&server, &near, 80), "nothing in, though answers went in");
    assert!(pings(sandbox(&stranger), "10.0.0.2"), "of a list of networks");
    assert!(!pings(sandbox(&near), "10.0.0.2"), "not of the list");

    // A member more is an element more: no rule is written.
    let handles = || rules_of(&lab, &all[0].uid);
    let before = handles();
    groups[1].members.push(stranger.addresses[0]);
    for plan in &mut all {
        plan.groups.clone_from(&groups);
    }
    ensure_all(&lab, &all).await;
    assert!(connects(&stranger, &server, 80), "a member now");
    assert_eq!(rules_of(&lab, &all[0].uid), before);
}

/// Rules and their handles of a VPC on the first host.
fn rules_of(lab: &Lab, vpc: &model::Uid) -> Vec<String> {
    let namespace = lab.hosts[0].options.run_dir.join("vpcs").join(vpc.as_str()).join("net");
    let text = run(&namespace, "nft -a list table inet corten");
    text.lines()
        .filter(|line| line.contains("# handle") && !line.contains("set "))
        .map(str::to_owned)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_speaks_for_another() {
    let lab = Lab::new(1);
    let open = uid();
    let a = lab.port(&["10.0.0.2"], &[&open]);
    let b = lab.port(&["10.0.0.3"], &[&open]);
    let mut router = lab.port(&["10.0.0.4"], &[&open]);
    router.source_check = false;
    let members = group(&open, &[&a, &b, &router], anything());
    let ports = vec![a.clone(), b.clone(), router.clone()];
    let plan = plans(&lab, 51, &[ports], &[members]).remove(0);
    lab.hosts[0].driver.ensure(&plan).await.expect("ensure");
    // The route back leads to the owner: what passes shows where it arrives, not in an answer.
    run(sandbox(&a), "ip addr add 10.0.0.77/32 dev eth0");
    run(sandbox(&router), "ip addr add 10.0.0.78/32 dev eth0");
    let before = received(&b);
    assert_eq!(spoofed(&lab, &plan, [&a, &b]).await, [0, 0]);
    echo(sandbox(&a), Some(address("10.0.0.77")), address("10.0.0.3"));
    assert_eq!(received(&b), before, "another address is dropped");
    let [by_address, 0] = spoofed(&lab, &plan, [&a, &b]).await else { panic!("b sent nothing wrong") };
    assert!(by_address > 0, "and counted");
    echo(sandbox(&router), Some(address("10.0.0.78")), address("10.0.0.3"));
    assert!(received(&b) > before, "but from a port that is not checked");
    assert!(pings(sandbox(&a), "10.0.0.3"), "its own address");
    run(sandbox(&a), "ip link set eth0 address 02:00:00:00:00:99");
    assert!(!pings(sandbox(&a), "10.0.0.3"), "another MAC address");
    let counts = spoofed(&lab, &plan, [&a, &router]).await;
    assert!(counts[0] > by_address && counts[1] == 0, "{counts:?}");
    lab.hosts[0].driver.ensure(&plan).await.expect("ensure");
    assert!(pings(sandbox(&a), "10.0.0.3"), "put right");
}

/// Packets of ports that they should not have sent.
async fn spoofed(lab: &Lab, plan: &VpcPlan, ports: [&PortPlan; 2]) -> [u64; 2] {
    let counters = lab.hosts[0].driver.counters(&plan.uid).await.expect("counters");
    ports.map(|port| counters.iter().find(|(uid, _)| *uid == port.uid).expect("a port").1.spoofed_packets)
}
