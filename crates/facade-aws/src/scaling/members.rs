//! Instances of groups, and what has become of them.

use client::DeleteOptions;
use model::compute::{Instance, InstancePhase, InstanceSet, InstanceSetSpec, InstanceSpec};
use model::network::SubnetSpec;
use model::{ConditionStatus, zone_in_region};

use super::{Settings, group_of, groups, listed, name_of};
use crate::actions::{Action, Answer};
use crate::context::Context;
use crate::ec2::created_at;
use crate::failure::Failure;
use crate::ids;
use crate::xml::Xml;

pub(crate) const ACTIONS: &[Action] = &[
    Action::scaling("DescribeAutoScalingInstances", &["InstanceIds", "MaxRecords", "NextToken"], |c| {
        Box::pin(describe(c))
    }),
    Action::scaling(
        "DescribeScalingActivities",
        &["AutoScalingGroupName", "ActivityIds", "MaxRecords", "NextToken", "IncludeDeletedGroups"],
        |c| Box::pin(activities(c)),
    )
    .noting("Launches of the instances that are there, and why none can be made."),
    Action::scaling(
        "TerminateInstanceInAutoScalingGroup",
        &["InstanceId", "ShouldDecrementDesiredCapacity"],
        |c| Box::pin(terminate(c)),
    ),
];

/// Where an instance is in its life, in Auto Scaling's words, and whether it is well.
fn state(instance: &Instance) -> (&'static str, &'static str) {
    if instance.metadata.is_deleting() {
        return ("Terminating", "Healthy");
    }
    match instance.status.phase {
        InstancePhase::Pending | InstancePhase::Starting => ("Pending", "Healthy"),
        InstancePhase::Stopped
        | InstancePhase::Succeeded
        | InstancePhase::Failed
        | InstancePhase::Stopping => ("InService", "Unhealthy"),
        InstancePhase::Running | InstancePhase::Paused | InstancePhase::Unknown => ("InService", "Healthy"),
    }
}

/// What is shown of an instance wherever it is.
fn write_state(x: &mut Xml, settings: &Settings, instance: &Instance) {
    let (life, health) = state(instance);
    x.text("InstanceId", ids::id(instance))
        .given("InstanceType", &instance.spec.instance_type)
        .text("LifecycleState", life)
        .text("HealthStatus", health)
        .text("ProtectedFromScaleIn", false);
    if settings.template_number > 0 {
        let mut own = settings.clone();
        own.template_version = settings.template_number.to_string();
        groups::write_template(x, &own);
    }
}

pub(super) fn write(x: &mut Xml, settings: &Settings, instance: &Instance, zone: &str) {
    write_state(x, settings, instance);
    x.text("AvailabilityZone", zone);
}

async fn describe(c: &Context) -> Answer {
    let wanted = c.params.list("InstanceIds.member");
    let (sets, instances, subnets) = futures::try_join!(
        c.list::<InstanceSetSpec>(),
        c.list::<InstanceSpec>(),
        c.list_if_allowed::<SubnetSpec>(),
    )?;
    let is_wanted = |instance: &Instance| wanted.is_empty() || wanted.contains(&ids::id(instance));
    let own = instances.iter().filter(|instance| is_wanted(instance));
    let items = own
        .filter_map(|instance| Some((ids::id(instance), (instance, group_of(&sets, instance)?))))
        .collect::<Vec<_>>();
    listed(c, "AutoScalingInstances", items, |x, (instance, set)| {
        let subnet = instance.spec.networks.first().and_then(|card| ids::find(&subnets, &card.subnet));
        let zone = subnet.map_or(instance.spec.placement.zone.as_str(), |subnet| subnet.spec.zone.as_str());
        write(x, &Settings::of(set), instance, &zone_in_region(zone));
        x.text("AutoScalingGroupName", name_of(set));
    })
}

/// Something that a group has done or tries to do.
struct Activity {
    id: String,
    group: String,
    description: String,
    cause: String,
    started: String,
    ended: String,
    status: &'static str,
    message: String,
    progress: u8,
}

impl Activity {
    fn launch(set: &InstanceSet, instance: &Instance) -> Self {
        let id = ids::id(instance);
        let runs = state(instance).0 != "Pending";
        let started = created_at(&instance.metadata);
        Self {
            id: instance.metadata.uid.to_string(),
            group: name_of(set).to_owned(),
            description: format!("Launching a new EC2 instance: {id}"),
            cause: format!("An instance was started to have the desired capacity of {}.", set.spec.replicas),
            ended: if runs { started.clone() } else { String::new() },
            started,
            status: if runs { "Successful" } else { "InProgress" },
            message: String::new(),
            progress: if runs { 100 } else { 50 },
        }
    }

