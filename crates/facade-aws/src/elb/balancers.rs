//! Load balancers themselves: made, shown, moved between subnets and groups, deleted.

use client::DeleteOptions;
use model::network::{
    FloatingIp, FloatingIpSpec, LoadBalancer, LoadBalancerSpec, Scheme, SecurityGroupSpec, Subnet,
    SubnetSpec, Vpc, VpcSpec,
};
use model::{ConditionStatus, Object, ObjectMeta, Reason, Resource, zone_in_region};
use serde_json::json;

use super::{
    NAME, TYPE, Type, attributes, balancer_arn, balancer_name, listed, named_balancer, new_name, no_balancer,
    object_name, refused,
};
use crate::actions::{Action, Answer};
use crate::context::Context;
use crate::ec2;
use crate::failure::Failure;
use crate::ids;
use crate::tags;
use crate::xml::Xml;

const LISTED_MAX: usize = 20;

pub(crate) const ACTIONS: &[Action] = &[
    Action::elb(
        "CreateLoadBalancer",
        &["Name", "Subnets", "SubnetMappings", "SecurityGroups", "Scheme", "Tags", "Type", "IpAddressType"],
        |c| Box::pin(create(c)),
    )
    .noting(
        "One subnet is enough. What is internet-facing gets a floating address, or has that of an AllocationId; its \
         DNSName is that address, that of an internal one is known in its VPC.",
    ),
    Action::elb("DescribeLoadBalancers", &["LoadBalancerArns", "Names", "Marker", "PageSize"], |c| {
        Box::pin(describe(c))
    }),
    Action::elb("DeleteLoadBalancer", &["LoadBalancerArn"], |c| Box::pin(delete(c))),
    Action::elb("SetSecurityGroups", &["LoadBalancerArn", "SecurityGroups"], |c| Box::pin(set_groups(c))),
    Action::elb("SetSubnets", &["LoadBalancerArn", "Subnets", "SubnetMappings", "IpAddressType"], |c| {
        Box::pin(set_subnets(c))
    })
    .noting("The subnet of its address stays the first."),
    Action::elb("SetIpAddressType", &["LoadBalancerArn", "IpAddressType"], |c| Box::pin(set_ip_type(c)))
        .noting("Follows from the subnet: another one is refused."),
];

/// What a balancer is shown beside.
pub(super) struct Place {
    subnets: Vec<Subnet>,
    vpcs: Vec<Vpc>,
    groups: Vec<model::network::SecurityGroup>,
    floating: Vec<FloatingIp>,
}

impl Place {
    pub(super) async fn load(c: &Context) -> Result<Self, Failure> {
        let (subnets, vpcs, groups, floating) = futures::try_join!(
            c.list_if_allowed::<SubnetSpec>(),
            c.list_if_allowed::<VpcSpec>(),
            c.list_if_allowed::<SecurityGroupSpec>(),
            c.list_if_allowed::<FloatingIpSpec>(),
        )?;
        Ok(Self { subnets, vpcs, groups, floating })
    }

    fn vpc_of(&self, balancer: &LoadBalancer) -> Option<&Vpc> {
        let subnet = ids::find(&self.subnets, balancer.spec.subnets.first()?)?;
        ids::find(&self.vpcs, &subnet.spec.vpc)
    }

    fn floating_of(&self, balancer: &LoadBalancer) -> Option<&FloatingIp> {
        ids::find(&self.floating, &balancer.spec.floating_ip)
    }

    /// Where clients reach it: by an address from outside, by a name from inside of its Vpc.
    fn dns_name(&self, c: &Context, balancer: &LoadBalancer) -> String {
        if balancer.spec.scheme == Scheme::Public {
            let address = self.floating_of(balancer).and_then(|floating| floating.spec.address);
            return address.map(|a| a.to_string()).unwrap_or_default();
        }
        let own = self.vpc_of(balancer).map(|vpc| vpc.spec.dns.domain.as_str()).unwrap_or_default();
        let domain = if own.is_empty() { format!("{}.internal", c.project()) } else { own.to_owned() };
        format!("{}.{domain}", balancer.port_name())
    }

