//! Peerings: both sides are told whether they have agreed. Hosts come to the same by themselves; this is for people.

use std::sync::Arc;

use client::ListParams;
use model::network::{Peering, PeeringSpec, Vpc};
use model::{ApiError, Condition, ConditionStatus, set_condition};
use reconcile::{Cache, Change, Outcome, Queue};

use crate::Context;

struct Peerings {
    context: Context,
    peerings: Cache<Peering>,
    vpcs: Cache<Vpc>,
}

pub(crate) async fn run(context: Context) {
    let queue = Queue::new();
    let peerings = {
        let queue = queue.clone();
        let listener = move |change: &Change<Peering>| queue.add(pair(change.object()));
        Cache::start(context.client.all::<Peering>(), ListParams::default(), vec![Box::new(listener)])
    };
    // Ranges may grow, and then overlap.
    let vpcs = {
        let (queue, peerings) = (queue.clone(), peerings.clone());
        let listener = move |change: &Change<Vpc>| {
            let vpc = change.object().metadata.key();
            let concerned = peerings.filter(|peering| sides(peering).contains(&vpc));
            for peering in concerned {
                queue.add(pair(&peering));
            }
        };
        Cache::start(context.client.all::<Vpc>(), ListParams::default(), vec![Box::new(listener)])
    };
    tokio::join!(peerings.synced(), vpcs.synced());
    let peerings = Peerings { context, peerings, vpcs };
    reconcile::run("peering", queue, 4, |pair| peerings.reconcile(pair)).await;
}

/// Both Vpcs as `project/name`, this side's first.
fn sides(peering: &Peering) -> [String; 2] {
    let (project, spec) = (&peering.metadata.namespace, &peering.spec);
    [format!("{project}/{}", spec.vpc), format!("{}/{}", spec.peer_project(project), spec.peer_vpc)]
}

/// The same for both sides' peerings.
fn pair(peering: &Peering) -> String {
    let mut sides = sides(peering);
    sides.sort();
    sides.join(" ")
}

impl Peerings {
    async fn reconcile(&self, key: String) -> Result<Outcome, ApiError> {
        let both = self.peerings.filter(|peering| pair(peering) == key);
        for peering in &both {
            let answered = both.iter().any(|other| PeeringSpec::is_answered(peering, other));
            let vpcs = sides(peering).map(|vpc| self.vpcs.get(&vpc));
            self.report(peering, judge(answered, &vpcs)).await?;
        }
        Ok(Outcome::Done)
    }

    async fn report(&self, peering: &Arc<Peering>, condition: Condition) -> Result<(), ApiError> {
        let mut changed = (**peering).clone();
        changed.status.active = condition.status == ConditionStatus::True;
        set_condition(&mut changed.status.conditions, condition, (self.context.now)());
        if changed.status == peering.status {
            return Ok(());
        }
        let api = self.context.client.project::<Peering>(&peering.metadata.namespace);
        match api.update_status(&changed).await {
            // It changed or went meanwhile: its own event brings us back.
            Err(e) if !e.is_conflict() && !e.is_not_found() => Err(e),
            _ => Ok(()),
        }
    }
}

/// Of the other side no more is told than that it has agreed: it may be another project's.
fn judge(answered: bool, vpcs: &[Option<Arc<Vpc>>; 2]) -> Condition {
    let no = |reason, message| Condition::new("Active", ConditionStatus::False, reason, message);
    match vpcs {
        _ if !answered => no("PeerHasNotAgreed", "the other side needs a peering that names this vpc"),
        [Some(own), Some(peer)] if own.spec.overlap(&peer.spec).is_some() => {
            no("RangesOverlap", "the two vpcs have addresses in common; peers need ranges apart")
        }
        [Some(_), Some(_)] => Condition::new("Active", ConditionStatus::True, "BothAgreed", ""),
        _ => no("NoVpc", "a vpc of the two is not there"),
    }
}

#[cfg(test)]
mod tests {
    use model::network::VpcSpec;
    use model::{Object, ObjectMeta};

    use super::*;

    fn peering(project: &str, vpc: &str, peer_project: &str, peer: &str) -> Peering {
        let spec = PeeringSpec { vpc: vpc.into(), peer_project: peer_project.into(), peer_vpc: peer.into() };
        Object::new(ObjectMeta::in_project(project, "x"), spec)
    }

    #[test]
    fn both_sides_name_one_pair() {
        let there = peering("p", "v", "q", "w");
        let back = peering("q", "w", "p", "v");
        assert_eq!(pair(&there), "p/v q/w");
        assert_eq!(pair(&there), pair(&back));
        assert!(PeeringSpec::is_answered(&there, &back));
        assert!(!PeeringSpec::is_answered(&there, &there));
        assert!(!PeeringSpec::is_answered(&there, &peering("q", "w", "p", "other")));
        let near = peering("p", "v", "", "w");
        assert!(PeeringSpec::is_answered(&near, &peering("p", "w", "p", "v")), "its own project by name");
    }

    #[test]
    fn it_takes_agreement_and_ranges_apart() {
        let vpc = |range: &str| {
            let spec =
                VpcSpec { ipv4_ranges: range.parse().ok().into_iter().collect(), ..VpcSpec::default() };
            Some(Arc::new(Object::new(ObjectMeta::in_project("p", "v"), spec)))
        };
        let reason = |answered, vpcs: [Option<Arc<Vpc>>; 2]| judge(answered, &vpcs).reason;
        assert_eq!(reason(true, [vpc("10.0.0.0/16"), vpc("10.1.0.0/16")]), "BothAgreed");
        assert_eq!(reason(false, [vpc("10.0.0.0/16"), vpc("10.1.0.0/16")]), "PeerHasNotAgreed");
        assert_eq!(reason(true, [vpc("10.0.0.0/16"), vpc("10.0.4.0/24")]), "RangesOverlap");
        assert_eq!(reason(true, [vpc("10.0.0.0/16"), None]), "NoVpc");
    }
}
