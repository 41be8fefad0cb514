//! Whose flows are recorded, and how lines name them. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Whose addresses are recorded, and under which names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) project: String,
    /// Names of the ports that are recorded, by their addresses.
    pub(super) interfaces: BTreeMap<IpAddr, String>,
    /// Gateways of the VPC: names and addresses asked there are not recorded.
    pub(super) own: BTreeSet<IpAddr>,
    /// What else lines are kept with, by the port's name: it may be gone when they are read.
    pub(super) notes: BTreeMap<String, String>,
    /// Addresses of ports that are recorded no more: what they said is still to be told, with the window that they
    /// left in.
    departed: BTreeSet<IpAddr>,
}

impl Names {
    /// Of a VPC of which no port is recorded yet.
    pub(super) fn new(project: &str, own: BTreeSet<IpAddr>) -> Self {
        Self { project: project.to_owned(), own, ..Self::default() }
    }

    /// Those of a port are told until the window ends in which it went.
    pub(super) fn keep_departed(&mut self, before: &Self) {
        for (address, name) in &before.interfaces {
            if self.interfaces.contains_key(address) {
                continue;
            }
            self.interfaces.insert(*address, name.clone());
            self.departed.insert(*address);
            if let (Some(note), false) = (before.notes.get(name), self.notes.contains_key(name)) {
                self.notes.insert(name.clone(), note.clone());
            }
        }
    }

    /// After a window has ended: those that had gone before are forgotten.
    pub(super) fn forget_departed(&mut self, told: &Self) {
        if told.departed.is_empty() {
            return;
        }
        for address in &told.departed {
            if self.departed.remove(address) {
                self.interfaces.remove(address);
            }
        }
        let left: BTreeSet<&String> = self.interfaces.values().collect();
        self.notes.retain(|name, _| left.contains(name));
    }

    /// A line as it is kept.
    pub(super) fn noted(&self, line: String) -> String {
        let note = line.split(' ').nth(2).and_then(|port| self.notes.get(port));
        match note {
            Some(note) => format!("{line} {note}"),
            None => line,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 10));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 20));

    fn names(recorded: &[(IpAddr, &str)]) -> Names {
        Names {
            interfaces: recorded.iter().map(|(address, name)| (*address, (*name).to_owned())).collect(),
            notes: recorded.iter().map(|(_, name)| ((*name).to_owned(), format!("eni-{name} web"))).collect(),
            ..Names::default()
        }
    }

    #[test]
    fn who_goes_is_known_until_the_window_ends() {
        let before = names(&[(A, "a-0"), (B, "b-0")]);
        let mut now = names(&[(A, "c-0")]);
        now.keep_departed(&before);
        assert_eq!(now.interfaces, BTreeMap::from([(A, "c-0".to_owned()), (B, "b-0".to_owned())]));
        assert_eq!(now.noted("2 p b-0 x".into()), "2 p b-0 x eni-b-0 web");
        assert_eq!(now.noted("2 p z-0 x".into()), "2 p z-0 x");
        let mut next = names(&[(A, "c-0")]);
        next.keep_departed(&now);
        assert_eq!(next, now, "as long as it lasts");
        next.forget_departed(&now);
        assert_eq!(next, names(&[(A, "c-0")]));
        // Who came back is not forgotten.
        let mut back = names(&[(A, "c-0"), (B, "b-0")]);
        back.keep_departed(&now);
        back.forget_departed(&now);
        assert_eq!(back, names(&[(A, "c-0"), (B, "b-0")]));
    }
}