    fn ip_type(&self, balancer: &LoadBalancer) -> &'static str {
        let first = balancer.spec.subnets.first().and_then(|name| ids::find(&self.subnets, name));
        if first.is_some_and(|subnet| subnet.spec.ipv6_cidr.is_some()) { "dualstack" } else { "ipv4" }
    }
}

/// State and reason in AWS's words.
fn state(balancer: &LoadBalancer) -> (&'static str, String) {
    let find = |kind: &str| balancer.status.conditions.iter().find(|condition| condition.kind == kind);
    let said =
        |kind: &str, status: ConditionStatus| find(kind).filter(|condition| condition.status == status);
    if let Some(no) = said("Scheduled", ConditionStatus::False) {
        return ("provisioning", no.message.clone());
    }
    match find("Ready") {
        None => ("provisioning", String::new()),
        Some(ready) if ready.status != ConditionStatus::True => ("active_impaired", ready.message.clone()),
        Some(_) => match said("FloatingAddress", ConditionStatus::False) {
            Some(no) => ("active_impaired", no.message.clone()),
            None if balancer.spec.floating_ip.is_empty() || find("FloatingAddress").is_some() => {
                ("active", String::new())
            }
            None => ("provisioning", String::new()),
        },
    }
}

fn write_zones(x: &mut Xml, place: &Place, balancer: &LoadBalancer) {
    x.members("AvailabilityZones", balancer.spec.subnets.iter().enumerate(), |x, (i, name)| {
        let Some(subnet) = ids::find(&place.subnets, name) else { return };
        x.text("ZoneName", zone_in_region(&subnet.spec.zone)).text("SubnetId", ids::id(subnet));
        if Type::of(balancer) != Type::Network || i > 0 {
            return;
        }
        // The addresses of a network load balancer are told; there is one, in its first subnet.
        x.members("LoadBalancerAddresses", [()], |x, ()| {
            let floating = place.floating_of(balancer);
            let address = floating.and_then(|floating| floating.spec.address).map(|a| a.to_string());
            let own = balancer.status.addresses.iter().find(|a| a.0.is_ipv4()).map(ToString::to_string);
            x.given("IpAddress", address.unwrap_or_default())
                .given("AllocationId", floating.map(ids::id).unwrap_or_default())
                .given("PrivateIPv4Address", own.unwrap_or_default());
        });
    });
}

fn write(c: &Context, x: &mut Xml, place: &Place, balancer: &LoadBalancer) {
    let (code, reason) = state(balancer);
    let scheme = if balancer.spec.scheme == Scheme::Public { "internet-facing" } else { "internal" };
    x.text("LoadBalancerArn", balancer_arn(c, balancer))
        .text("DNSName", place.dns_name(c, balancer))
        .given("CreatedTime", ec2::created_at(&balancer.metadata))
        .text("LoadBalancerName", balancer_name(balancer))
        .text("Scheme", scheme)
        .given("VpcId", place.vpc_of(balancer).map(ids::id).unwrap_or_default())
        .node("State", |x| {
            x.text("Code", code).given("Reason", reason);
        })
        .text("Type", Type::of(balancer).word());
    write_zones(x, place, balancer);
    x.members("SecurityGroups", &balancer.spec.security_groups, |x, name| {
        x.out_text(ids::id_of(&place.groups, name));
    })
    .text("IpAddressType", place.ip_type(balancer));
}

