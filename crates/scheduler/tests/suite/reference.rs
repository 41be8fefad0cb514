//! A scheduler without an index: looks at every host and every binding for every question. Slow and plain, so
//! that it can be believed.

use std::collections::{BTreeMap, BTreeSet};

use model::compute::{Strategy, TopologyKey};
use model::topology::Taint;
use scheduler::{HostView, Reason, Request};

/// All there is: hosts by name, and requests with the host they are bound to, by key.
#[derive(Debug, Default, Clone)]
pub(crate) struct World {
    pub(crate) hosts: BTreeMap<String, HostView>,
    pub(crate) bound: BTreeMap<String, (Request, String)>,
}

type Labels = BTreeMap<String, String>;
type Domain = (String, String, String);

fn domain(host: &HostView, topology: TopologyKey) -> Domain {
    let (zone, rack, name) = (host.zone.clone(), host.rack.clone(), host.name.clone());
    match topology {
        TopologyKey::Zone => (zone, String::new(), String::new()),
        TopologyKey::Rack => (zone, rack, String::new()),
        TopologyKey::Host => (zone, rack, name),
    }
}

fn has_all(labels: &Labels, wanted: &Labels) -> bool {
    wanted.iter().all(|(k, v)| labels.get(k) == Some(v))
}

/// A rule with the number of instances per domain that it speaks of.
struct Rule {
    topology: TopologyKey,
    counts: BTreeMap<Domain, u32>,
    kind: Kind,
    prefer: bool,
}

enum Kind {
    Near,
    Apart,
    Repelled,
    AtMost(u32),
}

impl World {
    /// What every host says: its score, or the first reason against it.
    pub(crate) fn judge(&self, request: &Request) -> BTreeMap<String, Result<i32, Reason>> {
        let rules = self.rules(request);
        let all = self.promised();
        let promised = |host: &HostView| all.get(host.name.as_str()).copied().unwrap_or_default();
        let judge = |host: &HostView| judge_host(request, host, &rules, promised(host));
        self.hosts.iter().map(|(name, host)| (name.clone(), judge(host))).collect()
    }

    /// What is promised on each host that anything is bound to: memory, cpu, disk.
    pub(crate) fn promised(&self) -> BTreeMap<&str, [u128; 3]> {
        let mut all = BTreeMap::new();
        for (request, host) in self.bound.values() {
            let r = &request.resources;
            let sum = all.entry(host.as_str()).or_insert([0; 3]);
            for (total, amount) in sum.iter_mut().zip([r.memory.0, r.cpu.0, r.disk.0]) {
                *total += u128::from(amount);
            }
        }
        all
    }

    /// Members of a label set per domain, on known hosts.
    pub(crate) fn members(
        &self,
        project: &str,
        labels: &Labels,
        topology: TopologyKey,
    ) -> BTreeMap<Domain, u32> {
        let mut counts = BTreeMap::new();
        for (request, host) in self.bound.values() {
            let Some(host) = self.hosts.get(host) else { continue };
            if request.project == project && has_all(&request.labels, labels) {
                *counts.entry(domain(host, topology)).or_insert(0) += 1;
            }
        }
        counts
    }

    /// Domains with a host that may serve such a request, wherever this one is pinned to.
    pub(crate) fn eligible_domains(&self, request: &Request, topology: TopologyKey) -> BTreeSet<Domain> {
        let eligible = self.hosts.values().filter(|host| filter(request, host).is_none());
        eligible.map(|host| domain(host, topology)).collect()
    }

