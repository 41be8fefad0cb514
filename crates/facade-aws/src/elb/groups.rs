//! Target groups.

use model::network::{
    HealthCheck, LoadBalancer, LoadBalancerSpec, Target, TargetGroup, TargetGroupSpec, TargetProtocol, Vpc,
    VpcSpec,
};
use model::{Object, ObjectMeta, Reason};

use super::action::not_here;
use super::{
    balancer_arn, find_balancer, group_arn, group_name, listed, named_group, new_name, no_group, object_name,
};
use crate::actions::{Action, Answer};
use crate::context::Context;
use crate::failure::Failure;
use crate::ids;
use crate::params::Params;
use crate::tags;
use crate::xml::Xml;

/// On a target group: `instance` or `ip`, where its targets do not say it.
const TARGET_TYPE: &str = "aws.corten.dev/target-type";

pub(crate) const ACTIONS: &[Action] = &[
    Action::elb(
        "CreateTargetGroup",
        &[
            "Name",
            "Protocol",
            "ProtocolVersion",
            "Port",
            "VpcId",
            "TargetType",
            "IpAddressType",
            "Tags",
            "HealthCheckProtocol",
            "HealthCheckPort",
            "HealthCheckEnabled",
            "HealthCheckPath",
            "HealthCheckIntervalSeconds",
            "HealthCheckTimeoutSeconds",
            "HealthyThresholdCount",
            "UnhealthyThresholdCount",
            "Matcher",
        ],
        |c| Box::pin(create(c)),
    )
    .noting("Of instances or addresses; HTTP, HTTPS, TCP and UDP."),
    Action::elb(
        "DescribeTargetGroups",
        &["LoadBalancerArn", "TargetGroupArns", "Names", "Marker", "PageSize"],
        |c| Box::pin(describe(c)),
    ),
    Action::elb(
        "ModifyTargetGroup",
        &[
            "TargetGroupArn",
            "HealthCheckProtocol",
            "HealthCheckPort",
            "HealthCheckEnabled",
            "HealthCheckPath",
            "HealthCheckIntervalSeconds",
            "HealthCheckTimeoutSeconds",
            "HealthyThresholdCount",
            "UnhealthyThresholdCount",
            "Matcher",
        ],
        |c| Box::pin(modify(c)),
    ),
    Action::elb("DeleteTargetGroup", &["TargetGroupArn"], |c| Box::pin(delete(c))),
];

pub(super) fn protocol_word(protocol: TargetProtocol) -> &'static str {
    match protocol {
        TargetProtocol::Http => "HTTP",
        TargetProtocol::Https => "HTTPS",
        TargetProtocol::Tcp => "TCP",
        TargetProtocol::Udp => "UDP",
    }
}

fn protocol(word: &str) -> Result<TargetProtocol, Failure> {
    Ok(match word {
        "HTTP" => TargetProtocol::Http,
        "HTTPS" => TargetProtocol::Https,
        "TCP" => TargetProtocol::Tcp,
        "UDP" => TargetProtocol::Udp,
        other => {
            let other: String = other.chars().take(40).collect();
            return Err(not_here(&format!("Targets of protocol '{other}' are not supported by this cloud")));
        }
    })
}

fn reads_requests(protocol: TargetProtocol) -> bool {
    matches!(protocol, TargetProtocol::Http | TargetProtocol::Https)
}

/// Whether targets are addresses, not instances.
pub(super) fn is_of_addresses(group: &TargetGroup) -> bool {
    match group.metadata.annotations.get(TARGET_TYPE) {
        Some(word) => word == "ip",
        None => group.spec.targets.iter().any(|target: &Target| target.address.is_some()),
    }
}

/// The balancers that send to a group.
pub(super) fn users_of<'a>(
    group: &'a TargetGroup,
    balancers: &'a [LoadBalancer],
) -> impl Iterator<Item = &'a LoadBalancer> {
    let name = group.metadata.name.as_str();
    balancers.iter().filter(move |balancer| balancer.shared_target_groups().contains(name))
}