async fn describe(c: &Context) -> Answer {
    let mut all = c.list::<LoadBalancerSpec>().await?;
    let (arns, names) = (c.params.list("LoadBalancerArns.member"), c.params.list("Names.member"));
    if arns.len().max(names.len()) > LISTED_MAX {
        return Err(Failure::value(format!("At most {LISTED_MAX} load balancers are named at once")));
    }
    if let Some(missing) = arns.iter().find(|arn| !all.iter().any(|b| balancer_arn(c, b) == **arn)) {
        return Err(no_balancer(missing));
    }
    if let Some(missing) = names.iter().find(|name| !all.iter().any(|b| balancer_name(b) == **name)) {
        let names: String = missing.chars().take(80).collect();
        return Err(Failure::new("LoadBalancerNotFound", format!("Load balancers '[{names}]' not found")));
    }
    all.retain(|b| arns.is_empty() || arns.contains(&balancer_arn(c, b)));
    all.retain(|b| names.is_empty() || names.iter().any(|name| name == balancer_name(b)));
    // One that goes is gone.
    all.retain(|b| !b.metadata.is_deleting());
    let place = Place::load(c).await?;
    let items = all.into_iter().map(|b| (balancer_arn(c, &b), b)).collect();
    listed(c, "LoadBalancers", items, |x, balancer| write(c, x, &place, balancer))
}

/// Subnets as a request names them, each with the floating address that is to stand there.
async fn subnets(c: &Context) -> Result<Vec<(Subnet, String)>, Failure> {
    let plain = c.params.list("Subnets.member").into_iter().map(|id| (id, String::new()));
    let mut asked: Vec<(String, String)> = plain.collect();
    for mapping in c.params.structs("SubnetMappings.member") {
        if let Some(other) = mapping.unknown(&["SubnetId", "AllocationId"]).next() {
            return Err(super::action::not_here(&format!("{other} is not supported by this cloud")));
        }
        asked.push((mapping.require("SubnetId")?.to_owned(), mapping.text("AllocationId").to_owned()));
    }
    if asked.is_empty() {
        return Err(Failure::missing("Subnets"));
    }
    let mut found = Vec::new();
    for (id, allocation) in asked {
        let subnet = c.find::<SubnetSpec>(&id).await.map_err(|e| as_code(e, "SubnetNotFound"))?;
        found.push((subnet, allocation));
    }
    Ok(found)
}

/// What was not found, in ELBv2's word for it.
fn as_code(e: Failure, code: &'static str) -> Failure {
    if e.code.starts_with("Invalid") && e.status == 400 { Failure::new(code, e.message) } else { e }
}

async fn groups(c: &Context) -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    for id in c.params.list("SecurityGroups.member") {
        let group = c.find::<SecurityGroupSpec>(&id).await;
        names.push(group.map_err(|e| as_code(e, "InvalidSecurityGroup"))?.metadata.name);
    }
    Ok(names)
}

/// The address type that is asked for; it follows from the subnet and cannot be chosen.
fn check_ip_type(c: &Context, subnet: &Subnet) -> Result<&'static str, Failure> {
    let own = if subnet.spec.ipv6_cidr.is_some() { "dualstack" } else { "ipv4" };
    match c.params.text("IpAddressType") {
        // Without being asked for, IPv6 is there beside IPv4.
        "" | "ipv4" => Ok(own),
        given if given == own => Ok(own),
        given => Err(c.params.invalid("IpAddressType", given, &format!("can only be {own} in this subnet"))),
    }
}

