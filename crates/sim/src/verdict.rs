//! The verdict: when nothing goes wrong any more, the cloud must become what it was asked to be. Everything that
//! is not so is one sentence.

use std::collections::{BTreeMap, BTreeSet};

use client::{Client, ListParams};
use driver::{Observed, SandboxState};
use model::compute::{Instance, InstancePhase, InstanceSet, Power, RestartPolicy};
use model::identity::Project;
use model::topology::Host;
use model::{ApiError, Condition, ConditionStatus, Object, Resource, Resources, Spec, Uid};

use crate::cloud::Cloud;
use crate::networks;

/// All there is to judge, read without faults.
struct Facts {
    instances: Vec<Instance>,
    sets: Vec<InstanceSet>,
    hosts: Vec<Host>,
    projects: Vec<Project>,
    /// Sandboxes and homes by host and uid.
    sandboxes: BTreeMap<(String, Uid), Observed>,
    homes: BTreeSet<(String, Uid)>,
    deleted: BTreeSet<Uid>,
}

/// What is not as it should be, in sentences.
pub(crate) async fn complaints(cloud: &Cloud) -> Result<Vec<String>, ApiError> {
    let Some(client) = cloud.control.judge() else { return Ok(vec!["there is no control plane".into()]) };
    let facts = gather(cloud, &client).await?;
    let mut complaints = Vec::new();
    facts.deletions(&mut complaints);
    facts.hosts_are_ready(cloud, &mut complaints);
    facts.machines_hold_nothing_else(&mut complaints);
    for instance in &facts.instances {
        complaints.extend(facts.complaint_of(instance).map(|what| {
            let InstanceView { name, phase, host, conditions } = view(instance);
            format!("instance {name} ({phase} on {host:?}; {conditions}): {what}")
        }));
    }
    for set in &facts.sets {
        complaints
            .extend(facts.complaint_of_set(set).map(|what| format!("set {}: {what}", set.metadata.key())));
    }
    complaints.extend(networks::complaints(cloud, &client).await?);
    Ok(complaints)
}

async fn gather(cloud: &Cloud, client: &Client) -> Result<Facts, ApiError> {
    let (mut sandboxes, mut homes) = (BTreeMap::new(), BTreeSet::new());
    for host in cloud.hosts() {
        for sandbox in host.sandboxes().await.unwrap_or_default() {
            sandboxes.insert((host.name.clone(), sandbox.uid.clone()), sandbox);
        }
        homes.extend(host.homes().into_iter().map(|uid| (host.name.clone(), uid)));
    }
    Ok(Facts {
        instances: list(client).await?,
        sets: list(client).await?,
        hosts: list(client).await?,
        projects: list(client).await?,
        sandboxes,
        homes,
        deleted: cloud.deleted.lock().clone(),
    })
}

async fn list<R: Resource>(client: &Client) -> Result<Vec<R>, ApiError> {
    Ok(client.all::<R>().list(&ListParams::default()).await?.items)
}

impl Facts {
    /// What was asked to go is gone.
    fn deletions(&self, complaints: &mut Vec<String>) {
        complaints.extend(still_there(&self.instances, &self.deleted));
        complaints.extend(still_there(&self.sets, &self.deleted));
        complaints.extend(still_there(&self.hosts, &self.deleted));
        complaints.extend(still_there(&self.projects, &self.deleted));
        let projects: BTreeSet<&str> = self.projects.iter().map(|p| p.metadata.name.as_str()).collect();
        for instance in self.instances.iter().filter(|i| !projects.contains(i.metadata.namespace.as_str())) {
            complaints.push(format!("instance {} outlived its project", instance.metadata.key()));
        }
    }

    fn hosts_are_ready(&self, cloud: &Cloud, complaints: &mut Vec<String>) {
        for host in cloud.hosts() {
            if !self.hosts.iter().any(|h| h.metadata.name == host.name && h.is_ready()) {
                complaints.push(format!("host {} is up and not ready", host.name));
            }
        }
        let scrapped = cloud.scrapped();
        for host in self.hosts.iter().filter(|h| scrapped.contains(&h.metadata.name)) {
            complaints.push(format!("host {} was scrapped and is still there", host.metadata.name));
        }
    }

    /// No sandbox and no home without an instance that is bound to this very host.
    fn machines_hold_nothing_else(&self, complaints: &mut Vec<String>) {
        let bound: BTreeSet<(&str, &Uid)> =
            self.instances.iter().map(|i| (i.status.host.as_str(), &i.metadata.uid)).collect();
        for (host, uid) in self.sandboxes.keys().filter(|(host, uid)| !bound.contains(&(host, uid))) {
            complaints.push(format!("host {host} has sandbox {uid}, which no instance stands for"));
        }
        for (host, uid) in self.homes.iter().filter(|(host, uid)| !bound.contains(&(host, uid))) {
            complaints.push(format!("host {host} has a home of {uid}, which no instance stands for"));
        }
    }