fn write(c: &Context, x: &mut Xml, group: &TargetGroup, balancers: &[LoadBalancer], vpcs: &[Vpc]) {
    let spec = &group.spec;
    let check = spec.health_check.clone().unwrap_or_default();
    // Without settings of its own a group is asked by connecting.
    let usual = if spec.health_check.is_none() || !reads_requests(spec.protocol) {
        TargetProtocol::Tcp
    } else {
        spec.protocol
    };
    let asked = check.protocol.unwrap_or(usual);
    x.text("TargetGroupArn", group_arn(c, group))
        .text("TargetGroupName", group_name(group))
        .text("Protocol", protocol_word(spec.protocol))
        .text("Port", spec.port)
        .given("VpcId", ids::id_of(vpcs, &spec.vpc))
        .text("HealthCheckProtocol", protocol_word(asked))
        .text("HealthCheckPort", check.port.map_or_else(|| TRAFFIC_PORT.to_owned(), |port| port.to_string()))
        .text("HealthCheckEnabled", true)
        .text("HealthCheckIntervalSeconds", check.interval_seconds)
        .text("HealthCheckTimeoutSeconds", check.timeout_seconds)
        .text("HealthyThresholdCount", check.healthy_after)
        .text("UnhealthyThresholdCount", check.unhealthy_after);
    if reads_requests(asked) {
        let good = if check.statuses.is_empty() { "200-399" } else { &check.statuses };
        x.text("HealthCheckPath", &check.path).node("Matcher", |x| {
            x.text("HttpCode", good);
        });
    }
    x.members("LoadBalancerArns", users_of(group, balancers), |x, balancer| {
        x.out_text(balancer_arn(c, balancer));
    })
    .text("TargetType", if is_of_addresses(group) { "ip" } else { "instance" });
    if reads_requests(spec.protocol) {
        x.text("ProtocolVersion", "HTTP1");
    }
    x.text("IpAddressType", "ipv4");
}

const TRAFFIC_PORT: &str = "traffic-port";

async fn describe(c: &Context) -> Answer {
    let mut all = c.list::<TargetGroupSpec>().await?;
    let (arns, names) = (c.params.list("TargetGroupArns.member"), c.params.list("Names.member"));
    if let Some(missing) = arns.iter().find(|arn| !all.iter().any(|g| group_arn(c, g) == **arn)) {
        return Err(no_group(missing));
    }
    if let Some(missing) = names.iter().find(|name| !all.iter().any(|g| group_name(g) == name.as_str())) {
        return Err(no_group(missing));
    }
    all.retain(|g| arns.is_empty() || arns.contains(&group_arn(c, g)));
    all.retain(|g| names.is_empty() || names.iter().any(|name| name == group_name(g)));
    if let Some(arn) = c.params.get("LoadBalancerArn") {
        let balancer = find_balancer(c, arn).await?;
        let used = balancer.shared_target_groups();
        all.retain(|g| used.contains(g.metadata.name.as_str()));
    }
    let (balancers, vpcs) =
        (c.list_if_allowed::<LoadBalancerSpec>().await?, c.list_if_allowed::<VpcSpec>().await?);
    let items = all.into_iter().map(|g| (group_arn(c, &g), g)).collect();
    listed(c, "TargetGroups", items, |x, group| write(c, x, group, &balancers, &vpcs))
}

/// How AWS asks targets of a protocol when nothing is said.
fn usual_check(protocol: TargetProtocol) -> HealthCheck {
    let asks = reads_requests(protocol);
    HealthCheck {
        protocol: Some(if asks { TargetProtocol::Http } else { TargetProtocol::Tcp }),
        path: "/".into(),
        statuses: if asks { "200".into() } else { String::new() },
        port: None,
        interval_seconds: 30,
        timeout_seconds: if asks { 5 } else { 10 },
        healthy_after: 5,
        unhealthy_after: 2,
    }
}

/// What a request says of how targets are asked, over what holds already.
fn check(params: &Params, mut check: HealthCheck) -> Result<HealthCheck, Failure> {
    if params.flag("HealthCheckEnabled")? == Some(false) {
        return Err(not_here("Targets are always checked in this cloud"));
    }
    if let Some(word) = params.get("HealthCheckProtocol") {
        let protocol = protocol(word)?;
        if protocol == TargetProtocol::Udp {
            return Err(params.invalid("HealthCheckProtocol", word, "must be HTTP, HTTPS or TCP"));
        }
        if reads_requests(protocol) && check.statuses.is_empty() {
            // Of a request an answer is asked for, which a connection does not give.
            "200-399".clone_into(&mut check.statuses);
        }
        check.protocol = Some(protocol);
    }
    match params.get("HealthCheckPort") {
        None => {}
        Some(TRAFFIC_PORT) => check.port = None,
        Some(text) => {
            let port = text.parse().ok().filter(|port| *port > 0);
            check.port = Some(port.ok_or_else(|| {
                params.invalid("HealthCheckPort", text, "must be 1 to 65535, or traffic-port")
            })?);
        }
    }
    if let Some(path) = params.get("HealthCheckPath") {
        path.clone_into(&mut check.path);
    }
    let matcher = params.below("Matcher");
    if matcher.has("GrpcCode") {
        return Err(not_here("gRPC is not supported by this cloud"));
    }
    if let Some(codes) = matcher.get("HttpCode") {
        codes.clone_into(&mut check.statuses);
    }
    for (name, field) in [
        ("HealthCheckIntervalSeconds", &mut check.interval_seconds),
        ("HealthCheckTimeoutSeconds", &mut check.timeout_seconds),
        ("HealthyThresholdCount", &mut check.healthy_after),
        ("UnhealthyThresholdCount", &mut check.unhealthy_after),
    ] {
        if let Some(number) = params.number(name)? {
            *field = u32::try_from(number)
                .map_err(|_| params.invalid(name, &number.to_string(), "must be a small number"))?;
        }
    }
    Ok(check)
}

