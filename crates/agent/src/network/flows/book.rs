//! From looks at flows to lines: what came to since the last line. The lines are those of AWS VPC flow logs, version 2:
//! version, account (the project), interface (the port), source, destination, their ports, protocol, packets, bytes,
//! start, end (Unix seconds), action, status. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use driver::{Count, Flow, FlowKey, FlowLook};

use super::names::Names;

/// Connections of one VPC that are followed at the same time.
const FLOWS_MAX: usize = 65_536;
/// Different flows that are refused within one window.
const REFUSED_MAX: usize = 4_096;

/// What was seen and is not written yet.
#[derive(Debug)]
pub(super) struct Book {
    /// When this window began, in Unix seconds.
    began: u64,
    /// `None` before the first look: what was there before has been counted before.
    known: Option<HashMap<(u32, FlowKey), Seen>>,
    /// By key, and whether the sender's rules refused it.
    refused: BTreeMap<(FlowKey, bool), Count>,
    lost: bool,
}

#[derive(Debug)]
struct Seen {
    flow: Flow,
    written: (Count, Count),
    is_there: bool,
}

impl Book {
    pub(super) fn new(now: u64) -> Self {
        Self { began: now, known: None, refused: BTreeMap::new(), lost: false }
    }

    /// Seconds since the window began.
    pub(super) fn age(&self, now: u64) -> u64 {
        now.saturating_sub(self.began)
    }

    pub(super) fn note(&mut self, look: FlowLook) {
        self.lost |= look.lost;
        let is_first = self.known.is_none();
        let known = self.known.get_or_insert_default();
        for seen in known.values_mut() {
            seen.is_there = false;
        }
        for flow in look.flows {
            let key = (flow.id, flow.key);
            if let Some(seen) = known.get_mut(&key) {
                (seen.flow, seen.is_there) = (flow, true);
            } else if known.len() < FLOWS_MAX {
                let written = if is_first { (flow.sent, flow.answered) } else { Default::default() };
                known.insert(key, Seen { flow, written, is_there: true });
            } else {
                self.lost = true;
            }
        }
        for packet in look.refused {
            let key = (packet.key, packet.leaving);
            if self.refused.len() >= REFUSED_MAX && !self.refused.contains_key(&key) {
                self.lost = true;
                continue;
            }
            let count = self.refused.entry(key).or_default();
            count.packets += 1;
            count.bytes += packet.bytes;
        }
    }

    /// The lines of the window, which ends here; the next one begins.
    pub(super) fn close(&mut self, names: &Names, now: u64) -> Vec<String> {
        let window = Window { names, began: self.began, now };
        let mut lines = Vec::new();
        if let Some(known) = &mut self.known {
            let mut all: Vec<&mut Seen> = known.values_mut().collect();
            all.sort_by_key(|seen| (seen.flow.key, seen.flow.id));
            for seen in all {
                let key = seen.flow.key;
                let written = std::mem::replace(&mut seen.written, (seen.flow.sent, seen.flow.answered));
                window.passed(key, beyond(seen.flow.sent, written.0), &mut lines);
                window.passed(reversed(key), beyond(seen.flow.answered, written.1), &mut lines);
            }
            known.retain(|_, seen| seen.is_there);
        }
        for ((key, leaving), count) in std::mem::take(&mut self.refused) {
            let at = if leaving { key.source } else { key.destination };
            lines.extend(window.line(at, key, count, "REJECT"));
        }
        if std::mem::take(&mut self.lost) {
            lines.extend(window.skipped());
        }
        self.began = now;
        lines
    }
}

struct Window<'a> {
    names: &'a Names,
    began: u64,
    now: u64,
}

impl Window<'_> {
    /// A line for each end that is recorded.
    fn passed(&self, key: FlowKey, count: Count, lines: &mut Vec<String>) {
        let is_own = self.names.own.contains(&key.source) || self.names.own.contains(&key.destination);
        if count.packets > 0 && !is_own {
            for at in [key.source, key.destination] {
                lines.extend(self.line(at, key, count, "ACCEPT"));
            }
        }
    }

    fn line(&self, at: IpAddr, key: FlowKey, count: Count, action: &str) -> Option<String> {
        let interface = self.names.interfaces.get(&at)?;
        let Self { names, began, now } = self;
        let FlowKey { protocol, source, source_port, destination, destination_port } = key;
        let Count { packets, bytes } = count;
        Some(format!(
            "2 {} {interface} {source} {destination} {source_port} {destination_port} {protocol} {packets} {bytes} \
             {began} {now} {action} OK",
            names.project
        ))
    }

    /// More than could be kept flowed by: there may be lines missing.
    fn skipped(&self) -> impl Iterator<Item = String> {
        let interfaces: BTreeSet<&String> = self.names.interfaces.values().collect();
        let (project, began, now) = (&self.names.project, self.began, self.now);
        interfaces
            .into_iter()
            .map(move |interface| format!("2 {project} {interface} - - - - - - - {began} {now} - SKIPDATA"))
    }
}

