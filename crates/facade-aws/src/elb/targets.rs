//! Targets of groups, and how they do.

use model::compute::{Instance, InstancePhase, InstanceSpec};
use model::network::{Address, LoadBalancerSpec, Target, TargetGroup, TargetGroupSpec, TargetStatus};

use super::groups::{is_of_addresses, users_of};
use super::named_group;
use crate::actions::{Action, Answer};
use crate::context::Context;
use crate::failure::Failure;
use crate::ids;
use crate::params::Params;
use crate::xml::Xml;

const TARGETS_MAX: usize = 1000;

pub(crate) const ACTIONS: &[Action] = &[
    Action::elb("RegisterTargets", &["TargetGroupArn", "Targets"], |c| Box::pin(register(c))),
    Action::elb("DeregisterTargets", &["TargetGroupArn", "Targets"], |c| Box::pin(deregister(c)))
        .noting("Connections under way go on; a target is gone from the group at once."),
    Action::elb("DescribeTargetHealth", &["TargetGroupArn", "Targets"], |c| Box::pin(health(c))),
];

/// A target as a request names it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    id: String,
    port: Option<u16>,
}

fn asked(params: &Params) -> Result<Vec<Asked>, Failure> {
    let mut found = Vec::new();
    for target in params.structs("Targets.member") {
        if let Some(other) = target.unknown(&["Id", "Port", "AvailabilityZone"]).next() {
            return Err(super::action::not_here(&format!("{other} is not supported by this cloud")));
        }
        let port = match target.get("Port") {
            None => None,
            Some(text) => {
                let port = text.parse().ok().filter(|port| *port > 0);
                Some(port.ok_or_else(|| target.invalid("Port", text, "must be 1 to 65535"))?)
            }
        };
        found.push(Asked { id: target.require("Id")?.to_owned(), port });
    }
    Ok(found)
}

fn none(id: &str) -> Failure {
    let id: String = id.chars().take(80).collect();
    Failure::new("InvalidTarget", format!("The following targets are not valid: '{id}'"))
}

/// What a target is called in AWS: an instance's id, or the address.
fn id_of(target: &str, instances: &[Instance]) -> String {
    ids::find(instances, target).map_or_else(|| target.to_owned(), ids::id)
}

/// A target as it is kept.
fn target(group: &TargetGroup, asked: &Asked, instances: &[Instance]) -> Result<Target, Failure> {
    if is_of_addresses(group) {
        let address: Address = asked.id.parse().map_err(|_| none(&asked.id))?;
        return Ok(Target { address: Some(address), port: asked.port, ..Target::default() });
    }
    let found = instances.iter().find(|instance| ids::id(instance) == asked.id);
    let instance =
        found.filter(|instance| !instance.metadata.is_deleting()).ok_or_else(|| none(&asked.id))?;
    Ok(Target { instance: instance.metadata.name.clone(), port: asked.port, ..Target::default() })
}

async fn register(c: &Context) -> Answer {
    let group = named_group(c).await?;
    let asked = asked(&c.params)?;
    if asked.is_empty() {
        return Err(Failure::missing("Targets"));
    }
    let instances = c.list_if_allowed::<InstanceSpec>().await?;
    let new: Vec<Target> =
        asked.iter().map(|asked| target(&group, asked, &instances)).collect::<Result<_, _>>()?;
    c.change::<TargetGroupSpec>(&group.metadata.name, |group| {
        let port = group.spec.port;
        let same = |a: &Target, b: &Target| {
            (&a.instance, a.address, a.port.unwrap_or(port))
                == (&b.instance, b.address, b.port.unwrap_or(port))
        };
        // Whoever is gone for good makes room.
        group
            .spec
            .targets
            .retain(|target| target.instance.is_empty() || ids::find(&instances, &target.instance).is_some());
        for target in &new {
            if !group.spec.targets.iter().any(|known| same(known, target)) {
                group.spec.targets.push(target.clone());
            }
        }
        if group.spec.targets.len() > TARGETS_MAX {
            let message = format!("A target group has at most {TARGETS_MAX} targets");
            return Err(Failure::new("TooManyTargets", message));
        }
        Ok(())
    })
    .await?;
    Ok(Xml::new())
}

async fn deregister(c: &Context) -> Answer {
    let group = named_group(c).await?;
    let asked = asked(&c.params)?;
    if asked.is_empty() {
        return Err(Failure::missing("Targets"));
    }
    let instances = c.list_if_allowed::<InstanceSpec>().await?;
    let of_addresses = is_of_addresses(&group);
    for asked in &asked {
        let is_one =
            if of_addresses { asked.id.parse::<Address>().is_ok() } else { ids::is_id("i", &asked.id) };
        if !is_one {
            return Err(none(&asked.id));
        }
    }
    c.change::<TargetGroupSpec>(&group.metadata.name, |group| {
        let port = group.spec.port;
        group.spec.targets.retain(|target| {
            let name = target.address.map_or_else(|| target.instance.clone(), |address| address.to_string());
            let id = id_of(&name, &instances);
            let own = target.port.unwrap_or(port);
            // Without a port, whichever it has.
            !asked.iter().any(|asked| asked.id == id && asked.port.is_none_or(|port| port == own))
        });
        Ok(())
    })
    .await?;
    Ok(Xml::new())
}

/// State, reason and description in AWS's words.
type Health = (&'static str, &'static str, String);

