//! What instances of this host use, looked at once a minute and kept for some hours, for who asks. It is kept in memory
//! alone: after a restart of the agent it begins anew.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use client::samples::{DiskUse, NetworkUse, Sample};
use driver::ComputeDriver;
use model::compute::Instance;
use model::{Timestamp, Uid};
use parking_lot::Mutex;
use reconcile::Cache;
use sys::cgroup::{Spent, spent_by_group_of};
use tokio::time::Instant;

use crate::blocking::blocking;
use crate::network::Networks;

const EVERY: Duration = Duration::from_secs(60);
/// Looks that are kept of each instance: three hours.
const KEPT: usize = 180;

/// Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Meter {
    known: Arc<Mutex<HashMap<Uid, Known>>>,
}

#[derive(Default)]
struct Known {
    last: Option<(Instant, Look)>,
    samples: VecDeque<Sample>,
}

/// Counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Look {
    spent: Option<Spent>,
    network: Option<NetworkUse>,
}

impl Meter {
    /// Looks for ever.
    pub(crate) async fn run(
        self,
        drivers: Vec<Arc<dyn ComputeDriver>>,
        networks: Option<Networks>,
        instances: Cache<Instance>,
        now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    ) {
        instances.synced().await;
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut last_round = None;
        loop {
            ticks.tick().await;
            let round = Instant::now();
            let present: HashSet<Uid> = instances.all().iter().map(|i| i.metadata.uid.clone()).collect();
            let networks = match &networks {
                Some(networks) => of_networks(networks, &instances).await,
                None => HashMap::new(),
            };
            for uid in &present {
                match look(&drivers, uid, networks.get(uid).copied()).await {
                    Some(look) => self.note(uid, look, (last_round, Instant::now()), now()),
                    None => self.rests(uid, Instant::now()),
                }
            }
            last_round = Some(round);
            self.known.lock().retain(|uid, _| present.contains(uid));
        }
    }

    /// `times` are of the last round, if there was one, and of this look.
    fn note(&self, uid: &Uid, look: Look, times: (Option<Instant>, Instant), told_at: Timestamp) {
        let (last_round, at) = times;
        let mut known = self.known.lock();
        let known = known.entry(uid.clone()).or_default();
        // One that was not there in the last round has counted from nothing since.
        let new = last_round.map(|round| (round, Look::from_nothing(&look)));
        if let Some((before_at, before)) = known.last.replace((at, look)).or(new) {
            let over = u64::try_from((at - before_at).as_millis()).unwrap_or(u64::MAX);
            known.samples.extend(between(&before, &look, told_at, over));
            while known.samples.len() > KEPT {
                known.samples.pop_front();
            }
        }
    }

    /// What does not run uses nothing.
    fn rests(&self, uid: &Uid, at: Instant) {
        if let Some((last_at, _)) = self.known.lock().get_mut(uid).and_then(|known| known.last.as_mut()) {
            *last_at = at;
        }
    }

    /// What is known of an instance, the oldest first.
    pub(crate) fn samples(&self, uid: &Uid) -> Vec<Sample> {
        self.known.lock().get(uid).map(|known| known.samples.iter().copied().collect()).unwrap_or_default()
    }
}

impl Look {
    /// The look before a first one, of what that one counts.
    fn from_nothing(first: &Self) -> Self {
        Self {
            spent: first.spent.map(|_| Spent::default()),
            network: first.network.map(|_| NetworkUse::default()),
        }
    }
}

/// What was used between two looks.
fn between(before: &Look, after: &Look, at: Timestamp, over_ms: u64) -> Option<Sample> {
    if over_ms == 0 {
        return None;
    }
    let spent = before.spent.zip(after.spent);
    let network = before.network.zip(after.network);
    Some(Sample {
        at,
        over_ms,
        cpu_nanos: spent.map(|(a, b)| grown(a.cpu_nanos, b.cpu_nanos)),
        network: network.map(|(a, b)| NetworkUse {
            received_bytes: grown(a.received_bytes, b.received_bytes),
            received_packets: grown(a.received_packets, b.received_packets),
            sent_bytes: grown(a.sent_bytes, b.sent_bytes),
            sent_packets: grown(a.sent_packets, b.sent_packets),
        }),
        disk: spent.map(|(a, b)| DiskUse {
            read_bytes: grown(a.read_bytes, b.read_bytes),
            written_bytes: grown(a.written_bytes, b.written_bytes),
        }),
    })
}

