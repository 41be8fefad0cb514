//! May a caller of IAM do this: what he asks for in the words of policies, held against those that he has. A user of
//! Corten is decided over by his roles alone, in the server.

use identity::iam::{Actor, CallerNames, Facts, Resource, Verdict};
use serde_json::json;

use crate::REGION;
use crate::context::Context;
use crate::ec2::tagging;
use crate::elb;
use crate::failure::Failure;
use crate::iam::arn;
use crate::ids;

/// For what a refusal is sealed.
pub(crate) const MESSAGE: &str = "aws-authorization-message";

/// Resource types of EC2 by the prefix of their ids.
const TYPES: &[(&str, &str)] = &[
    ("i", "instance"),
    ("ami", "image"),
    ("key", "key-pair"),
    ("vpc", "vpc"),
    ("subnet", "subnet"),
    ("sg", "security-group"),
    ("sgr", "security-group-rule"),
    ("eni", "network-interface"),
    ("rtb", "route-table"),
    ("igw", "internet-gateway"),
    ("nat", "natgateway"),
    ("eigw", "egress-only-internet-gateway"),
    ("eipalloc", "elastic-ip"),
    ("vol", "volume"),
    ("snap", "snapshot"),
    ("lt", "launch-template"),
    ("pg", "placement-group"),
    ("acl", "network-acl"),
    ("dopt", "dhcp-options"),
    ("pcx", "vpc-peering-connection"),
    ("pl", "prefix-list"),
    ("fl", "vpc-flow-log"),
    ("vpce", "vpc-endpoint"),
];

/// What is made, by action.
const MADE: &[(&str, &[&str])] = &[
    ("RunInstances", &["instance", "network-interface", "volume"]),
    ("CreateKeyPair", &["key-pair"]),
    ("ImportKeyPair", &["key-pair"]),
    ("RegisterImage", &["image"]),
    ("CreateImage", &["image", "snapshot"]),
    ("CopyImage", &["image"]),
    ("ImportImage", &["image"]),
    ("ImportSnapshot", &["snapshot"]),
    ("CopySnapshot", &["snapshot"]),
    ("CreateVpc", &["vpc"]),
    ("CreateDefaultVpc", &["vpc"]),
    ("CreateSubnet", &["subnet"]),
    ("CreateInternetGateway", &["internet-gateway"]),
    ("CreateNatGateway", &["natgateway"]),
    ("CreateRouteTable", &["route-table"]),
    ("CreateSecurityGroup", &["security-group"]),
    ("AllocateAddress", &["elastic-ip"]),
    ("CreateNetworkInterface", &["network-interface"]),
    ("CreateLaunchTemplate", &["launch-template"]),
    ("CreatePlacementGroup", &["placement-group"]),
    ("CreateVpcPeeringConnection", &["vpc-peering-connection"]),
    ("CreateEgressOnlyInternetGateway", &["egress-only-internet-gateway"]),
    ("CreateNetworkAcl", &["network-acl"]),
    ("CreateDhcpOptions", &["dhcp-options"]),
    ("CreateVpcEndpoint", &["vpc-endpoint"]),
    ("CreateFlowLogs", &["vpc-flow-log"]),
    ("CreateVolume", &["volume"]),
    ("CreateSnapshot", &["snapshot"]),
    ("CreateSnapshots", &["snapshot"]),
];

/// Ids that are no resources of their own: what they belong to is looked at by no policy, so any may be meant.
const DERIVED: [&str; 5] = ["eipassoc-", "rtbassoc-", "aclassoc-", "eni-attach-", "iip-assoc-"];

/// Refuses what the Vpc endpoint that a request came through is not for, whoever asks: another service, or what its
/// policy does not allow.
pub(crate) async fn comes_through(c: &Context, service: &str) -> Result<(), Failure> {
    let Some(through) = &c.through else { return Ok(()) };
    let refused = |message: String| {
        let code = if service == "ec2" { "UnauthorizedOperation" } else { "AccessDenied" };
        Err(Failure { status: 403, ..Failure::new(code, message) })
    };
    if through.service != service {
        let message = format!("The VPC endpoint {} is for {} only", through.endpoint, through.service);
        return Err(Failure { status: 403, ..Failure::new("AccessDenied", message) });
    }
    if through.policy.is_none() {
        return Ok(());
    }
    let action = format!("{}:{}", policy_service(service), c.action);
    let actor = c.signer.actor.as_ref();
    let names = CallerNames::of(actor, &c.signer.principal.user, &c.account());
    for resource in if service == "ec2" { ec2_resources(c) } else { others(c, service) } {
        if !through.allows(&names.all(), &action, &resource, &facts(c, actor, &resource).await?) {
            return refused(format!(
                "User: {} is not authorized to perform: {action} on resource: {} because no VPC endpoint policy \
                 allows the action",
                names.principal(),
                resource.text()
            ));
        }
    }
    Ok(())
}

