//! Groups themselves: made, shown, changed, deleted.

use model::compute::{Instance, InstanceSet, InstanceSetSpec, InstanceSpec};
use model::network::{Subnet, SubnetSpec, TargetGroup, TargetGroupSpec};
use model::{Object, ObjectMeta, Reason, zone_in_region};

use super::{
    NAME, Settings, arn, filters, is_member, listed, members, name_of, named, new_name, none, object_name,
    tagging, target_groups, template, template_tags,
};
use crate::actions::{Action, Answer};
use crate::authorize;
use crate::context::Context;
use crate::ec2::{launch_templates, run, world::World};
use crate::failure::Failure;
use crate::ids;
use crate::params::Params;
use crate::tags::{self, Tags};
use crate::xml::Xml;

/// Seconds of AWS's own, where nothing is said. Nothing waits for them here: a group has no policies.
const COOLDOWN: u32 = 300;

const TAKES: &[&str] = &[
    "AutoScalingGroupName",
    "LaunchTemplate",
    "MinSize",
    "MaxSize",
    "DesiredCapacity",
    "DefaultCooldown",
    "AvailabilityZones",
    "VPCZoneIdentifier",
    "HealthCheckType",
    "HealthCheckGracePeriod",
    "TerminationPolicies",
    "NewInstancesProtectedFromScaleIn",
    "CapacityRebalance",
    "AvailabilityZoneDistribution",
    "TargetGroupARNs",
    "Tags",
];

/// A group stands in one zone, which has whatever can be made in it.
const DISTRIBUTION: &str = "balanced-best-effort";

pub(crate) const ACTIONS: &[Action] = &[
    Action::scaling("CreateAutoScalingGroup", TAKES, |c| Box::pin(create(c))).noting(
        "Of a launch template, whose $Latest and $Default are those of the moment of the request. Instances stand in one \
         subnet. A group has the size that is asked for: there are no policies that change it.",
    ),
    Action::scaling(
        "DescribeAutoScalingGroups",
        &["AutoScalingGroupNames", "Filters", "MaxRecords", "NextToken", "IncludeInstances"],
        |c| Box::pin(describe(c)),
    )
    .noting("InstanceSets that were made otherwise are groups too."),
    Action::scaling("UpdateAutoScalingGroup", TAKES, |c| Box::pin(update(c)))
        .noting("Another template is that of instances that come after."),
    Action::scaling("DeleteAutoScalingGroup", &["AutoScalingGroupName", "ForceDelete"], |c| Box::pin(delete(c))),
    Action::scaling("SetDesiredCapacity", &["AutoScalingGroupName", "DesiredCapacity", "HonorCooldown"], |c| {
        Box::pin(set_desired(c))
    }),
];

fn write(
    c: &Context,
    x: &mut Xml,
    set: &InstanceSet,
    instances: &[Instance],
    subnets: &[Subnet],
    groups: &[TargetGroup],
) {
    let settings = Settings::of(set);
    let own: Vec<&Instance> = instances.iter().filter(|instance| is_member(set, instance)).collect();
    let subnet = set.spec.template.spec.networks.first().and_then(|card| ids::find(subnets, &card.subnet));
    let zone = zone_in_region(match subnet {
        Some(subnet) if set.spec.template.spec.placement.zone.is_empty() => &subnet.spec.zone,
        _ => &set.spec.template.spec.placement.zone,
    });
    x.text("AutoScalingGroupName", name_of(set)).text("AutoScalingGroupARN", arn(c, set));
    write_template(x, &settings);
    x.text("MinSize", settings.min)
        .text("MaxSize", settings.max)
        .text("DesiredCapacity", set.spec.replicas)
        .text("DefaultCooldown", settings.cooldown)
        .members("AvailabilityZones", [&zone], |x, zone| {
            x.out_text(zone);
        })
        .members("TargetGroupARNs", target_groups::of(set, groups), |x, group| {
            x.out_text(crate::elb::group_arn(c, group));
        })
        .text("HealthCheckType", "EC2")
        .text("HealthCheckGracePeriod", settings.grace)
        .members("Instances", own, |x, instance| members::write(x, &settings, instance, &zone))
        .text("CreatedTime", crate::ec2::created_at(&set.metadata))
        .given("VPCZoneIdentifier", subnet.map(ids::id).unwrap_or_default())
        .given("Status", if set.metadata.is_deleting() { "Delete in progress" } else { "" })
        .members("Tags", tagging::of(set), |x, (key, value, propagate)| {
            tagging::write(x, name_of(set), &key, &value, propagate);
        })
        .members("TerminationPolicies", ["Default"], |x, word| {
            x.out_text(word);
        })
        .text("NewInstancesProtectedFromScaleIn", false)
        .text("CapacityRebalance", false)
        .node("AvailabilityZoneDistribution", |x| {
            x.text("CapacityDistributionStrategy", DISTRIBUTION);
        });
}

