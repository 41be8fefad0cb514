//! Flows of ports that ask for it: what passed with its counts, what was refused and by whom.

use std::net::IpAddr;

use driver::{Count, FlowKey, FlowLook, NetworkDriver, Peer, Protocol, RulePlan};

use crate::support::{Lab, PATIENCE, address, connects, echo, ensure_all, group, pings, plans, sandbox, uid};

const TCP: u8 = 6;
const ICMP: u8 = 1;

/// Between two addresses, without ports.
fn between(look: &FlowLook, protocol: u8, from: &str, to: &str) -> Vec<(FlowKey, Count, Count)> {
    let ends = (address(from), address(to));
    let is_it = |key: &FlowKey| key.protocol == protocol && (key.source, key.destination) == ends;
    look.flows.iter().filter(|flow| is_it(&flow.key)).map(|f| (f.key, f.sent, f.answered)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_is_counted_and_what_does_not_is_noted() {
    let lab = Lab::new(1);
    let (open, closed) = (uid(), uid());
    let mut server = lab.port(&["10.0.0.2", "fd00:1::2"], &[&open]);
    let client = lab.port(&["10.0.0.3", "fd00:1::3"], &[&open]);
    let mut shut = lab.port(&["10.0.0.4"], &[&closed]);
    (server.logs_flows, shut.logs_flows) = (true, true);
    let members = Peer::Group(open.clone());
    let ingress = vec![
        RulePlan { protocol: Protocol::Tcp(80, 80), peer: members.clone() },
        RulePlan { protocol: Protocol::Icmp { kind: None, code: None }, peer: members },
    ];
    let mut groups = [group(&open, &[&server, &client], ingress), group(&closed, &[&shut], vec![])];
    groups[1].egress.clear();
    let ports = vec![server.clone(), client.clone(), shut.clone()];
    let mut all = plans(&lab, 91, &[ports], &groups);
    ensure_all(&lab, &all).await;
    let driver = &lab.hosts[0].driver;
    let mut watch = driver.watch_flows(&all[0].uid).await.expect("watch");
    assert!(connects(&client, &server, 80) && pings(sandbox(&client), "fd00:1::2"));
    assert!(!connects(&client, &server, 81), "no rule");
    assert!(!echo(sandbox(&shut), None, address("10.0.0.3")), "may not leave");
    // The kernel hands on what it logged a moment later.
    let (began, mut refused, mut last) = (std::time::Instant::now(), Vec::new(), FlowLook::default());
    while began.elapsed() < PATIENCE {
        last = watch.look().expect("look");
        refused.append(&mut last.refused);
        let seen = |leaving| refused.iter().any(|packet: &driver::Refused| packet.leaving == leaving);
        if seen(true) && seen(false) {
            break;
        }
        std::thread::yield_now();
    }
    assert!(!last.lost);
    let [(key, sent, answered)] = between(&last, TCP, "10.0.0.3", "10.0.0.2")[..] else {
        panic!("{:?}", last.flows)
    };
    assert_eq!(key.destination_port, 80);
    assert!(sent.packets >= 3 && answered.packets >= 2 && sent.bytes > 100, "{sent:?} {answered:?}");
    assert_eq!(between(&last, 58, "fd00:1::3", "fd00:1::2").len(), 1, "IPv6 as well: {:?}", last.flows);
    let ends = |packet: &driver::Refused| (packet.key.source, packet.key.destination, packet.key.protocol);
    let from = |text: &str| -> IpAddr { address(text) };
    for packet in &refused {
        let expected = if packet.leaving {
            (from("10.0.0.4"), from("10.0.0.3"), ICMP)
        } else {
            (from("10.0.0.3"), from("10.0.0.2"), TCP)
        };
        assert_eq!(ends(packet), expected, "{packet:?}");
        assert!(packet.leaving || packet.key.destination_port == 81 && packet.bytes >= 40, "{packet:?}");
    }
    assert!(refused.len() >= 2, "{refused:?}");

    // Switched off, nothing is noted any more.
    all[0].ports.iter_mut().for_each(|port| port.logs_flows = false);
    ensure_all(&lab, &all).await;
    assert_eq!(driver.check(&all[0]).await.unwrap(), []);
    assert!(!connects(&client, &server, 82));
    let after = watch.look().expect("look").refused;
    assert!(after.iter().all(|packet| packet.key.destination_port != 82), "{after:?}");
    assert!(driver.watch_flows(&uid()).await.is_err(), "of a network that is not here");
}