    fn complaint_of(&self, instance: &Instance) -> Option<String> {
        if instance.metadata.is_deleting() {
            return None;
        }
        let status = &instance.status;
        if status.phase == InstancePhase::Pending && !explained(&status.conditions) {
            return Some("it waits and does not say for what".into());
        }
        if status.host.is_empty() {
            return self.room_for(instance).map(|host| format!("it has no host, but fits on {host}"));
        }
        let Some(host) = self.hosts.iter().find(|h| h.metadata.name == status.host) else {
            use InstancePhase::{Paused, Pending, Running, Starting, Stopping};
            let guessed = matches!(status.phase, Pending | Starting | Running | Paused | Stopping);
            return guessed.then(|| "its host is no more, and it is not unknown".into());
        };
        if !host.is_ready() {
            return None;
        }
        let sandbox = self.sandboxes.get(&(status.host.clone(), instance.metadata.uid.clone()));
        let state = sandbox.map(|s| s.state);
        if !as_wanted(instance, state) {
            return Some(format!("it should be {:?}, its sandbox is {state:?}", instance.spec.power));
        }
        if status.observed_generation != instance.metadata.generation {
            let (seen, is) = (status.observed_generation, instance.metadata.generation);
            return Some(format!("its status speaks of generation {seen}, it is at {is}"));
        }
        None
    }

    /// A host that could take the instance, were it asked to.
    fn room_for(&self, instance: &Instance) -> Option<&str> {
        let fits = |host: &&Host| {
            let bound = self.instances.iter().filter(|i| i.status.host == host.metadata.name);
            let mut used = bound.fold(Resources::ZERO, |mut sum, i| {
                sum += i.spec.resources;
                sum
            });
            used += instance.spec.resources;
            host.is_ready() && !host.spec.cordoned && used.fits_in(&host.allocatable())
        };
        self.hosts.iter().find(fits).map(|host| host.metadata.name.as_str())
    }

    fn complaint_of_set(&self, set: &InstanceSet) -> Option<String> {
        let owned = |i: &&Instance| i.metadata.controller().is_some_and(|o| o.uid == set.metadata.uid);
        let members = self.instances.iter().filter(owned).count();
        let wanted = set.spec.replicas as usize;
        let complete = set.status.conditions.iter().find(|c| c.kind == "Complete");
        let excused = members < wanted
            && complete.is_some_and(|c| c.status == ConditionStatus::False && !c.message.is_empty());
        if members != wanted && !excused {
            return Some(format!("it has {members} members and wants {wanted}"));
        }
        if set.status.replicas as usize != members {
            return Some(format!("it says {} members and has {members}", set.status.replicas));
        }
        None
    }
}

fn still_there<S: Spec>(objects: &[Object<S>], deleted: &BTreeSet<Uid>) -> Vec<String> {
    let asked = |o: &&Object<S>| o.metadata.is_deleting() || deleted.contains(&o.metadata.uid);
    let left = objects.iter().filter(asked);
    left.map(|o| format!("{} {} was deleted and is still there", S::KIND.singular, o.metadata.key()))
        .collect()
}

/// Whether the sandbox and the phase are what the instance's power and restart policy ask for.
fn as_wanted(instance: &Instance, state: Option<SandboxState>) -> bool {
    let phase = instance.status.phase;
    let ended = |state| matches!(state, Some(SandboxState::Exited(_)));
    match instance.spec.power {
        Power::Stopped => phase == InstancePhase::Stopped && (state.is_none() || ended(state)),
        Power::Running if state == Some(SandboxState::Running) => phase == InstancePhase::Running,
        Power::Paused if state == Some(SandboxState::Paused) => phase == InstancePhase::Paused,
        Power::Running | Power::Paused => {
            let may_end = instance.spec.restart_policy != RestartPolicy::Always;
            may_end && ended(state) && matches!(phase, InstancePhase::Succeeded | InstancePhase::Failed)
        }
    }
}

fn explained(conditions: &[Condition]) -> bool {
    conditions.iter().any(|c| !c.reason.is_empty() && !c.message.is_empty())
}

struct InstanceView {
    name: String,
    phase: &'static str,
    host: String,
    conditions: String,
}

fn view(instance: &Instance) -> InstanceView {
    let word = |c: &Condition| format!("{}={:?} {}: {}", c.kind, c.status, c.reason, c.message);
    InstanceView {
        name: instance.metadata.key(),
        phase: instance.status.phase.as_str(),
        host: instance.status.host.clone(),
        conditions: instance.status.conditions.iter().map(word).collect::<Vec<_>>().join(", "),
    }
}