/// The launch template of a group, where it was made of one.
pub(super) fn write_template(x: &mut Xml, settings: &Settings) {
    if !settings.template_id.is_empty() {
        x.node("LaunchTemplate", |x| {
            x.text("LaunchTemplateId", &settings.template_id)
                .text("LaunchTemplateName", &settings.template_name)
                .text("Version", &settings.template_version);
        });
    }
}

async fn describe(c: &Context) -> Answer {
    let names = c.params.list("AutoScalingGroupNames.member");
    let known = |name: &str| name.starts_with("tag:") || matches!(name, "tag-key" | "tag-value");
    let filters = filters(c, known)?;
    let mut sets = c.list::<InstanceSetSpec>().await?;
    sets.retain(|set| names.is_empty() || names.iter().any(|name| name == name_of(set)));
    sets.retain(|set| {
        let own = tags::of(&set.metadata);
        filters.iter().all(|(name, values)| match name.strip_prefix("tag:") {
            Some(key) => own.get(key).is_some_and(|value| values.contains(value)),
            None if name == "tag-key" => own.keys().any(|key| values.contains(key)),
            None => own.values().any(|value| values.contains(value)),
        })
    });
    let (instances, subnets, groups) = futures::try_join!(
        c.list_if_allowed::<InstanceSpec>(),
        c.list_if_allowed::<SubnetSpec>(),
        c.list_if_allowed::<TargetGroupSpec>(),
    )?;
    let items = sets.into_iter().map(|set| (name_of(&set).to_owned(), set)).collect();
    listed(c, "AutoScalingGroups", items, |x, set| write(c, x, set, &instances, &subnets, &groups))
}

/// What can be said in one way only.
fn plain_options(params: &Params) -> Result<(), Failure> {
    for (name, only) in [
        ("HealthCheckType", "EC2"),
        ("NewInstancesProtectedFromScaleIn", "false"),
        ("CapacityRebalance", "false"),
        ("AvailabilityZoneDistribution.CapacityDistributionStrategy", DISTRIBUTION),
    ] {
        if params.get(name).is_some_and(|given| !given.eq_ignore_ascii_case(only)) {
            return Err(Failure::value(format!("{name} can only be {only} in this cloud")));
        }
    }
    let policies = params.list("TerminationPolicies.member");
    if policies.iter().any(|policy| policy != "Default") {
        return Err(Failure::value(
            "TerminationPolicies can only be Default in this cloud: the newest goes first",
        ));
    }
    Ok(())
}

fn size(params: &Params, name: &str) -> Result<Option<u32>, Failure> {
    let Some(number) = params.number(name)? else { return Ok(None) };
    let fits = u32::try_from(number).ok().filter(|n| *n <= 100_000);
    fits.map(Some).ok_or_else(|| params.invalid(name, &number.to_string(), "must be 0 to 100000"))
}

/// The sizes of a request over those that hold.
fn sizes(params: &Params, settings: &mut Settings) -> Result<(), Failure> {
    for (name, field) in [
        ("MinSize", &mut settings.min),
        ("MaxSize", &mut settings.max),
        ("DefaultCooldown", &mut settings.cooldown),
        ("HealthCheckGracePeriod", &mut settings.grace),
    ] {
        if let Some(number) = size(params, name)? {
            *field = number;
        }
    }
    Ok(())
}

