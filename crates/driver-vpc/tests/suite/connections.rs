//! Connections outlive every change that has nothing against them, and no other.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

use driver::{NetworkDriver, Peer, Protocol, RulePlan};
use sys::namespace::within_network;

use crate::support::{Lab, address, anything, ensure_all, group, pings, plans, run, sandbox, uid, uplink};

/// How long a word may take, also one that should not come.
const PATIENCE: Duration = Duration::from_secs(2);

struct Talk {
    one: TcpStream,
    other: TcpStream,
}

impl Talk {
    fn begin(from: &Path, to: SocketAddr, server: &Path, listen: SocketAddr) -> Self {
        let (client, server) = (File::open(from).unwrap(), File::open(server).unwrap());
        let listener = within_network(Some(&server), || TcpListener::bind(listen)).unwrap();
        let one = within_network(Some(&client), || TcpStream::connect_timeout(&to, PATIENCE)).unwrap();
        let (other, _) = listener.accept().unwrap();
        other.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { one, other }
    }

    /// Whether a word comes through.
    fn speak(&mut self) -> bool {
        self.one.write_all(b"x").is_ok() && self.other.read_exact(&mut [0]).is_ok()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn they_outlive_what_still_allows_them_and_end_with_their_rule() {
    let lab = Lab::new(2);
    let open = uid();
    let a = lab.port(&["10.0.0.2"], &[&open]);
    let b = lab.port(&["10.0.0.3"], &[&open]);
    let ports = [vec![a.clone()], vec![b.clone()]];
    let mut all = plans(&lab, 82, &ports, &[group(&open, &[&a, &b], anything())]);
    ensure_all(&lab, &all).await;
    let to: SocketAddr = "10.0.0.3:80".parse().unwrap();
    let mut talk = Talk::begin(sandbox(&a), to, sandbox(&b), to);
    assert!(talk.speak(), "at first");
    for plan in &mut all {
        plan.groups[0].ingress =
            vec![RulePlan { protocol: Protocol::Tcp(80, 80), peer: Peer::Group(open.clone()) }];
    }
    ensure_all(&lab, &all).await;
    assert!(talk.speak(), "by another rule");
    for plan in &mut all {
        plan.ports[0].rate_bits = Some(50_000_000);
        plan.uplink = Some(uplink());
    }
    ensure_all(&lab, &all).await;
    assert!(talk.speak(), "with a rate and an uplink");
    for plan in &mut all {
        plan.uplink = None;
    }
    ensure_all(&lab, &all).await;
    assert!(talk.speak(), "without the uplink");
    for plan in &mut all {
        plan.groups[0].ingress.clear();
    }
    ensure_all(&lab, &all).await;
    assert!(!talk.speak(), "no rule lets it in any longer");
    assert!(!crate::support::connects(&a, &b, 81), "nothing new");
}

/// Datagrams from a port of one sandbox's to another's, which never answers.
struct Stream {
    one: UdpSocket,
    other: UdpSocket,
}

impl Stream {
    fn begin(from: (&Path, SocketAddr), to: (&Path, SocketAddr)) -> Self {
        let bind = |(place, address): (&Path, SocketAddr)| {
            within_network(Some(&File::open(place).unwrap()), || UdpSocket::bind(address)).unwrap()
        };
        let (one, other) = (bind(from), bind(to));
        one.connect(to.1).unwrap();
        other.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { one, other }
    }

    /// Whether a word comes through.
    fn speak(&self) -> bool {
        self.one.send(b"x").is_ok() && self.other.recv(&mut [0]).is_ok()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_nobody_answers_ends_with_its_rule_and_takes_no_stranger_along() {
    let lab = Lab::new(2);
    let open = uid();
    let a = lab.port(&["10.0.0.2"], &[&open]);
    let b = lab.port(&["10.0.0.3"], &[&open]);
    let thief = lab.port(&["10.0.0.4"], &[&open]);
    let ports = [vec![a.clone(), thief.clone()], vec![b.clone()]];
    let mut all = plans(&lab, 84, &ports, &[group(&open, &[&a, &b, &thief], anything())]);
    ensure_all(&lab, &all).await;
    let from: SocketAddr = "10.0.0.2:4000".parse().unwrap();
    let to: SocketAddr = "10.0.0.3:5000".parse().unwrap();
    let stream = Stream::begin((sandbox(&a), from), (sandbox(&b), to));
    // A new link loses what is sent before the kernel has said that it carries.
    assert!(pings(sandbox(&a), "10.0.0.3"), "at first");
    assert!(stream.speak(), "by the rules");
    assert!(stream.speak(), "by the connection");
    // The same connection to the last bit, by another port's link.
    run(sandbox(&thief), "ip addr add 10.0.0.2/32 dev eth0");
    let place = File::open(sandbox(&thief)).unwrap();
    let stolen = within_network(Some(&place), || UdpSocket::bind(from)).unwrap();
    stolen.send_to(b"x", to).unwrap();
    assert!(stream.other.recv(&mut [0]).is_err(), "who sends as another is not let through");
    assert!(stream.speak(), "and does the owner no harm");
    for plan in &mut all {
        plan.groups[0].ingress =
            vec![RulePlan { protocol: Protocol::Udp(5000, 5001), peer: Peer::Group(open.clone()) }];
    }
    ensure_all(&lab, &all).await;
    assert!(stream.speak(), "by another rule");
    // Only the sender's host looks at what leaves, only the receiver's at what comes in.
    let before = all[0].clone();
    all[0].groups[0].egress.clear();
    ensure_all(&lab, &all).await;
    assert!(!stream.speak(), "no rule lets it out any longer");
    all[0] = before;
    ensure_all(&lab, &all).await;
    assert!(stream.speak(), "out again");
    all[1].groups[0].ingress.clear();
    ensure_all(&lab, &all).await;
    assert!(!stream.speak(), "no rule lets it in any longer");
}

#[tokio::test(flavor = "multi_thread")]
async fn those_of_a_floating_address_do_not_stay_with_its_last_port() {
    let lab = Lab::new(1);
    let open = uid();
    let a = lab.port(&["10.0.0.2"], &[&open]);
    let b = lab.port(&["10.0.0.3"], &[&open]);
    let members = group(&open, &[&a, &b], anything());
    let mut plan = plans(&lab, 83, &[vec![a.clone(), b]], &[members]).remove(0);
    let front = address("192.0.2.77");
    plan.uplink = Some(uplink());
    plan.uplink.as_mut().unwrap().floating = vec![(front, address("10.0.0.2"))];
    let driver = &lab.hosts[0].driver;
    driver.ensure(&plan).await.expect("ensure");
    let to = SocketAddr::new(front, 80);
    let mut talk = Talk::begin(&lab.outside(), to, sandbox(&a), "10.0.0.2:80".parse().unwrap());
    assert!(talk.speak());
    driver.ensure(&plan).await.expect("ensure again");
    assert!(talk.speak(), "nothing changed");
    plan.uplink.as_mut().unwrap().floating = vec![(front, address("10.0.0.3"))];
    driver.ensure(&plan).await.expect("ensure");
    assert!(!talk.speak(), "the address is another port's");
}
