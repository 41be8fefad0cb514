//! Single attributes of instances, read and changed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::compute::{Instance, InstanceSpec};
use model::network::PortSpec;
use serde_json::{Value, json};

use super::attachments;
use super::instances::{groups, mapping, metadata_options};
use super::shown::{STOPPED, Shown, state};
use super::world::World;
use crate::actions::{Action, Answer};
use crate::context::Context;
use crate::failure::Failure;
use crate::ids;
use crate::params::Params;
use crate::xml::Xml;

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2("DescribeInstanceAttribute", &["InstanceId", "Attribute"], |c| Box::pin(describe(c))),
    Action::ec2(
        "ModifyInstanceAttribute",
        &[
            "InstanceId",
            "Attribute",
            "Value",
            "InstanceType",
            "UserData",
            "DisableApiTermination",
            "DisableApiStop",
            "SourceDestCheck",
            "GroupId",
            "InstanceInitiatedShutdownBehavior",
            "EbsOptimized",
            "BlockDeviceMapping",
        ],
        |c| Box::pin(modify(c)),
    )
    .noting("Size and user data change while the instance is stopped."),
    Action::ec2(
        "ModifyInstanceMetadataOptions",
        &[
            "InstanceId",
            "HttpTokens",
            "HttpPutResponseHopLimit",
            "HttpEndpoint",
            "HttpProtocolIpv6",
            "InstanceMetadataTags",
        ],
        |c| Box::pin(metadata(c)),
    )
    .noting("Tokens are always required; another setting is refused."),
];

async fn describe(c: &Context) -> Answer {
    let instance = c.named::<InstanceSpec>("InstanceId").await?;
    let world = World::load(c).await?;
    let shown = Shown::of(&world, &instance);
    let attribute = c.params.require("Attribute")?;
    let mut x = Xml::new();
    x.text("instanceId", &shown.id);
    let mut value = |value: &dyn std::fmt::Display| {
        x.node(attribute, |x| {
            x.text("value", value);
        });
    };
    match attribute {
        "instanceType" => value(&shown.instance_type),
        "userData" if instance.spec.user_data.is_empty() => {
            x.node("userData", |_| {});
        }
        "userData" => value(&STANDARD.encode(&instance.spec.user_data)),
        "disableApiTermination" => value(&instance.spec.protected),
        "disableApiStop" | "ebsOptimized" | "enaSupport" => value(&false),
        "instanceInitiatedShutdownBehavior" => value(&"stop"),
        "sourceDestCheck" => value(&shown.primary().is_none_or(|i| i.checks_source)),
        "rootDeviceName" if !shown.root_device.is_empty() => value(&shown.root_device),
        // There is none that could be named.
        "rootDeviceName" | "kernel" | "ramdisk" | "sriovNetSupport" => {
            x.node(attribute, |_| {});
        }
        "blockDeviceMapping" => {
            x.list(attribute, &shown.volumes, mapping);
        }
        "productCodes" => {
            x.list(attribute, std::iter::empty::<()>(), |_, ()| {});
        }
        "groupSet" => groups(&mut x, shown.groups()),
        "enclaveOptions" => {
            x.node("enclaveOptions", |x| {
                x.text("enabled", false);
            });
        }
        other => return Err(c.params.invalid("Attribute", other, "is no attribute of an instance")),
    }
    Ok(x)
}

