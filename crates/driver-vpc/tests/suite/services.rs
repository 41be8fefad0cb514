//! What guests may ask of the namespace itself, and how an answerer knows the port that asks.

use std::fs::File;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

use driver::{EndpointAccess, EndpointPlan, GroupPlan, NetworkDriver, Peer, Protocol, RulePlan};
use nix::sys::socket::{getsockopt, sockopt};
use sys::namespace::within_network;

use crate::support::{Lab, PATIENCE, address, echo, ensure_all, group, plans, sandbox, uid};

/// Listens in `server` and connects from `client`; tells the mark of the accepted connection.
fn mark_of(server: &Path, client: &Path, to: SocketAddr) -> Option<u32> {
    let (server, client) = (File::open(server).unwrap(), File::open(client).unwrap());
    let any: IpAddr = if to.is_ipv4() { address("0.0.0.0") } else { address("::") };
    let listener = within_network(Some(&server), || TcpListener::bind((any, to.port()))).unwrap();
    let stream = within_network(Some(&client), || TcpStream::connect_timeout(&to, PATIENCE)).ok()?;
    let (accepted, _) = listener.accept().unwrap();
    drop(stream);
    Some(getsockopt(&accepted, sockopt::Mark).unwrap())
}

fn hears(server: &Path, client: &Path, to: SocketAddr) -> bool {
    let (server, client) = (File::open(server).unwrap(), File::open(client).unwrap());
    let any: IpAddr = if to.is_ipv4() { address("0.0.0.0") } else { address("::") };
    let listener = within_network(Some(&server), || UdpSocket::bind((any, to.port()))).unwrap();
    listener.set_read_timeout(Some(Duration::from_millis(250))).unwrap();
    let sender = within_network(Some(&client), || UdpSocket::bind((any, 0))).unwrap();
    (0..6).any(|_| sender.send_to(b"?", to).is_ok() && listener.recv(&mut [0; 8]).is_ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn services_know_the_port_and_nothing_else_is_answered() {
    let lab = Lab::new(2);
    let closed = uid();
    let a = lab.port(&["10.0.0.2", "fd00:1::2"], &[]);
    let b = lab.port(&["10.0.0.3", "fd00:1::3"], &[]);
    let far = lab.port(&["10.0.0.9"], &[&closed]);
    let groups = [group(&closed, &[&far], vec![])];
    let all = plans(&lab, 81, &[vec![a.clone(), b.clone()], vec![far.clone()]], &groups);
    ensure_all(&lab, &all).await;
    let links = lab.hosts[0].driver.ensure(&all[0]).await.expect("ensure");
    let inside = &links[0].namespace;
    for (to, port) in [("169.254.169.254", 80), ("fd00:ec2::254", 80), ("10.0.0.1", 53), ("fd00:1::1", 53)] {
        let to = SocketAddr::new(address(to), port);
        assert_eq!(mark_of(inside, sandbox(&a), to), Some(links[0].index), "{to}");
        assert_eq!(mark_of(inside, sandbox(&b), to), Some(links[1].index), "{to}");
    }
    for to in ["169.254.169.254:443", "10.0.0.1:80", "10.0.0.1:22"] {
        assert_eq!(mark_of(inside, sandbox(&a), to.parse().unwrap()), None, "{to}");
    }
    for (to, heard) in [
        ("10.0.0.1:67", true),
        ("10.0.0.1:53", true),
        ("[fd00:1::1]:547", true),
        ("[fd00:1::1]:53", true),
        ("10.0.0.1:123", false),
        ("169.254.169.254:53", false),
    ] {
        assert_eq!(hears(inside, sandbox(&a), to.parse().unwrap()), heard, "{to}");
    }
    assert!(!echo(sandbox(&a), None, address("10.0.0.1")), "the gateway answers no echo");
    // From another host the services of this one are out of reach.
    let to = SocketAddr::new(address("10.0.0.1"), 53);
    assert_eq!(mark_of(inside, sandbox(&far), to), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clouds_own_api_is_reached_by_who_has_a_way_to_it() {
    let lab = Lab::new(2);
    let (open, closed) = (uid(), uid());
    let routed = lab.port(&["10.0.0.2", "fd00:1::2"], &[&open]);
    let unrouted = lab.port(&["10.0.0.3", "fd00:1::3"], &[&open]);
    let kept_in = lab.port(&["10.0.0.4"], &[&closed]);
    let far = lab.port(&["10.0.0.9"], &[&open]);
    let guards = uid();
    let of_the_open = RulePlan { protocol: Protocol::Tcp(443, 443), peer: Peer::Group(open.clone()) };
    let groups = [
        group(&open, &[&routed, &unrouted, &far], vec![]),
        GroupPlan { egress: Vec::new(), ..group(&closed, &[&kept_in], vec![]) },
        group(&guards, &[], vec![of_the_open]),
    ];
    let own = vec![routed.clone(), unrouted.clone(), kept_in.clone()];
    let mut all = plans(&lab, 82, &[own, vec![far.clone()]], &groups);
    let gateway = EndpointPlan {
        uid: uid(),
        addresses: vec![address("169.254.171.3")],
        access: EndpointAccess::Ports(vec![routed.uid.clone(), kept_in.uid.clone(), far.uid.clone()]),
    };
    let interface = EndpointPlan {
        uid: uid(),
        addresses: vec![address("10.0.0.7"), address("fd00:1::7")],
        access: EndpointAccess::Groups(vec![guards]),
    };
    for plan in &mut all {
        plan.endpoints = vec![gateway.clone(), interface.clone()];
    }
    ensure_all(&lab, &all).await;
    let here = lab.hosts[0].driver.ensure(&all[0]).await.expect("ensure");
    let there = lab.hosts[1].driver.ensure(&all[1]).await.expect("ensure");
    let reached = |inside: &Path, port, to: &str| mark_of(inside, sandbox(port), to.parse().unwrap());
    let (near, remote) = (&here[0].namespace, &there[0].namespace);
    for (port, to, link) in [
        (&routed, "169.254.171.3:443", Some(&here[0])),
        (&unrouted, "169.254.171.3:443", None),
        (&kept_in, "169.254.171.3:443", None),
        (&routed, "169.254.171.3:80", None),
        (&routed, "10.0.0.7:443", Some(&here[0])),
        (&routed, "[fd00:1::7]:443", Some(&here[0])),
        (&unrouted, "10.0.0.7:443", Some(&here[1])),
        (&kept_in, "10.0.0.7:443", None),
        (&routed, "10.0.0.7:80", None),
    ] {
        assert_eq!(reached(near, port, to), link.map(|link| link.index), "{to}");
    }
    for to in ["169.254.171.3:443", "10.0.0.7:443"] {
        assert_eq!(reached(remote, &far, to), Some(there[0].index), "every host has it: {to}");
    }
    all[0].endpoints[0].access = EndpointAccess::Ports(Vec::new());
    all[0].endpoints.truncate(1);
    lab.hosts[0].driver.ensure(&all[0]).await.expect("ensure");
    for to in ["169.254.171.3:443", "10.0.0.7:443", "[fd00:1::7]:443"] {
        assert_eq!(reached(near, &routed, to), None, "the way is gone: {to}");
    }
    assert_eq!(lab.hosts[0].driver.check(&all[0]).await.expect("check"), []);
}
