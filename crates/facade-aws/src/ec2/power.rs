//! Starting, stopping, rebooting and terminating.

use client::DeleteOptions;
use model::compute::{Instance, InstancePhase, InstanceSpec, Power};
use serde_json::json;

use super::shown::{PENDING, RUNNING, SHUTTING_DOWN, STOPPED, STOPPING, State, state};
use crate::actions::{Action, Answer};
use crate::context::Context;
use crate::failure::Failure;
use crate::ids;
use crate::xml::Xml;

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2("StartInstances", &["InstanceId"], |c| Box::pin(start(c))),
    Action::ec2("StopInstances", &["InstanceId", "Force", "Hibernate"], |c| Box::pin(stop(c)))
        .noting("Every stop ends with the plug after its grace; Force changes nothing."),
    Action::ec2("RebootInstances", &["InstanceId"], |c| Box::pin(reboot(c))),
    Action::ec2("TerminateInstances", &["InstanceId"], |c| Box::pin(terminate(c))),
    Action::ec2("MonitorInstances", &["InstanceId"], |c| Box::pin(monitor(c)))
        .noting("Refused: there is no detailed monitoring."),
    Action::ec2("UnmonitorInstances", &["InstanceId"], |c| Box::pin(unmonitor(c))),
];

/// The instances that a request names: all are there, or none is touched.
pub(crate) async fn named(c: &Context) -> Result<Vec<Instance>, Failure> {
    let wanted = c.params.list("InstanceId");
    if wanted.is_empty() {
        return Err(Failure::missing("InstanceId"));
    }
    let mut found = Vec::with_capacity(wanted.len());
    for id in &wanted {
        found.push(c.find::<InstanceSpec>(id).await?);
    }
    Ok(found)
}

fn changes(changed: &[(String, State, State)]) -> Xml {
    let mut x = Xml::new();
    x.list("instancesSet", changed, |x, (id, before, after)| {
        x.text("instanceId", id);
        for (name, state) in [("currentState", after), ("previousState", before)] {
            x.node(name, |x| {
                x.text("code", state.1).text("name", state.0);
            });
        }
    });
    x
}

fn wrong_state(instance: &Instance, verb: &str) -> Failure {
    let message = format!(
        "The instance '{}' is not in a state from which it can be {verb}: it is {}.",
        ids::id(instance),
        state(instance).0
    );
    Failure::new("IncorrectInstanceState", message)
}

async fn start(c: &Context) -> Answer {
    let instances = named(c).await?;
    if let Some(leaving) = instances.iter().find(|i| matches!(state(i), SHUTTING_DOWN | STOPPING)) {
        return Err(wrong_state(leaving, "started"));
    }
    let mut changed = Vec::new();
    for instance in &instances {
        let before = state(instance);
        if before == STOPPED {
            // One that ended by itself is wanted running already: only asking for another boot starts it.
            let ended = matches!(instance.status.phase, InstancePhase::Succeeded | InstancePhase::Failed);
            let again = ended && instance.spec.power == Power::Running;
            let reboots = instance.spec.reboots + u64::from(again);
            let patch = json!({ "spec": { "power": "running", "reboots": reboots } });
            c.merge::<InstanceSpec>(&instance.metadata.name, &patch).await?;
        }
        let after = if before == STOPPED { PENDING } else { before };
        changed.push((ids::id(instance), before, after));
    }
    Ok(changes(&changed))
}

async fn stop(c: &Context) -> Answer {
    if c.params.flag("Hibernate")? == Some(true) {
        return Err(Failure::new(
            "UnsupportedHibernationConfiguration",
            "Instances cannot hibernate in this cloud",
        ));
    }
    let instances = named(c).await?;
    if let Some(leaving) = instances.iter().find(|i| state(i) == SHUTTING_DOWN) {
        return Err(wrong_state(leaving, "stopped"));
    }
    let mut changed = Vec::new();
    for instance in &instances {
        let before = state(instance);
        let patch = json!({ "spec": { "power": "stopped" } });
        c.merge::<InstanceSpec>(&instance.metadata.name, &patch).await?;
        let after = if before == STOPPED { STOPPED } else { STOPPING };
        changed.push((ids::id(instance), before, after));
    }
    Ok(changes(&changed))
}

async fn reboot(c: &Context) -> Answer {
    let instances = named(c).await?;
    if let Some(off) = instances.iter().find(|i| !matches!(state(i), RUNNING | PENDING)) {
        return Err(wrong_state(off, "rebooted"));
    }
    for instance in &instances {
        let patch = json!({ "spec": { "reboots": instance.spec.reboots + 1 } });
        c.merge::<InstanceSpec>(&instance.metadata.name, &patch).await?;
    }
    Ok(super::done())
}

async fn terminate(c: &Context) -> Answer {
    let wanted = c.params.list("InstanceId");
    let mut changed = Vec::new();
    let instances = match named(c).await {
        // Terminating what is terminated is no error, for as long as it is still shown.
        Err(e) if wanted.len() == 1 && e.code == "InvalidInstanceID.NotFound" => {
            changed.push(super::instances::terminated_state(c, &wanted[0]).await?.ok_or(e)?);
            Vec::new()
        }
        result => result?,
    };
    if let Some(kept) = instances.iter().find(|i| i.spec.protected) {
        let message = format!(
            "The instance '{}' may not be terminated. Modify its 'disableApiTermination' instance attribute and \
             try again.",
            ids::id(kept)
        );
        return Err(Failure::new("OperationNotPermitted", message));
    }
    for instance in &instances {
        let options = DeleteOptions {
            // A guest that listens is switched off, not cut off.
            grace_period_seconds: Some(i64::from(instance.spec.grace_seconds())),
            uid: Some(instance.metadata.uid.clone()),
            ..DeleteOptions::default()
        };
        if !instance.metadata.is_deleting() {
            c.api::<InstanceSpec>().delete(&instance.metadata.name, &options).await?;
            c.end_dry_run()?;
        }
        changed.push((ids::id(instance), state(instance), SHUTTING_DOWN));
    }
    Ok(changes(&changed))
}

async fn monitor(c: &Context) -> Answer {
    named(c).await?;
    Err(Failure::unsupported("There is no detailed monitoring in this cloud"))
}

async fn unmonitor(c: &Context) -> Answer {
    let instances = named(c).await?;
    let mut x = Xml::new();
    x.list("instancesSet", &instances, |x, instance| {
        x.text("instanceId", ids::id(instance)).node("monitoring", |x| {
            x.text("state", "disabled");
        });
    });
    Ok(x)
}