/// The one subnet that a request names, if it does.
fn subnet(params: &Params) -> Result<Option<String>, Failure> {
    let all: Vec<&str> =
        params.text("VPCZoneIdentifier").split(',').map(str::trim).filter(|id| !id.is_empty()).collect();
    match all.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some((*one).to_owned())),
        _ => {
            let message =
                "Instances of a group stand in one subnet in this cloud: name one, or make a group for each";
            Err(Failure::value(message))
        }
    }
}

/// What instances of the group are: of a launch template, in a subnet. Whoever makes a group may run them himself.
async fn instances(c: &Context, settings: &mut Settings) -> Result<(InstanceSpec, Tags), Failure> {
    let given = c.params.below("LaunchTemplate");
    let mut params = Params::default();
    if given.is_empty() {
        params.put("LaunchTemplate.LaunchTemplateId", &settings.template_id);
        params.put("LaunchTemplate.Version", &settings.template_version);
    } else {
        for (name, value) in given.into_values() {
            params.put(&format!("LaunchTemplate.{name}"), &value);
        }
    }
    let asked = params.get("LaunchTemplate.Version").unwrap_or("$Default").to_owned();
    let (template, number) = launch_templates::chosen(c, &params.below("LaunchTemplate")).await?;
    settings.template_id = ids::id(&template);
    settings.template_name.clone_from(&template.spec.name);
    (settings.template_version, settings.template_number) = (asked, number);
    let mut run = c.with("RunInstances", params);
    let mut params = launch_templates::merged(&run).await?;
    if !settings.subnet.is_empty() {
        let cards = params.has("NetworkInterface");
        params.put(if cards { "NetworkInterface.1.SubnetId" } else { "SubnetId" }, &settings.subnet);
    }
    let zones = c.params.list("AvailabilityZones.member");
    match zones.as_slice() {
        [] => {}
        [zone] => params.put("Placement.AvailabilityZone", zone),
        _ => return Err(Failure::value("Instances of a group stand in one zone in this cloud: name one")),
    }
    run.params = params;
    authorize::check(&run, "ec2").await?;
    let world = World::load(&run).await?;
    run::common(&run, &world).await
}

async fn create(c: &Context) -> Answer {
    let name = new_name(c)?;
    plain_options(&c.params)?;
    let mut settings = Settings { cooldown: COOLDOWN, ..Settings::default() };
    for required in ["MinSize", "MaxSize"] {
        c.params.require(required)?;
    }
    sizes(&c.params, &mut settings)?;
    let desired = size(&c.params, "DesiredCapacity")?.unwrap_or(settings.min);
    settings.check(desired)?;
    if !c.params.has("LaunchTemplate") {
        return Err(Failure::value("Valid requests must contain the LaunchTemplate parameter"));
    }
    settings.subnet = subnet(&c.params)?.unwrap_or_default();
    let mut meta = ObjectMeta::in_project(c.project(), object_name(&name));
    if meta.name != name {
        meta.annotations.insert(NAME.into(), name.clone());
    }
    let (own, propagated) = tagging::given(c, &name)?;
    tags::give(&mut meta, own.clone());
    let (spec, mut of_instances) = instances(c, &mut settings).await.map_err(in_own_words)?;
    of_instances.extend(own.into_iter().filter(|(key, _)| propagated.contains(key)));
    settings.propagated = propagated;
    let attached = target_groups::given(c).await?;
    let mut set = Object::new(meta, InstanceSetSpec::default());
    set.spec.replicas = desired;
    set.spec.template = template(&set.metadata, &name, spec, of_instances);
    settings.put(&mut set)?;
    let made = c.api::<InstanceSetSpec>().create(&set).await.map_err(|e| match e.reason {
        Reason::AlreadyExists => {
            let message = format!(
                "AutoScalingGroup by this name already exists - A group with the name {name} already exists"
            );
            Failure::new("AlreadyExists", message)
        }
        _ => in_own_words(e.into()),
    })?;
    c.end_dry_run()?;
    target_groups::attach(c, &made, &attached).await?;
    Ok(Xml::new())
}