/// Refuses what the caller's policies do not allow. `GetCallerIdentity` is everyone's, as with AWS.
pub(crate) async fn check(c: &Context, service: &str) -> Result<(), Failure> {
    let Some(actor) = &c.signer.actor else { return Ok(()) };
    if c.action == "GetCallerIdentity" {
        return Ok(());
    }
    // A session is no more than who takes it; and whether a role is taken, its own document has a word in.
    if service == "sts" && ["GetSessionToken", "AssumeRole"].contains(&c.action.as_str()) {
        return Ok(());
    }
    let action = format!("{}:{}", policy_service(service), c.action);
    let resources = if service == "ec2" { ec2_resources(c) } else { others(c, service) };
    for resource in &resources {
        let facts = facts(c, Some(actor), resource).await?;
        allowed(c, actor, &action, resource, &facts)?;
    }
    pass_role(c, actor).await
}

/// Whether the caller may do what another action than the one he asks for stands for, to one resource. Callers of
/// the cloud's own roles are asked by the server, when the object is made.
pub(crate) async fn also(c: &Context, action: &str, resource: Resource) -> Result<(), Failure> {
    let Some(actor) = &c.signer.actor else { return Ok(()) };
    let facts = facts(c, Some(actor), &resource).await?;
    allowed(c, actor, action, &resource, &facts)
}

/// Whether the caller may do one thing to one resource; the refusal says what was asked, sealed.
fn allowed(
    c: &Context,
    actor: &Actor,
    action: &str,
    resource: &Resource,
    facts: &Facts,
) -> Result<(), Failure> {
    let verdict = actor.permissions.decide(action, resource, facts);
    let why = match &verdict {
        Verdict::Allowed { .. } => return Ok(()),
        Verdict::Denied { .. } => "with an explicit deny in an identity-based policy",
        Verdict::NotAllowed => "because no identity-based policy allows the action",
        Verdict::BeyondBounds => "because no permissions boundary or session policy allows the action",
    };
    let message = format!(
        "User: {} is not authorized to perform: {action} on resource: {} {why}",
        actor.arn(&c.account()),
        resource.text()
    );
    if !action.starts_with("ec2:") {
        return Err(Failure { status: 403, ..Failure::new("AccessDenied", message) });
    }
    let by = if let Verdict::Denied { by } = &verdict { by.as_str() } else { "" };
    let told = json!({
        "allowed": false,
        "explicitDeny": matches!(verdict, Verdict::Denied { .. }),
        "matchedStatements": { "items": if by.is_empty() { json!([]) } else { json!([{ "statementId": by }]) } },
        "failures": { "items": [] },
        "context": {
            "principal": { "id": actor.id(), "arn": actor.arn(&c.account()) },
            "action": action,
            "resource": resource.text(),
            "conditions": { "items": [] },
        },
    });
    let sealed = c.cloud.seal(&purpose(c.project()), &told.to_string()).unwrap_or_default();
    let message = format!(
        "You are not authorized to perform this operation. {message}. Encoded authorization failure message: {sealed}"
    );
    Err(Failure { status: 403, ..Failure::new("UnauthorizedOperation", message) })
}

/// A refusal is read in its own account alone.
pub(crate) fn purpose(project: &str) -> String {
    format!("{MESSAGE}/{project}")
}

fn policy_service(service: &str) -> &str {
    if service == "monitoring" { "cloudwatch" } else { service }
}

