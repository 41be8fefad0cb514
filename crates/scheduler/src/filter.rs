//! The filters that no binding changes: what a request asks of the host itself. A new one is an entry of
//! [`FILTERS`]; rules about neighbours and room are with the index.

use std::collections::BTreeMap;

use model::compute::{Cell, Toleration};
use model::topology::Taint;

use crate::{HostView, Reason, Request};

/// What a request asks of hosts, whatever is bound to them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Eligibility {
    pub(crate) cell: Cell,
    /// Any zone when empty.
    pub(crate) zone: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) tolerations: Vec<Toleration>,
    pub(crate) pools: Vec<String>,
}

pub(crate) struct Filter {
    pub(crate) reason: Reason,
    /// What keeps the host out, in words; nothing when it passes.
    objection: fn(&HostView, &Eligibility) -> Option<String>,
    passes: fn(&HostView, &Eligibility) -> bool,
}

/// In the order in which they are reported: what the request asks first, the host's own state last.
pub(crate) const FILTERS: &[Filter] = &[
    Filter {
        reason: Reason::OtherZone,
        passes: |host, wanted| wanted.zone.is_empty() || host.zone == wanted.zone,
        objection: |host, wanted| Some(format!("is in zone {:?}, not {:?}", host.zone, wanted.zone)),
    },
    Filter {
        reason: Reason::NoDriver,
        passes: |host, wanted| host.cells.binary_search(&wanted.cell).is_ok(),
        objection: |_, wanted| Some(format!("has no usable driver for {}", wanted.cell)),
    },
    Filter {
        reason: Reason::OtherLabels,
        passes: |host, wanted| missing_label(host, wanted).is_none(),
        objection: |host, wanted| {
            missing_label(host, wanted).map(|(key, value)| format!("has no label {key}={value}"))
        },
    },
    Filter {
        reason: Reason::NoPool,
        passes: |host, wanted| missing_pool(host, wanted).is_none(),
        objection: |host, wanted| {
            let (pool, why) = missing_pool(host, wanted)?;
            let why = if why.is_empty() { String::new() } else { format!(": {why}") };
            Some(format!("has no pool {pool:?}{why}"))
        },
    },
    Filter {
        reason: Reason::Tainted,
        passes: |host, wanted| repelling_taint(host, &wanted.tolerations).is_none(),
        objection: |host, wanted| {
            let taint = repelling_taint(host, &wanted.tolerations)?;
            Some(format!("has the taint {}={}, which is not tolerated", taint.key, taint.value))
        },
    },
    Filter {
        reason: Reason::NotReady,
        passes: |host, _| host.ready,
        objection: |_, _| Some("is not ready: its agent has not been heard of lately".into()),
    },
    Filter {
        reason: Reason::Cordoned,
        passes: |host, _| !host.cordoned,
        objection: |_, _| Some("is cordoned".into()),
    },
];

impl Eligibility {
    pub(crate) fn of(request: &Request) -> Self {
        let placement = &request.placement;
        Self {
            cell: request.cell,
            zone: placement.zone.clone(),
            labels: placement.host_labels.clone(),
            tolerations: placement.tolerations.clone(),
            pools: request.pools.clone(),
        }
    }

    /// The first filter that keeps `host` out.
    pub(crate) fn obstacle(&self, host: &HostView) -> Option<&'static Filter> {
        FILTERS.iter().find(|filter| !(filter.passes)(host, self))
    }

    /// Whether hosts with these cells and taints can serve at all: what all hosts of a pool share.
    pub(crate) fn admits(&self, cells: &[Cell], taints: &[Taint]) -> bool {
        cells.binary_search(&self.cell).is_ok()
            && taints.iter().all(|taint| is_tolerated(taint, &self.tolerations))
    }
}

impl Filter {
    pub(crate) fn explain(&self, host: &HostView, wanted: &Eligibility) -> String {
        (self.objection)(host, wanted).unwrap_or_default()
    }
}

fn missing_label<'a>(host: &HostView, wanted: &'a Eligibility) -> Option<(&'a String, &'a String)> {
    wanted.labels.iter().find(|(key, value)| host.labels.get(*key) != Some(*value))
}

/// The first pool that it cannot use, and why, where that is known.
fn missing_pool<'a>(host: &'a HostView, wanted: &'a Eligibility) -> Option<(&'a str, &'a str)> {
    wanted.pools.iter().find_map(|pool| match host.pools.get(pool) {
        Some(why) if why.is_empty() => None,
        why => Some((pool.as_str(), why.map_or("", String::as_str))),
    })
}

fn repelling_taint<'a>(host: &'a HostView, tolerations: &[Toleration]) -> Option<&'a Taint> {
    host.taints.iter().find(|taint| !is_tolerated(taint, tolerations))
}

fn is_tolerated(taint: &Taint, tolerations: &[Toleration]) -> bool {
    tolerations.iter().any(|t| t.key == taint.key && t.value.as_ref().is_none_or(|v| *v == taint.value))
}