/// EC2's refusals, of which Auto Scaling has one word.
fn in_own_words(e: Failure) -> Failure {
    let is_own = e.code.starts_with("Invalid") || e.code == "UnsupportedOperation";
    if is_own && e.status == 400 { Failure::value(e.message) } else { e }
}

async fn update(c: &Context) -> Answer {
    let set = named(c).await?;
    plain_options(&c.params)?;
    for fixed in ["TargetGroupARNs", "Tags"] {
        if c.params.has(fixed) {
            return Err(Failure::value(format!("{fixed} are changed by an action of their own")));
        }
    }
    let mut settings = Settings::of(&set);
    sizes(&c.params, &mut settings)?;
    if let Some(subnet) = subnet(&c.params)? {
        settings.subnet = subnet;
    }
    let desired = size(&c.params, "DesiredCapacity")?;
    // A group that is smaller or larger than it may be becomes what it may be.
    let wanted =
        desired.unwrap_or_else(|| set.spec.replicas.clamp(settings.min, settings.max.max(settings.min)));
    settings.check(wanted)?;
    let others = ["LaunchTemplate", "VPCZoneIdentifier", "AvailabilityZones"];
    let new = if others.iter().any(|name| c.params.has(name)) {
        Some(instances(c, &mut settings).await.map_err(in_own_words)?)
    } else {
        None
    };
    c.change::<InstanceSetSpec>(&set.metadata.name, |set| {
        set.spec.replicas = wanted;
        if let Some((spec, of_instances)) = &new {
            let own = tags::of(&set.metadata).into_iter();
            let mut all = of_instances.clone();
            all.extend(own.filter(|(key, _)| settings.propagated.contains(key)));
            set.spec.template = template(&set.metadata, name_of(set), spec.clone(), all);
        }
        settings.put(set)
    })
    .await?;
    Ok(Xml::new())
}

async fn set_desired(c: &Context) -> Answer {
    let set = named(c).await?;
    let desired = size(&c.params, "DesiredCapacity")?.ok_or_else(|| Failure::missing("DesiredCapacity"))?;
    c.change::<InstanceSetSpec>(&set.metadata.name, |set| {
        Settings::of(set).check(desired)?;
        set.spec.replicas = desired;
        Ok(())
    })
    .await?;
    Ok(Xml::new())
}

async fn delete(c: &Context) -> Answer {
    let set = named(c).await?;
    let forced = c.params.flag("ForceDelete")?.unwrap_or(false);
    let instances = c.list_if_allowed::<InstanceSpec>().await?;
    if !forced && (set.spec.replicas > 0 || instances.iter().any(|instance| is_member(&set, instance))) {
        let message = "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) \
                       still in the group.";
        return Err(Failure::new("ResourceInUse", message));
    }
    c.delete::<InstanceSetSpec>(&set.metadata.name, "ResourceInUse").await?;
    target_groups::forget(c, &set).await?;
    Ok(Xml::new())
}

/// Puts the tags of a group on what its next instances are made of.
pub(super) fn retag(set: &mut InstanceSet, before: &Tags, settings: &Settings) {
    let mut all = template_tags(set);
    // What the template itself says stays; what was the group's is anew.
    all.retain(|key, _| !before.contains_key(key));
    let own = tags::of(&set.metadata);
    all.extend(own.into_iter().filter(|(key, _)| settings.propagated.contains(key)));
    let name = name_of(set).to_owned();
    let spec = std::mem::take(&mut set.spec.template.spec);
    set.spec.template = template(&set.metadata, &name, spec, all);
}

/// That a group is not there, where its name is known to be one of a list.
pub(super) fn find_in<'a>(sets: &'a [InstanceSet], name: &str) -> Result<&'a InstanceSet, Failure> {
    sets.iter().find(|set| name_of(set) == name).ok_or_else(|| none(name))
}