/// All that a request of EC2 names or makes.
fn ec2_resources(c: &Context) -> Vec<Resource> {
    let of = |kind: &str, id: &str| format!("arn:aws:ec2:{REGION}:{}:{kind}/{id}", c.account());
    if ["Describe", "Get"].iter().any(|prefix| c.action.starts_with(prefix)) {
        return vec![Resource::One("*".into())];
    }
    let mut found: Vec<Resource> = Vec::new();
    let mut named_otherwise = false;
    for value in c.params.values() {
        let kind = value.split_once('-').and_then(|(prefix, _)| TYPES.iter().find(|(p, _)| *p == prefix));
        if let Some((prefix, kind)) = kind.filter(|(prefix, _)| ids::is_id(prefix, value)) {
            // Key pairs are known to policies by their names.
            named_otherwise |= *prefix == "key";
            found.push(Resource::One(of(kind, value)));
        }
        named_otherwise |= DERIVED.iter().any(|prefix| value.starts_with(prefix));
    }
    let made = MADE.iter().find(|(action, _)| *action == c.action).map_or(&[][..], |(_, made)| made);
    match c.params.get("KeyName") {
        Some(name) if made.contains(&"key-pair") || found.is_empty() || c.action == "RunInstances" => {
            found.push(Resource::One(of("key-pair", name)));
        }
        _ => {}
    }
    found.extend(made.iter().filter(|kind| **kind != "key-pair").map(|kind| Resource::One(of(kind, "*"))));
    // What is chosen for the caller, or named in another way than by its id, may be any of its type.
    if c.action == "RunInstances" {
        let says = |name: &str| c.params.values().any(|value| ids::is_id(name, value));
        for (prefix, kind) in [("subnet", "subnet"), ("sg", "security-group"), ("ami", "image")] {
            if !says(prefix) && prefix != "ami" && !says("eni") {
                found.push(Resource::SomeOf(of(kind, "*")));
            }
        }
    }
    let by_name = ["GroupName", "SecurityGroup", "PublicIp", "LaunchTemplateName"];
    named_otherwise |= c.action != "CreateSecurityGroup"
        && c.action != "CreatePlacementGroup"
        && c.action != "CreateLaunchTemplate"
        && by_name.iter().any(|name| c.params.has(name));
    if named_otherwise || found.is_empty() {
        found.push(Resource::SomeOf(of("*", "*")));
    }
    found.dedup();
    found
}

/// What a request of another service is about.
fn others(c: &Context, service: &str) -> Vec<Resource> {
    let account = c.account();
    let given = |name: &str| c.params.get(name).map(str::to_owned);
    let one = |kind: &str, name: &str| Resource::One(format!("arn:aws:iam::{account}:{kind}/{name}"));
    if service == "sts" {
        return vec![Resource::One(given("RoleArn").unwrap_or_else(|| "*".into()))];
    }
    if service != "iam" {
        let named = ["LoadBalancerArn", "TargetGroupArn", "ListenerArn", "RuleArn"];
        let arns = named.iter().filter_map(|name| given(name)).chain(c.params.list("ResourceArns.member"));
        let found: Vec<Resource> = arns.map(Resource::One).collect();
        let is_read = c.action.starts_with("Describe");
        return if !found.is_empty() {
            found
        } else if is_read {
            vec![Resource::One("*".into())]
        } else {
            vec![Resource::SomeOf(format!("arn:aws:{service}:{REGION}:{account}:*"))]
        };
    }
    let mut found: Vec<Resource> = [
        ("UserName", "user"),
        ("RoleName", "role"),
        ("GroupName", "group"),
        ("InstanceProfileName", "instance-profile"),
    ]
    .iter()
    .filter_map(|(parameter, kind)| {
        // A path is part of the ARN, and only what is made says which it has.
        let name = given(parameter)?;
        let made = c.action.starts_with("Create") && c.action != "CreateAccessKey";
        let path = given("Path").filter(|_| made);
        let path = path.unwrap_or_else(|| arn::path_of(c, kind, &name));
        Some(one(kind, &format!("{}{name}", path.trim_start_matches('/'))))
    })
    .collect();
    // The policy itself, where the action is about it; else it is a condition.
    if !c.action.starts_with("Attach") && !c.action.starts_with("Detach") {
        found.extend(given("PolicyArn").map(Resource::One));
    }
    if c.action == "CreatePolicy" {
        let path = given("Path").unwrap_or_else(|| "/".into());
        found
            .push(one("policy", &format!("{}{}", path.trim_start_matches('/'), c.params.text("PolicyName"))));
    }
    if found.is_empty() {
        found.push(Resource::One("*".into()));
    }
    found
}

