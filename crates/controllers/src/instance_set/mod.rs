//! InstanceSets: keep N instances. Members are named by ordinal, so that making one twice is impossible, and
//! no memory of what was just made is needed.

mod departed;

use std::collections::BTreeSet;

use client::{DeleteOptions, ListParams};
use futures::{StreamExt, TryStreamExt, stream};
use model::compute::{Instance, InstancePhase, InstanceSet};
use model::{
    ApiError, Condition, ConditionStatus, Object, ObjectMeta, OwnerReference, Reason, Resource, set_condition,
};
use reconcile::{Cache, Change, Outcome, Queue};

use crate::Context;
use crate::caches::Caches;
use departed::Departed;

/// Members made or deleted at the same time.
const AT_ONCE: usize = 64;

struct Sets {
    context: Context,
    sets: Cache<InstanceSet>,
    instances: Cache<Instance>,
    departed: Departed,
}

pub(crate) async fn run(context: Context, caches: Caches) {
    let queue = Queue::new();
    let sets = {
        let queue = queue.clone();
        let listener = move |change: &Change<InstanceSet>| queue.add(change.object().metadata.key());
        Cache::start(context.client.all::<InstanceSet>(), ListParams::default(), vec![Box::new(listener)])
    };
    let instances = caches.instances;
    let departed = Departed::default();
    {
        let (queue, departed) = (queue.clone(), departed.clone());
        instances.listen(move |change| {
            let meta = &change.object().metadata;
            if let Some(owner) = meta.controller().filter(|owner| owner.kind == InstanceSet::KIND.kind) {
                if matches!(change, Change::Deleted(_)) {
                    departed.note(meta.key());
                }
                queue.add(format!("{}/{}", meta.namespace, owner.name));
            }
        });
    }
    tokio::join!(sets.synced(), instances.synced());
    let sets = Sets { context, sets, instances, departed };
    reconcile::run("instance-set", queue, 8, |key| sets.reconcile(key)).await;
}

impl Sets {
    async fn reconcile(&self, key: String) -> Result<Outcome, ApiError> {
        let Some(set) = self.sets.get(&key).filter(|set| !set.metadata.is_deleting()) else {
            return Ok(Outcome::Done);
        };
        let members = self.instances.filter(|i| {
            i.metadata.namespace == set.metadata.namespace
                && i.metadata.controller().is_some_and(|owner| owner.uid == set.metadata.uid)
        });
        let mut plan = plan(&set, &members);
        let (meta, mut wait) = (&set.metadata, None);
        plan.missing.retain(|ordinal| {
            let left = self.departed.wait(&format!("{}/{}-{ordinal}", meta.namespace, meta.name));
            wait = wait.max(left);
            left.is_none()
        });
        let result = self.carry_out(&set, &plan).await;
        self.report(&set, &members, result.as_ref().err()).await?;
        result.map(|()| wait.map_or(Outcome::Done, Outcome::RequeueAfter))
    }

    async fn carry_out(&self, set: &InstanceSet, plan: &Plan) -> Result<(), ApiError> {
        let api = self.context.client.project::<Instance>(&set.metadata.namespace);
        let make = |ordinal: &u32| {
            let (api, member) = (api.clone(), member(set, *ordinal));
            async move {
                match api.create(&member).await {
                    Err(e) if e.reason != Reason::AlreadyExists => Err(e),
                    _ => Ok(()),
                }
            }
        };
        let end = |name: &String| {
            let (api, name) = (api.clone(), name.clone());
            async move {
                match api.delete(&name, &DeleteOptions::default()).await {
                    Err(e) if !e.is_not_found() => Err(e),
                    _ => Ok(()),
                }
            }
        };
        // First what is too much: it may hold the very room in the quota that the missing need.
        stream::iter(&plan.surplus).map(end).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        stream::iter(&plan.missing).map(make).buffer_unordered(AT_ONCE).try_collect::<()>().await
    }