fn reversed(key: FlowKey) -> FlowKey {
    FlowKey {
        source: key.destination,
        source_port: key.destination_port,
        destination: key.source,
        destination_port: key.source_port,
        ..key
    }
}

fn beyond(now: Count, before: Count) -> Count {
    Count {
        packets: now.packets.saturating_sub(before.packets),
        bytes: now.bytes.saturating_sub(before.bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use driver::Refused;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 10));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 20));
    const GATEWAY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    fn names(recorded: &[(IpAddr, &str)]) -> Names {
        let mut names = Names::new("p", BTreeSet::from([GATEWAY]));
        names.interfaces = recorded.iter().map(|(address, name)| (*address, (*name).to_owned())).collect();
        names
    }

    fn key(source: IpAddr, destination: IpAddr) -> FlowKey {
        FlowKey { protocol: 6, source, source_port: 40000, destination, destination_port: 80 }
    }

    fn flow(key: FlowKey, sent: u64, answered: u64) -> Flow {
        let count = |packets| Count { packets, bytes: packets * 100 };
        Flow { id: 1, key, sent: count(sent), answered: count(answered) }
    }

    fn look(flows: &[Flow]) -> FlowLook {
        FlowLook { flows: flows.to_vec(), ..FlowLook::default() }
    }

    #[test]
    fn each_window_says_what_came_to() {
        let (mut book, names) = (Book::new(100), names(&[(A, "a-0")]));
        book.note(look(&[]));
        book.note(look(&[flow(key(A, B), 3, 2)]));
        let there = "2 p a-0 10.0.0.10 10.0.0.20 40000 80 6 3 300 100 160 ACCEPT OK";
        let back = "2 p a-0 10.0.0.20 10.0.0.10 80 40000 6 2 200 100 160 ACCEPT OK";
        assert_eq!(book.close(&names, 160), [there, back]);
        book.note(look(&[flow(key(A, B), 4, 2)]));
        assert_eq!(
            book.close(&names, 220),
            ["2 p a-0 10.0.0.10 10.0.0.20 40000 80 6 1 100 160 220 ACCEPT OK"],
            "only what is new"
        );
        // One that ends between two looks is told once more, with its last counts, and then forgotten.
        book.note(look(&[flow(key(A, B), 5, 2)]));
        book.note(look(&[]));
        assert_eq!(book.close(&names, 280).len(), 1);
        assert_eq!(book.close(&names, 340), Vec::<String>::new());
        assert_eq!(book.known.as_ref().map(HashMap::len), Some(0));
    }

    #[test]
    fn both_ends_are_told_when_both_are_recorded() {
        let (mut book, names) = (Book::new(0), names(&[(A, "a-0"), (B, "b-0")]));
        book.note(look(&[]));
        book.note(look(&[flow(key(A, B), 1, 1), flow(key(A, GATEWAY), 9, 9)]));
        let lines = book.close(&names, 60);
        let interfaces: Vec<&str> = lines.iter().filter_map(|line| line.split(' ').nth(2)).collect();
        assert_eq!(interfaces, ["a-0", "b-0", "b-0", "a-0"], "and nothing of the gateway: {lines:?}");
    }

    #[test]
    fn what_was_there_before_is_not_told_anew() {
        let (mut book, names) = (Book::new(0), names(&[(A, "a-0")]));
        book.note(look(&[flow(key(A, B), 1000, 1000)]));
        assert_eq!(book.close(&names, 60), Vec::<String>::new());
    }

    #[test]
    fn refusals_are_told_where_they_happened() {
        let (mut book, names) = (Book::new(0), names(&[(A, "a-0"), (B, "b-0")]));
        let refused = |leaving| Refused { key: key(A, B), bytes: 60, leaving };
        let refused = vec![refused(true), refused(true), refused(false)];
        book.note(FlowLook { refused, ..FlowLook::default() });
        let tuple = "10.0.0.10 10.0.0.20 40000 80 6";
        let expected =
            [format!("2 p b-0 {tuple} 1 60 0 60 REJECT OK"), format!("2 p a-0 {tuple} 2 120 0 60 REJECT OK")];
        assert_eq!(book.close(&names, 60), expected);
    }

    #[test]
    fn what_is_too_much_is_said_to_be_missing() {
        let (mut book, names) = (Book::new(0), names(&[(A, "a-0")]));
        let refused = (0..=u16::try_from(REFUSED_MAX).unwrap()).map(|port| Refused {
            key: FlowKey { destination_port: port, ..key(A, B) },
            bytes: 60,
            leaving: true,
        });
        book.note(FlowLook { refused: refused.collect(), ..FlowLook::default() });
        let lines = book.close(&names, 60);
        assert_eq!(lines.len(), REFUSED_MAX + 1);
        assert_eq!(lines.last().unwrap(), "2 p a-0 - - - - - - - 0 60 - SKIPDATA");
    }
}