/// What a request says of the keys that conditions ask for.
pub(crate) async fn facts(c: &Context, actor: Option<&Actor>, resource: &Resource) -> Result<Facts, Failure> {
    let account = c.account();
    let mut facts = match actor {
        Some(actor) => actor.facts(&account, c.now()),
        None => Facts::of_time(c.now()),
    };
    facts.came(c.from, c.through.as_deref()).set("aws:PrincipalAccount", &account);
    for key in ["aws:RequestTag/", "aws:ResourceTag/", "ec2:ResourceTag/"] {
        facts.knows_all(key);
    }
    for key in [
        "aws:TagKeys",
        "iam:PolicyARN",
        "iam:PermissionsBoundary",
        "iam:PassedToService",
        "ec2:InstanceType",
        "ec2:CreateAction",
        "sts:ExternalId",
        "sts:RoleSessionName",
    ] {
        facts.knows(key);
    }
    facts
        .set("aws:ResourceAccount", &account)
        .set("aws:RequestedRegion", &c.signer.region)
        .set("ec2:Region", REGION);
    for (key, parameter) in [
        ("ec2:InstanceType", "InstanceType"),
        ("iam:PolicyARN", "PolicyArn"),
        ("iam:PermissionsBoundary", "PermissionsBoundary"),
        ("sts:ExternalId", "ExternalId"),
        ("sts:RoleSessionName", "RoleSessionName"),
    ] {
        if let Some(value) = c.params.get(parameter) {
            facts.set(key, value);
        }
    }
    let mut given = c.params.structs("Tag");
    given.extend(c.params.structs("Tags.member"));
    given.extend(c.params.structs("TagSpecification").iter().flat_map(|spec| spec.structs("Tag")));
    if !given.is_empty() {
        facts.set_all("aws:TagKeys", given.iter().map(|tag| tag.text("Key").to_owned()).collect());
        facts.set("ec2:CreateAction", &c.action);
        for tag in &given {
            facts.set(&format!("aws:RequestTag/{}", tag.text("Key")), tag.text("Value"));
        }
    }
    let policy = c.through.as_ref().and_then(|through| through.policy.as_ref());
    let asks = |prefix: &str| {
        actor.is_some_and(|actor| actor.permissions.asks_for(prefix))
            || policy.is_some_and(|policy| policy.asks_for(prefix))
    };
    if asks("aws:resourcetag/") || asks("ec2:resourcetag/") {
        let id = resource.text().rsplit('/').next().unwrap_or_default();
        // What is not there has no tags; that it is not there, the action itself says.
        let found = match tags_of(c, resource.text(), id).await {
            Err(e) if e.status != 400 => return Err(e),
            found => found.unwrap_or_default(),
        };
        for (key, value) in found {
            facts.set(&format!("aws:ResourceTag/{key}"), &value);
            facts.set(&format!("ec2:ResourceTag/{key}"), &value);
        }
    }
    Ok(facts)
}

async fn tags_of(c: &Context, arn: &str, id: &str) -> Result<crate::tags::Tags, Failure> {
    if arn.starts_with("arn:aws:elasticloadbalancing:") {
        elb::tagging::tags_of(c, arn).await
    } else {
        tagging::tags_of(c, id).await
    }
}

/// Who gives an instance a role has to be allowed to pass it on.
async fn pass_role(c: &Context, actor: &Actor) -> Result<(), Failure> {
    let given = c.params.below("IamInstanceProfile");
    if given.is_empty() {
        return Ok(());
    }
    let profile = crate::iam::profiles::given(c, &given).await?;
    if profile.spec.role.is_empty() {
        return Ok(());
    }
    let path = arn::path_of(c, "role", &profile.spec.role);
    let role = format!("arn:aws:iam::{}:role{path}{}", c.account(), profile.spec.role);
    let resource = Resource::One(role);
    let mut facts = facts(c, Some(actor), &resource).await?;
    facts.set("iam:PassedToService", "ec2.amazonaws.com");
    allowed(c, actor, "iam:PassRole", &resource, &facts)
}
