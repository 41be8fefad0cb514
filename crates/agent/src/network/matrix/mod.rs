//! The trace against the kernel: random groups, rules, ports and packets. What the agent plans is made on two lab
//! hosts, every packet is sent, and the kernel's verdict must be the trace's. Needs root.
//!
//! The seed is printed with a failure; `CORTEN_SEED` repeats it.

mod random;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use driver::{Link, NetworkDriver, PortPlan, VpcPlan};
use driver_vpc::lab::{Lab, sandbox};
use model::network::{Address, FloatingIp, Port, Vpc};
use model::{Object, Spec};
use trace::{Objects, Packet, Stage, Trace};

use self::random::{HOSTS, Random};
use self::wire::Ear;
use super::plan::View;

/// Rules change so many times, or until the time is over.
const ROUNDS: usize = 50;
const TIME: Duration = Duration::from_secs(12);
const PACKETS: usize = 200;
/// A packet that should arrive may be lost while a link is new: it is sent again after this.
const AGAIN: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(4);
/// Marks of packets: below those that the kernel chooses for tunnels.
const FIRST_MARK: u16 = 20_000;

/// What people outside have, and what is not theirs to have.
const OUTSIDE: &str = "192.0.2.254";

/// A packet, what the trace says of it, and how it is told from others.
struct Case {
    sender: String,
    packet: Packet,
    trace: Trace,
    mark: u16,
}

impl Case {
    /// Where it should arrive.
    fn place(&self) -> Option<String> {
        if !self.trace.allowed {
            return None;
        }
        let port = self.trace.destination.port.as_ref().map(|port| port.name.clone());
        Some(port.unwrap_or_else(|| OUTSIDE.into()))
    }
}

struct Site {
    lab: Lab,
    cards: BTreeMap<String, PortPlan>,
    ears: BTreeMap<String, Ear>,
}

impl Site {
    /// The plan of a host, as its agent makes it.
    fn plan(&self, objects: &Objects, host: usize) -> VpcPlan {
        let here = |port: &&Port| port.status.host == HOSTS[host];
        let link = |port: &Port| {
            let link: Link = self.cards[&port.metadata.name].link.clone();
            (port.metadata.name.clone(), link)
        };
        let view = View {
            subnets: shared(&objects.subnets),
            ports: shared(&objects.ports),
            groups: shared(&objects.groups),
            lists: shared(&objects.lists),
            acls: shared(&objects.acls),
            gateways: shared(&objects.gateways),
            floating: shared(&objects.floating),
            links: objects.ports.iter().filter(here).map(link).collect(),
            host: HOSTS[host].into(),
            underlay: Some(self.lab.hosts[host].underlay),
            closed: self.lab.hosts.iter().map(|host| host.underlay).collect(),
            ..View::default()
        };
        view.plan(&objects.vpcs[0])
    }

    async fn program(&self, objects: &Objects) {
        for (number, machine) in self.lab.hosts.iter().enumerate() {
            let plan = self.plan(objects, number);
            machine.driver.ensure(&plan).await.expect("ensure");
            assert_eq!(machine.driver.check(&plan).await.expect("check"), [], "the kernel has the plan");
        }
    }

    /// Ears are opened once the ports' cards are there.
    fn listen(&mut self) {
        let places = self.cards.iter().map(|(name, card)| (name.clone(), sandbox(card).to_owned()));
        let outside: (String, PathBuf) = (OUTSIDE.into(), self.lab.outside());
        self.ears = places.chain([outside]).map(|(name, place)| (name, Ear::open(&place))).collect();
    }

    fn send(&self, case: &Case) {
        let source = case.trace.source.address.expect("only packets with a source are sent");
        let bytes = wire::packet(source, case.packet.destination, case.packet.traffic, case.mark);
        self.ears[&case.sender].send(&bytes, case.packet.destination);
    }

    /// Notes which packets have arrived where, as marks; a sender does not hear itself.
    fn hear(&self, cases: &BTreeMap<u16, Case>, heard: &mut BTreeMap<u16, BTreeSet<String>>) {
        for (place, ear) in &self.ears {
            let own: Vec<IpAddr> = match self.cards.get(place) {
                Some(card) => card.addresses.clone(),
                None => vec![OUTSIDE.parse().expect("an address")],
            };
            for mark in ear.marks(&own) {
                if cases.get(&mark).is_some_and(|case| case.sender != *place) {
                    heard.entry(mark).or_default().insert(place.clone());
                }
            }
        }
    }
}