async fn create(c: &Context) -> Answer {
    let name = new_name(c)?;
    let kind = match c.params.text("Type") {
        "" | "application" => Type::Application,
        "network" => Type::Network,
        other => return Err(c.params.invalid("Type", other, "must be application or network")),
    };
    let scheme = match c.params.text("Scheme") {
        "" | "internet-facing" => Scheme::Public,
        "internal" => Scheme::Internal,
        other => return Err(Failure::new("InvalidScheme", format!("'{other}' is not a scheme"))),
    };
    let asked = subnets(c).await?;
    check_ip_type(c, &asked[0].0)?;
    let mut meta = ObjectMeta::in_project(c.project(), object_name("lb", &name));
    if meta.name != name {
        meta.annotations.insert(NAME.into(), name.clone());
    }
    meta.annotations.insert(TYPE.into(), kind.word().into());
    tags::give(&mut meta, tags::named(&c.params, "Tags.member")?);
    let mut spec = LoadBalancerSpec {
        subnets: asked.iter().map(|(subnet, _)| subnet.metadata.name.clone()).collect(),
        scheme,
        security_groups: groups(c).await?,
        idle_timeout_seconds: attributes::usual_idle(kind),
        ..LoadBalancerSpec::default()
    };
    if let Some(present) = c.api::<LoadBalancerSpec>().find(&meta.name).await? {
        return again(c, &present, &spec, kind).await;
    }
    let own = floating(c, scheme, &asked).await?;
    if let Some(floating) = &own {
        spec.floating_ip.clone_from(&floating.object.metadata.name);
    }
    let made = c.api::<LoadBalancerSpec>().create(&Object::new(meta, spec)).await;
    let made = match made {
        Ok(made) => made,
        Err(e) => {
            give_back(c, own).await;
            return Err(match e.reason {
                Reason::AlreadyExists => duplicate(&name),
                _ if e.message.contains("spec.subnets") => Failure::new("InvalidSubnet", e.message),
                _ if e.message.contains("spec.securityGroups") => {
                    Failure::new("InvalidSecurityGroup", e.message)
                }
                _ => refused(e.into()),
            });
        }
    };
    c.end_dry_run()?;
    if let Some(floating) = own.filter(|floating| floating.is_new) {
        // It goes with the load balancer.
        let owner = json!({
            "apiVersion": LoadBalancer::KIND.api_version(), "kind": LoadBalancer::KIND.kind,
            "name": made.metadata.name, "uid": made.metadata.uid,
        });
        let patch = json!({ "metadata": { "ownerReferences": [owner] } });
        c.merge::<FloatingIpSpec>(&floating.object.metadata.name, &patch).await?;
    }
    shown(c, &made).await
}

/// The same request again finds what it made; another one for the same name is refused.
async fn again(c: &Context, present: &LoadBalancer, asked: &LoadBalancerSpec, kind: Type) -> Answer {
    let same_groups =
        asked.security_groups.is_empty() || asked.security_groups == present.spec.security_groups;
    let same = present.spec.subnets == asked.subnets
        && present.spec.scheme == asked.scheme
        && Type::of(present) == kind
        && same_groups
        && !present.metadata.is_deleting();
    if same { shown(c, present).await } else { Err(duplicate(balancer_name(present))) }
}

fn duplicate(name: &str) -> Failure {
    let message = format!("A load balancer with the same name '{name}' exists, but with different settings");
    Failure::new("DuplicateLoadBalancerName", message)
}

async fn shown(c: &Context, balancer: &LoadBalancer) -> Answer {
    let place = Place::load(c).await?;
    let mut x = Xml::new();
    x.members("LoadBalancers", [balancer], |x, balancer| write(c, x, &place, balancer));
    Ok(x)
}

/// The floating address of a new balancer, and whether it was made for it.
struct Own {
    object: FloatingIp,
    is_new: bool,
}

async fn floating(c: &Context, scheme: Scheme, asked: &[(Subnet, String)]) -> Result<Option<Own>, Failure> {
    let mut named = asked.iter().map(|(_, allocation)| allocation).filter(|id| !id.is_empty());
    let allocation = named.next();
    if scheme == Scheme::Internal {
        return match allocation {
            None => Ok(None),
            Some(_) => Err(super::action::not_here("An internal load balancer has no AllocationId")),
        };
    }
    if named.next().is_some() {
        return Err(super::action::not_here("A load balancer has one address: name one AllocationId"));
    }
    if let Some(id) = allocation {
        let object = c.find::<FloatingIpSpec>(id).await.map_err(|e| as_code(e, "AllocationIdNotFound"))?;
        return Ok(Some(Own { object, is_new: false }));
    }
    let meta = ObjectMeta::in_project(c.project(), ids::fresh("eipalloc", &c.cloud.random()));
    let made = c.api::<FloatingIpSpec>().create(&Object::new(meta, FloatingIpSpec::default())).await;
    let object = made.map_err(|e| match e.reason {
        Reason::Invalid | Reason::InsufficientStorage => {
            Failure::new("InvalidSubnet", format!("There is no address of the outside: {}", e.message))
        }
        _ => e.into(),
    })?;
    Ok(Some(Own { object, is_new: true }))
}