/// How a target does, by what the balancer says of it.
fn judged(told: Option<&TargetStatus>, is_used: bool, instance: Option<&Instance>) -> Health {
    let said = |state, reason, text: &str| (state, reason, text.to_owned());
    if !is_used {
        let text = "Target group is not configured to receive traffic from the load balancer";
        return said("unused", "Target.NotInUse", text);
    }
    if let Some(stopped) = instance.filter(|i| i.status.phase == InstancePhase::Stopped) {
        let text = format!("Target is in the stopped state: {}", stopped.metadata.name);
        return ("unused", "Target.InvalidState", text);
    }
    match told {
        None => said("initial", "Elb.RegistrationInProgress", "Target registration is in progress"),
        Some(told) if told.healthy => ("healthy", "", String::new()),
        Some(told) if told.reason.starts_with("not checked yet") => {
            said("initial", "Elb.InitialHealthChecking", "Initial health checks in progress")
        }
        Some(told) if told.reason.contains("in time") => ("unhealthy", "Target.Timeout", told.reason.clone()),
        Some(told) if told.reason.starts_with("answers with an error") => {
            ("unhealthy", "Target.ResponseCodeMismatch", told.reason.clone())
        }
        Some(told) => ("unhealthy", "Target.FailedHealthChecks", told.reason.clone()),
    }
}

async fn health(c: &Context) -> Answer {
    let group = named_group(c).await?;
    let wanted = asked(&c.params)?;
    let (instances, balancers) =
        (c.list_if_allowed::<InstanceSpec>().await?, c.list_if_allowed::<LoadBalancerSpec>().await?);
    let name = &group.metadata.name;
    let users: Vec<_> = users_of(&group, &balancers).collect();
    let told: Vec<&TargetStatus> =
        users.iter().flat_map(|b| &b.status.targets).filter(|status| status.group == *name).collect();
    // Those that are named, and those that have the group's labels, of which the balancer tells.
    let mut all: Vec<(String, u16)> = Vec::new();
    for target in &group.spec.targets {
        let name = target.address.map_or_else(|| target.instance.clone(), |address| address.to_string());
        // An instance that is gone is no target any longer, as with AWS.
        if target.address.is_some() || ids::find(&instances, &name).is_some() {
            all.push((name, target.port.unwrap_or(group.spec.port)));
        }
    }
    for status in &told {
        let port = port_of(status).unwrap_or(group.spec.port);
        let known = all.iter().any(|(name, p)| *name == status.target && *p == port);
        if !known && ids::find(&instances, &status.target).is_some() && !group.spec.instance_labels.is_empty()
        {
            all.push((status.target.clone(), port));
        }
    }
    let mut shown: Vec<(String, u16, Health)> = Vec::new();
    for (target, port) in &all {
        let status = told
            .iter()
            .find(|status| status.target == *target && port_of(status).is_none_or(|own| own == *port));
        let instance = ids::find(&instances, target);
        shown.push((id_of(target, &instances), *port, judged(status.copied(), !users.is_empty(), instance)));
    }
    if !wanted.is_empty() {
        let is_it =
            |asked: &Asked, id: &str, port: u16| asked.id == id && asked.port.is_none_or(|p| p == port);
        let missing = |asked: &&Asked| !shown.iter().any(|(id, port, _)| is_it(asked, id, *port));
        let unknown: Vec<(String, u16, Health)> = wanted
            .iter()
            .filter(missing)
            .map(|asked| {
                let text = "Target is not registered to the target group".to_owned();
                (
                    asked.id.clone(),
                    asked.port.unwrap_or(group.spec.port),
                    ("unused", "Target.NotRegistered", text),
                )
            })
            .collect();
        shown.retain(|(id, port, _)| wanted.iter().any(|asked| is_it(asked, id, *port)));
        shown.extend(unknown);
    }
    let check_port = group.spec.health_check.as_ref().and_then(|check| check.port);
    let mut x = Xml::new();
    x.members("TargetHealthDescriptions", &shown, |x, (id, port, (state, reason, description))| {
        x.node("Target", |x| {
            x.text("Id", id).text("Port", port);
        })
        .text("HealthCheckPort", check_port.unwrap_or(*port))
        .node("TargetHealth", |x| {
            x.text("State", state).given("Reason", reason).given("Description", description);
        });
    });
    Ok(x)
}

/// The port at which a balancer reaches a target.
fn port_of(status: &TargetStatus) -> Option<u16> {
    status.address.rsplit_once(':')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_those_that_waiters_wait_for() {
        let told = |healthy, reason: &str| TargetStatus {
            healthy,
            reason: reason.into(),
            address: "10.0.0.7:80".into(),
            ..TargetStatus::default()
        };
        let state = |status: Option<&TargetStatus>, used| {
            let (state, reason, _) = judged(status, used, None);
            (state, reason)
        };
        assert_eq!(state(None, false), ("unused", "Target.NotInUse"));
        assert_eq!(state(None, true), ("initial", "Elb.RegistrationInProgress"));
        assert_eq!(state(Some(&told(true, "")), true), ("healthy", ""));
        for (reason, code) in [
            ("not checked yet", "Elb.InitialHealthChecking"),
            ("does not answer in time", "Target.Timeout"),
            ("answers with an error: 503", "Target.ResponseCodeMismatch"),
            ("cannot be connected to: refused", "Target.FailedHealthChecks"),
        ] {
            assert_eq!(state(Some(&told(false, reason)), true).1, code, "{reason}");
        }
        assert_eq!(port_of(&told(true, "")), Some(80));
    }
}