    /// That members cannot be made, for as long as that is so.
    fn failed(set: &InstanceSet) -> Option<Self> {
        let mut conditions = set.status.conditions.iter();
        let no = conditions.find(|c| c.kind == "Complete" && c.status == ConditionStatus::False)?;
        let at = no.last_transition_time.map(|at| at.to_string());
        let at = at.unwrap_or_else(|| created_at(&set.metadata));
        Some(Self {
            id: ids::hashed("failed", set.metadata.uid.as_str()),
            group: name_of(set).to_owned(),
            description: "Launching a new EC2 instance.".into(),
            cause: format!(
                "An instance was to be started to have the desired capacity of {}.",
                set.spec.replicas
            ),
            started: at.clone(),
            ended: at,
            status: "Failed",
            message: no.message.clone(),
            progress: 100,
        })
    }

    fn write(&self, x: &mut Xml) {
        x.text("ActivityId", &self.id)
            .text("AutoScalingGroupName", &self.group)
            .text("Description", &self.description)
            .text("Cause", &self.cause)
            .text("StartTime", &self.started)
            .given("EndTime", &self.ended)
            .text("StatusCode", self.status)
            .given("StatusMessage", &self.message)
            .text("Progress", self.progress);
    }
}

async fn activities(c: &Context) -> Answer {
    let wanted = c.params.list("ActivityIds.member");
    let (sets, instances) = (c.list::<InstanceSetSpec>().await?, c.list_if_allowed::<InstanceSpec>().await?);
    let only = match c.params.get("AutoScalingGroupName") {
        Some(name) => Some(groups::find_in(&sets, name)?.metadata.uid.clone()),
        None => None,
    };
    let is_asked = |set: &&InstanceSet| only.as_ref().is_none_or(|uid| *uid == set.metadata.uid);
    let mut found: Vec<Activity> = Vec::new();
    for set in sets.iter().filter(is_asked) {
        found.extend(Activity::failed(set));
        let own = instances.iter().filter(|instance| super::is_member(set, instance));
        found.extend(own.map(|instance| Activity::launch(set, instance)));
    }
    found.retain(|activity| wanted.is_empty() || wanted.contains(&activity.id));
    // The newest comes first.
    found.sort_by(|a, b| (&b.started, &b.id).cmp(&(&a.started, &a.id)));
    let items = found.into_iter().enumerate().map(|(i, activity)| (format!("{i:06}"), activity)).collect();
    listed(c, "Activities", items, |x, activity| activity.write(x))
}

async fn terminate(c: &Context) -> Answer {
    let id = c.params.require("InstanceId")?;
    let smaller = c.params.flag("ShouldDecrementDesiredCapacity")?;
    let smaller = smaller.ok_or_else(|| Failure::missing("ShouldDecrementDesiredCapacity"))?;
    let (sets, instances) = (c.list::<InstanceSetSpec>().await?, c.list::<InstanceSpec>().await?);
    let missing = || {
        let id: String = id.chars().take(80).collect();
        Failure::value(format!("Instance Id not found - No managed instance found for instance ID: {id}"))
    };
    let instance = instances.iter().find(|instance| ids::id(instance) == id).ok_or_else(missing)?;
    let set = group_of(&sets, instance).ok_or_else(missing)?;
    if smaller {
        Settings::of(set).check(set.spec.replicas.saturating_sub(1))?;
    }
    // First it is on its way out, then there is to be one less: in the other order another one would go.
    let options = DeleteOptions {
        grace_period_seconds: Some(i64::from(instance.spec.grace_seconds())),
        uid: Some(instance.metadata.uid.clone()),
        ..DeleteOptions::default()
    };
    c.api::<InstanceSpec>().delete(&instance.metadata.name, &options).await?;
    c.end_dry_run()?;
    if smaller {
        c.change::<InstanceSetSpec>(&set.metadata.name, |set| {
            set.spec.replicas = set.spec.replicas.saturating_sub(1);
            Ok(())
        })
        .await?;
    }
    let activity = Activity {
        id: ids::hashed("ended", instance.metadata.uid.as_str()),
        group: name_of(set).to_owned(),
        description: format!("Terminating EC2 instance: {id}"),
        cause: "An instance was taken out of service in response to a user request.".into(),
        started: c.now().to_string(),
        ended: String::new(),
        status: "InProgress",
        message: String::new(),
        progress: 0,
    };
    let mut x = Xml::new();
    x.node("Activity", |x| activity.write(x));
    Ok(x)
}