    async fn report(
        &self,
        set: &InstanceSet,
        members: &[std::sync::Arc<Instance>],
        error: Option<&ApiError>,
    ) -> Result<(), ApiError> {
        let mut set = set.clone();
        let before = set.status.clone();
        let living = members.iter().filter(|i| !i.metadata.is_deleting());
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        set.status.replicas = count(living.clone().count());
        set.status.ready_replicas =
            count(living.filter(|i| i.status.phase == InstancePhase::Running).count());
        set.status.observed_generation = set.metadata.generation;
        let condition = match error {
            None => Condition::new("Complete", ConditionStatus::True, "AsWanted", ""),
            Some(e) => {
                Condition::new("Complete", ConditionStatus::False, "CannotMakeMembers", e.message.clone())
            }
        };
        set_condition(&mut set.status.conditions, condition, (self.context.now)());
        if set.status == before {
            return Ok(());
        }
        let api = self.context.client.project::<InstanceSet>(&set.metadata.namespace);
        match api.update_status(&set).await {
            // The set changed or went meanwhile: its own event brings us back.
            Err(e) if !e.is_conflict() && !e.is_not_found() => Err(e),
            _ => Ok(()),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Plan {
    /// Ordinals to make.
    missing: Vec<u32>,
    /// Names to delete, highest ordinals first.
    surplus: Vec<String>,
}

/// Members are counted, so that of a set which becomes smaller those stay that are there: who takes one out and wants
/// one less loses no other. One on its way out still counts, for its name is not free; names are taken from the lowest.
fn plan(set: &InstanceSet, members: &[std::sync::Arc<Instance>]) -> Plan {
    let wanted = usize::try_from(set.spec.replicas).unwrap_or(usize::MAX);
    let number = |member: &Instance| ordinal(&set.metadata.name, &member.metadata.name);
    let present: BTreeSet<u32> = members.iter().filter_map(|member| number(member)).collect();
    let living = members.iter().filter(|member| !member.metadata.is_deleting());
    let mut living: Vec<(Option<u32>, String)> =
        living.map(|member| (number(member), member.metadata.name.clone())).collect();
    living.sort_by(|a, b| b.cmp(a));
    living.truncate(living.len().saturating_sub(wanted));
    let lacking = wanted.saturating_sub(members.len());
    Plan {
        missing: (0..u32::MAX).filter(|n| !present.contains(n)).take(lacking).collect(),
        surplus: living.into_iter().map(|(_, name)| name).collect(),
    }
}

fn ordinal(set: &str, member: &str) -> Option<u32> {
    member.strip_prefix(set)?.strip_prefix('-')?.parse().ok()
}

fn member(set: &InstanceSet, ordinal: u32) -> Instance {
    let template = &set.spec.template;
    let meta = ObjectMeta {
        labels: template.metadata.labels.clone(),
        annotations: template.metadata.annotations.clone(),
        owner_references: vec![OwnerReference {
            api_version: InstanceSet::KIND.api_version(),
            kind: InstanceSet::KIND.kind.into(),
            name: set.metadata.name.clone(),
            uid: set.metadata.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }],
        ..ObjectMeta::in_project(&set.metadata.namespace, format!("{}-{ordinal}", set.metadata.name))
    };
    Object::new(meta, template.spec.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Timestamp;
    use model::compute::{InstanceSetSpec, InstanceSpec};
    use std::sync::Arc;

    fn set(replicas: u32) -> InstanceSet {
        let spec = InstanceSetSpec { replicas, ..InstanceSetSpec::default() };
        Object::new(ObjectMeta::in_project("p", "web"), spec)
    }

    fn members(names: &[&str]) -> Vec<Arc<Instance>> {
        let make =
            |name: &&str| Arc::new(Object::new(ObjectMeta::in_project("p", *name), InstanceSpec::default()));
        names.iter().map(make).collect()
    }

    #[test]
    fn gaps_are_filled_and_the_highest_go_first() {
        assert_eq!(plan(&set(3), &members(&["web-1"])), Plan { missing: vec![0, 2], surplus: vec![] });
        let shrunk = plan(&set(1), &members(&["web-0", "web-2", "web-10", "web-1"]));
        assert_eq!(shrunk.surplus, ["web-10", "web-2", "web-1"]);
    }

    #[test]
    fn who_is_taken_out_of_a_smaller_set_is_the_only_one_to_go() {
        let mut members = members(&["web-0", "web-1", "web-2"]);
        Arc::make_mut(&mut members[0]).metadata.deletion_timestamp = Some(Timestamp(1));
        assert_eq!(plan(&set(2), &members), Plan { missing: vec![], surplus: vec![] });
        assert_eq!(plan(&set(2), &members[1..]), Plan { missing: vec![], surplus: vec![] });
        assert_eq!(plan(&set(3), &members[1..]), Plan { missing: vec![0], surplus: vec![] });
    }

    #[test]
    fn a_member_on_its_way_out_still_holds_its_name() {
        let mut members = members(&["web-0"]);
        Arc::make_mut(&mut members[0]).metadata.deletion_timestamp = Some(Timestamp(1));
        assert_eq!(plan(&set(1), &members), Plan { missing: vec![], surplus: vec![] });
        assert_eq!(plan(&set(0), &members), Plan { missing: vec![], surplus: vec![] });
    }
}