    fn rules(&self, request: &Request) -> Vec<Rule> {
        let placement = &request.placement;
        let mut rules = Vec::new();
        for a in &placement.affinity {
            let counts = self.members(&request.project, &a.labels, a.topology);
            if !(counts.is_empty() && has_all(&request.labels, &a.labels)) {
                rules.push(Rule { topology: a.topology, counts, kind: Kind::Near, prefer: a.prefer });
            }
        }
        for a in &placement.anti_affinity {
            let counts = self.members(&request.project, &a.labels, a.topology);
            rules.push(Rule { topology: a.topology, counts, kind: Kind::Apart, prefer: a.prefer });
        }
        for (other, host) in self.bound.values().filter(|(other, _)| other.project == request.project) {
            let Some(host) = self.hosts.get(host) else { continue };
            for a in other.placement.anti_affinity.iter().filter(|a| !a.prefer) {
                if has_all(&request.labels, &a.labels) {
                    let counts = BTreeMap::from([(domain(host, a.topology), 1)]);
                    rules.push(Rule { topology: a.topology, counts, kind: Kind::Repelled, prefer: false });
                }
            }
        }
        for s in &placement.spread {
            let counts = self.members(&request.project, &s.labels, s.topology);
            let domains = self.eligible_domains(request, s.topology);
            let Some(fewest) = domains.iter().map(|d| counts.get(d).copied().unwrap_or(0)).min() else {
                continue;
            };
            let own = u32::from(has_all(&request.labels, &s.labels));
            let kind = Kind::AtMost(fewest + s.max_skew - own);
            rules.push(Rule { topology: s.topology, counts, kind, prefer: s.prefer });
        }
        rules
    }
}

fn judge_host(
    request: &Request,
    host: &HostView,
    rules: &[Rule],
    promised: [u128; 3],
) -> Result<i32, Reason> {
    let pin = &request.placement.host;
    if !pin.is_empty() && *pin != host.name {
        return Err(Reason::OtherHost);
    }
    if let Some(reason) = filter(request, host) {
        return Err(reason);
    }
    let mut score = 0;
    for rule in rules {
        let count = rule.counts.get(&domain(host, rule.topology)).copied().unwrap_or(0);
        match (&rule.kind, rule.prefer) {
            (Kind::Near, false) if count == 0 => return Err(Reason::NotNear),
            (Kind::Apart, false) if count > 0 => return Err(Reason::TooNear),
            (Kind::Repelled, _) if count > 0 => return Err(Reason::Repelled),
            (Kind::AtMost(limit), false) if count > *limit => return Err(Reason::Uneven),
            (Kind::Near, true) if count > 0 => score += 50,
            (Kind::Apart, true) if count > 0 => score -= 50,
            (Kind::AtMost(limit), true) if count > *limit => {
                score -= (10 * i32::try_from(count - limit).unwrap()).min(50);
            }
            _ => {}
        }
    }
    let all = [host.allocatable.memory.0, host.allocatable.cpu.0, host.allocatable.disk.0];
    let asked = [request.resources.memory.0, request.resources.cpu.0, request.resources.disk.0];
    let reasons = [Reason::ShortOfMemory, Reason::ShortOfCpu, Reason::ShortOfDisk];
    for d in 0..3 {
        let free = u128::from(all[d]).saturating_sub(promised[d]);
        if u128::from(asked[d]) > free {
            return Err(reasons[d]);
        }
    }
    let share = |d: usize| {
        let used = promised[d].min(u128::from(all[d]));
        if all[d] == 0 { 0 } else { i32::try_from(used * 100 / u128::from(all[d])).unwrap() }
    };
    let load = share(0).max(share(1));
    score += if request.placement.strategy == Strategy::Spread { 100 - load } else { load };
    let present = request.images.iter().filter(|image| host.images.contains(image)).count();
    score += 15 * i32::try_from(present).unwrap() / i32::try_from(request.images.len().max(1)).unwrap();
    Ok(score)
}

fn filter(request: &Request, host: &HostView) -> Option<Reason> {
    let placement = &request.placement;
    let tolerated = |taint: &Taint| {
        placement.tolerations.iter().any(|t| {
            t.key == taint.key && (t.value.is_none() || t.value.as_deref() == Some(taint.value.as_str()))
        })
    };
    if !placement.zone.is_empty() && placement.zone != host.zone {
        Some(Reason::OtherZone)
    } else if !host.cells.contains(&request.cell) {
        Some(Reason::NoDriver)
    } else if !has_all(&host.labels, &placement.host_labels) {
        Some(Reason::OtherLabels)
    } else if !request.pools.iter().all(|pool| host.pools.get(pool).is_some_and(String::is_empty)) {
        Some(Reason::NoPool)
    } else if !host.taints.iter().all(tolerated) {
        Some(Reason::Tainted)
    } else if !host.ready {
        Some(Reason::NotReady)
    } else if host.cordoned {
        Some(Reason::Cordoned)
    } else {
        None
    }
}