async fn give_back(c: &Context, own: Option<Own>) {
    if let Some(own) = own.filter(|own| own.is_new) {
        let deleted =
            c.api::<FloatingIpSpec>().delete(&own.object.metadata.name, &DeleteOptions::default()).await;
        if let Err(e) = deleted {
            tracing::debug!(error = %e, "the address of a load balancer that was not made stays");
        }
    }
}

async fn delete(c: &Context) -> Answer {
    let arn = c.params.require("LoadBalancerArn")?;
    // Deleting what is not there succeeds, as with AWS.
    let balancer = match super::find_balancer(c, arn).await {
        Err(e) if e.code == "LoadBalancerNotFound" && super::is_own(c, arn) => return Ok(Xml::new()),
        result => result?,
    };
    if balancer.spec.protected {
        let message =
            format!("Load balancer '{arn}' cannot be deleted because deletion protection is enabled");
        return Err(Failure::new("OperationNotPermitted", message));
    }
    c.delete::<LoadBalancerSpec>(&balancer.metadata.name, "ResourceInUse").await?;
    Ok(Xml::new())
}

async fn set_groups(c: &Context) -> Answer {
    let balancer = named_balancer(c).await?;
    let names = groups(c).await?;
    if names.is_empty() {
        return Err(Failure::missing("SecurityGroups"));
    }
    let patch = json!({ "spec": { "securityGroups": names } });
    let changed = c.merge::<LoadBalancerSpec>(&balancer.metadata.name, &patch).await;
    let changed = changed.map_err(|e| as_code(e, "InvalidSecurityGroup"))?;
    let place = Place::load(c).await?;
    let mut x = Xml::new();
    x.members("SecurityGroupIds", &changed.spec.security_groups, |x, name| {
        x.out_text(ids::id_of(&place.groups, name));
    });
    Ok(x)
}

async fn set_subnets(c: &Context) -> Answer {
    let balancer = named_balancer(c).await?;
    let asked = subnets(c).await?;
    if asked.iter().any(|(_, allocation)| !allocation.is_empty()) {
        return Err(super::action::not_here("The address of a load balancer stays as it was made"));
    }
    check_ip_type(c, &asked[0].0)?;
    let mut names: Vec<String> = asked.into_iter().map(|(subnet, _)| subnet.metadata.name).collect();
    let Some(first) = balancer.spec.subnets.first() else {
        return Err(Failure::new("InvalidSubnet", "The load balancer has no subnet"));
    };
    let Some(at) = names.iter().position(|name| name == first) else {
        let message = "The subnet in which the load balancer has its address stays: name it too";
        return Err(Failure::new("InvalidSubnet", message));
    };
    names[..=at].rotate_right(1);
    let patch = json!({ "spec": { "subnets": names } });
    let changed = c.merge::<LoadBalancerSpec>(&balancer.metadata.name, &patch).await;
    let changed = changed.map_err(|e| as_code(e, "InvalidSubnet"))?;
    let place = Place::load(c).await?;
    let mut x = Xml::new();
    write_zones(&mut x, &place, &changed);
    x.text("IpAddressType", place.ip_type(&changed));
    Ok(x)
}

async fn set_ip_type(c: &Context) -> Answer {
    let balancer = named_balancer(c).await?;
    c.params.require("IpAddressType")?;
    let place = Place::load(c).await?;
    let first = balancer.spec.subnets.first().and_then(|name| ids::find(&place.subnets, name));
    let first =
        first.ok_or_else(|| Failure::new("InvalidSubnet", "The load balancer's subnet is not there"))?;
    let own = check_ip_type(c, first)?;
    let mut x = Xml::new();
    x.text("IpAddressType", own);
    Ok(x)
}