/// By how much a counter has grown. One that is smaller than it was began anew in between.
fn grown(before: u64, after: u64) -> u64 {
    after.checked_sub(before).unwrap_or(after)
}

/// The counters of an instance that runs.
async fn look(drivers: &[Arc<dyn ComputeDriver>], uid: &Uid, network: Option<NetworkUse>) -> Option<Look> {
    for driver in drivers {
        let Ok(observed) = driver.observe(uid).await else { continue };
        let pid = observed.pid?;
        let spent = blocking(move || spent_by_group_of(pid)).await.map_err(std::io::Error::other).flatten();
        if let Err(e) = &spent {
            tracing::debug!(%uid, error = %e, "what an instance uses cannot be read");
        }
        return Some(Look { spent: spent.ok(), network });
    }
    None
}

/// What all ports of each instance have carried.
async fn of_networks(networks: &Networks, instances: &Cache<Instance>) -> HashMap<Uid, NetworkUse> {
    let counts = match networks.counters().await {
        Ok(counts) => counts,
        Err(e) => {
            tracing::debug!(error = %e, "counters of ports cannot be read");
            return HashMap::new();
        }
    };
    let all = instances.all();
    let uids: BTreeMap<(&str, &str), &Uid> = all
        .iter()
        .map(|i| ((i.metadata.namespace.as_str(), i.metadata.name.as_str()), &i.metadata.uid))
        .collect();
    let mut found: HashMap<Uid, NetworkUse> = HashMap::new();
    for count in &counts {
        let Some(uid) = uids.get(&(count.project.as_str(), count.instance.as_str())) else { continue };
        let sum = found.entry((*uid).clone()).or_default();
        sum.received_bytes += count.received_bytes;
        sum.received_packets += count.received_packets;
        sum.sent_bytes += count.sent_bytes;
        sum.sent_packets += count.sent_packets;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(cpu_nanos: u64, sent_bytes: u64) -> Look {
        Look {
            spent: Some(Spent { cpu_nanos, ..Spent::default() }),
            network: Some(NetworkUse { sent_bytes, ..NetworkUse::default() }),
        }
    }

    #[test]
    fn what_was_used_is_the_difference_of_two_looks() {
        let meter = Meter::default();
        let uid = Uid::from_random([7; 16]);
        let begun = Instant::now();
        for (minute, cpu) in [(0, 100), (1, 400), (2, 400), (3, 50)] {
            let at = begun + EVERY * minute;
            meter.note(&uid, look(cpu, cpu * 2), (None, at), Timestamp(i64::from(minute)));
        }
        let told: Vec<_> =
            meter.samples(&uid).iter().map(|s| (s.cpu_nanos, s.network.unwrap().sent_bytes)).collect();
        assert_eq!(told, [(Some(300), 600), (Some(0), 0), (Some(50), 100)], "the last began anew");
    }

    #[test]
    fn one_that_came_between_two_rounds_has_counted_from_nothing() {
        let meter = Meter::default();
        let (old, new) = (Uid::from_random([7; 16]), Uid::from_random([8; 16]));
        let begun = Instant::now();
        meter.note(&old, look(900, 0), (None, begun), Timestamp(0));
        assert_eq!(meter.samples(&old), [], "nobody knows since when it counts");
        let next = (Some(begun), begun + EVERY);
        meter.note(&new, look(300, 0), next, Timestamp(1));
        let told = meter.samples(&new);
        assert_eq!((told[0].cpu_nanos, told[0].over_ms), (Some(300), 60_000));
        // What has rested is not judged by the time of its rest.
        meter.rests(&new, begun + EVERY * 9);
        meter.note(&new, look(20, 0), (None, begun + EVERY * 10), Timestamp(10));
        assert_eq!(meter.samples(&new)[1].over_ms, 60_000);
    }

    #[test]
    fn so_many_are_kept() {
        let meter = Meter::default();
        let uid = Uid::from_random([7; 16]);
        let begun = Instant::now();
        for minute in 0..300_u32 {
            let at = (None, begun + EVERY * minute);
            meter.note(&uid, look(u64::from(minute), 0), at, Timestamp(i64::from(minute)));
        }
        let kept = meter.samples(&uid);
        assert_eq!((kept.len(), kept[0].at), (KEPT, Timestamp(120)));
    }
}