async fn create(c: &Context) -> Answer {
    let name = new_name(c)?;
    let kind = match c.params.text("TargetType") {
        "" | "instance" => "instance",
        "ip" => "ip",
        other => return Err(not_here(&format!("Targets of type '{other}' are not supported by this cloud"))),
    };
    for (name, only) in [("ProtocolVersion", "HTTP1"), ("IpAddressType", "ipv4")] {
        if c.params.get(name).is_some_and(|given| given != only) {
            return Err(not_here(&format!("{name} can only be {only} in this cloud")));
        }
    }
    let protocol = protocol(c.params.require("Protocol")?)?;
    let port = c.params.require("Port")?;
    let port = port
        .parse()
        .ok()
        .filter(|n| *n > 0)
        .ok_or_else(|| c.params.invalid("Port", port, "must be 1 to 65535"))?;
    let vpc = c.named::<VpcSpec>("VpcId").await.map_err(|e| match e.code.as_ref() {
        "InvalidVpcID.NotFound" | "InvalidVpcID.Malformed" => Failure::value(e.message),
        _ => e,
    })?;
    let mut meta = ObjectMeta::in_project(c.project(), object_name("tg", &name));
    meta.annotations.insert(TARGET_TYPE.into(), kind.into());
    tags::give(&mut meta, tags::named(&c.params, "Tags.member")?);
    let spec = TargetGroupSpec {
        name: if meta.name == name { String::new() } else { name.clone() },
        vpc: vpc.metadata.name,
        protocol,
        port,
        health_check: Some(check(&c.params, usual_check(protocol))?),
        ..TargetGroupSpec::default()
    };
    if let Some(present) = c.api::<TargetGroupSpec>().find(&meta.name).await? {
        let same = TargetGroupSpec { targets: present.spec.targets.clone(), ..spec };
        return if same == present.spec { shown(c, &present).await } else { Err(duplicate(&name)) };
    }
    let made = c.api::<TargetGroupSpec>().create(&Object::new(meta, spec)).await;
    let made = made.map_err(|e| match e.reason {
        Reason::AlreadyExists => duplicate(&name),
        _ => e.into(),
    })?;
    c.end_dry_run()?;
    shown(c, &made).await
}

fn duplicate(name: &str) -> Failure {
    let message = format!("A target group with the same name '{name}' exists, but with different settings");
    Failure::new("DuplicateTargetGroupName", message)
}

async fn shown(c: &Context, group: &TargetGroup) -> Answer {
    let (balancers, vpcs) =
        (c.list_if_allowed::<LoadBalancerSpec>().await?, c.list_if_allowed::<VpcSpec>().await?);
    let mut x = Xml::new();
    x.members("TargetGroups", [group], |x, group| write(c, x, group, &balancers, &vpcs));
    Ok(x)
}

async fn modify(c: &Context) -> Answer {
    let group = named_group(c).await?;
    let changed = c.change::<TargetGroupSpec>(&group.metadata.name, |group| {
        let present = group
            .spec
            .health_check
            .clone()
            .unwrap_or_else(|| HealthCheck { protocol: Some(TargetProtocol::Tcp), ..HealthCheck::default() });
        group.spec.health_check = Some(check(&c.params, present)?);
        Ok(())
    });
    shown(c, &changed.await?).await
}

async fn delete(c: &Context) -> Answer {
    let arn = c.params.require("TargetGroupArn")?;
    // Deleting what is not there succeeds, as with AWS.
    let group = match super::find_group(c, arn).await {
        Err(e) if e.code == "TargetGroupNotFound" && super::is_own(c, arn) => return Ok(Xml::new()),
        result => result?,
    };
    c.delete::<TargetGroupSpec>(&group.metadata.name, "ResourceInUse").await.map_err(|e| {
        match e.code.as_ref() {
            "ResourceInUse" => Failure {
                message: format!("Target group '{arn}' is currently in use by a listener or a rule"),
                ..e
            },
            _ => e,
        }
    })?;
    Ok(Xml::new())
}