fn shared<S: Spec>(objects: &[Object<S>]) -> Vec<Arc<Object<S>>> {
    objects.iter().cloned().map(Arc::new).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_does_what_the_trace_says() {
    let seed = std::env::var("CORTEN_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) << 20 ^ now());
    let mut random = Random::new(seed);
    let mut site = Site { lab: Lab::new(2), cards: BTreeMap::new(), ears: BTreeMap::new() };
    let ports = random::ports();
    for port in &ports {
        let addresses: Vec<String> = port.spec.addresses.iter().map(Address::to_string).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        site.cards.insert(port.metadata.name.clone(), site.lab.port(&addresses, &[]));
    }
    let vpc: Vpc = random::vpc();
    let (mut cases, mut heard) = (BTreeMap::new(), BTreeMap::new());
    let (began, mut passed) = (Instant::now(), 0);
    for round in 0..ROUNDS {
        if began.elapsed() > TIME {
            break;
        }
        let objects = random.objects(&vpc, &ports);
        site.program(&objects).await;
        if site.ears.is_empty() {
            site.listen();
        }
        let new = random_cases(&mut random, &objects, cases.len());
        passed += new.iter().filter(|case| case.trace.allowed).count();
        let marks: Vec<u16> = new.iter().map(|case| case.mark).collect();
        cases.extend(new.into_iter().map(|case| (case.mark, case)));
        send_all(&site, &cases, &marks, &mut heard);
        judge(&cases, &heard, &format!("seed {seed}, round {round}"));
    }
    site.hear(&cases, &mut heard);
    judge(&cases, &heard, &format!("seed {seed}, at the end"));
    assert!(passed > cases.len() / 20, "seed {seed}: only {passed} of {} packets may pass", cases.len());
    println!("seed {seed}: {} packets, {passed} let through", cases.len());
}

/// Some of the clock's bits: another seed for every run.
fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map(|since| u64::from(since.subsec_nanos())).unwrap_or_default()
}

fn random_cases(random: &mut Random, objects: &Objects, known: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    while cases.len() < PACKETS {
        let (sender, packet) = random.packet(objects);
        let trace = trace::trace(objects, sender, &packet);
        // What the network itself answers reaches no guest; what has no source cannot be sent; and what goes back
        // to its sender is not told from what he sends.
        let unsent = trace.steps.iter().any(|step| step.stage == Stage::Service)
            || trace.source.address.is_none_or(|source| source.is_ipv4() != packet.destination.is_ipv4())
            || trace.destination.port.as_ref().is_some_and(|port| port.name == sender.metadata.name)
            || is_own_floating(objects, sender, packet.destination);
        if !unsent {
            let mark = FIRST_MARK + u16::try_from(known + cases.len()).expect("few packets");
            cases.push(Case { sender: sender.metadata.name.clone(), packet, trace, mark });
        }
    }
    cases
}

fn is_own_floating(objects: &Objects, sender: &Port, address: IpAddr) -> bool {
    let own =
        |f: &FloatingIp| f.spec.port == sender.metadata.name && f.spec.address == Some(Address(address));
    objects.floating.iter().any(own)
}

/// Sends packets, and again those that should have arrived and have not.
fn send_all(
    site: &Site,
    cases: &BTreeMap<u16, Case>,
    marks: &[u16],
    heard: &mut BTreeMap<u16, BTreeSet<String>>,
) {
    for mark in marks {
        site.send(&cases[mark]);
    }
    let (began, mut sent) = (Instant::now(), Instant::now());
    while began.elapsed() < PATIENCE {
        site.hear(cases, heard);
        let missing: Vec<&Case> = marks
            .iter()
            .map(|mark| &cases[mark])
            .filter(|case| case.trace.allowed && !heard.contains_key(&case.mark))
            .collect();
        if missing.is_empty() {
            return;
        }
        if sent.elapsed() > AGAIN {
            for case in missing {
                site.send(case);
            }
            sent = Instant::now();
        }
        std::thread::yield_now();
    }
}

fn judge(cases: &BTreeMap<u16, Case>, heard: &BTreeMap<u16, BTreeSet<String>>, when: &str) {
    for case in cases.values() {
        let found = heard.get(&case.mark).cloned().unwrap_or_default();
        let wanted: BTreeSet<String> = case.place().into_iter().collect();

        assert_eq!(found, wanted, "{when}: {:?}\n{}", case.packet, case.trace);
    }
}