async fn modify(c: &Context) -> Answer {
    let instance = c.named::<InstanceSpec>("InstanceId").await?;
    let params = &c.params;
    if params.has("BlockDeviceMapping") {
        return attachments::modify_mappings(c, &instance).await;
    }
    // The older form names the attribute; the newer one is its own name.
    let named = params.get("Attribute").map(|name| (name.to_owned(), params.text("Value").to_owned()));
    let newer = ["InstanceType", "UserData", "DisableApiTermination", "DisableApiStop", "SourceDestCheck"];
    let newer = newer.iter().chain(&["InstanceInitiatedShutdownBehavior", "EbsOptimized"]);
    let given = newer.filter_map(|name| {
        let value = params.get(&format!("{name}.Value")).or_else(|| params.get(name))?;
        let mut attribute = (*name).to_owned();
        attribute[..1].make_ascii_lowercase();
        Some((attribute, value.to_owned()))
    });
    let mut changes: Vec<(String, String)> = given.chain(named).collect();
    let groups = params.list("GroupId");
    if !groups.is_empty() {
        changes.push(("groupSet".into(), String::new()));
    }
    let (attribute, value) = match changes.as_slice() {
        [one] => one,
        [] => return Err(Failure::missing("Attribute")),
        _ => {
            let message = "Only one attribute is changed at a time";
            return Err(Failure::new("InvalidParameterCombination", message));
        }
    };
    change(c, &instance, attribute, value, &groups).await?;
    Ok(super::done())
}

async fn change(
    c: &Context,
    instance: &Instance,
    attribute: &str,
    value: &str,
    groups: &[String],
) -> Result<(), Failure> {
    let flag = || match value.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(c.params.invalid("Value", value, "must be true or false")),
    };
    let patch: Value = match attribute {
        "instanceType" => {
            only_when_stopped(instance)?;
            json!({ "spec": { "type": value } })
        }
        "userData" => {
            only_when_stopped(instance)?;
            let text = STANDARD.decode(value).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let text = text.ok_or_else(|| Failure::value("UserData must be text in BASE64"))?;
            json!({ "spec": { "userData": text } })
        }
        "disableApiTermination" => json!({ "spec": { "protected": flag()? } }),
        "disableApiStop" | "ebsOptimized" if !flag()? => return c.end_dry_run(),
        "instanceInitiatedShutdownBehavior" if value == "stop" => return c.end_dry_run(),
        "sourceDestCheck" => {
            let patch = json!({ "spec": { "sourceDestinationCheck": flag()? } });
            let port = primary_port(c, instance).await?;
            return c.merge::<PortSpec>(&port, &patch).await.map(drop);
        }
        "groupSet" => {
            let mut names = Vec::new();
            for id in groups {
                names.push(c.find::<model::network::SecurityGroupSpec>(id).await?.metadata.name);
            }
            let port = primary_port(c, instance).await?;
            let patch = json!({ "spec": { "securityGroups": names } });
            return c.merge::<PortSpec>(&port, &patch).await.map(drop);
        }
        other => {
            return Err(Failure::unsupported(format!("{other} cannot be set to {value} in this cloud")));
        }
    };
    c.merge::<InstanceSpec>(&instance.metadata.name, &patch).await.map(drop)
}

fn only_when_stopped(instance: &Instance) -> Result<(), Failure> {
    if state(instance) == STOPPED {
        return Ok(());
    }
    let id = ids::id(instance);
    Err(Failure::new("IncorrectInstanceState", format!("The instance '{id}' is not in the 'stopped' state.")))
}

async fn primary_port(c: &Context, instance: &Instance) -> Result<String, Failure> {
    let world = World::load(c).await?;
    let ports = world.ports_of(instance);
    let first = ports.first().map(|(_, port)| port.metadata.name.clone());
    first.ok_or_else(|| Failure::unsupported("The instance has no network interface"))
}

async fn metadata(c: &Context) -> Answer {
    let instance = c.named::<InstanceSpec>("InstanceId").await?;
    check_metadata_options(&c.params)?;
    let mut x = Xml::new();
    x.text("instanceId", ids::id(&instance)).node("instanceMetadataOptions", metadata_options);
    Ok(x)
}

/// What may be said of the metadata service: what is so.
pub(crate) fn check_metadata_options(params: &Params) -> Result<(), Failure> {
    let fixed = [
        ("HttpTokens", "required"),
        ("HttpEndpoint", "enabled"),
        ("HttpPutResponseHopLimit", "1"),
        ("HttpProtocolIpv6", "disabled"),
        ("InstanceMetadataTags", "disabled"),
    ];
    for (name, value) in fixed {
        if params.get(name).is_some_and(|given| given != value) {
            return Err(Failure::unsupported(format!("{name} can only be {value} in this cloud")));
        }
    }
    Ok(())
}
