//! VPC peering connections. Here either side says for itself that the two may talk: a connection of EC2 is the one
//! that asked, and with it the one that answers.

use model::network::{Peering, PeeringSpec, Vpc, VpcSpec};
use model::{ConditionStatus, Object, ObjectMeta};

use crate::REGION;
use crate::actions::{Action, Answer, describe};
use crate::context::Context;
use crate::describe::{Ids, Item, answer, select};
use crate::failure::Failure;
use crate::ids;
use crate::tags::{self, Tags};
use crate::xml::Xml;

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2(
        "CreateVpcPeeringConnection",
        &["VpcId", "PeerVpcId", "PeerOwnerId", "PeerRegion", "TagSpecification"],
        |c| Box::pin(create(c)),
    )
    .noting("Of two VPCs of the own account; with another's, each side makes a Peering of its own."),
    Action::ec2("AcceptVpcPeeringConnection", &["VpcPeeringConnectionId"], |c| Box::pin(accept(c))),
    Action::ec2("RejectVpcPeeringConnection", &["VpcPeeringConnectionId"], |c| Box::pin(reject(c))),
    Action::ec2("DeleteVpcPeeringConnection", &["VpcPeeringConnectionId"], |c| Box::pin(delete(c)))
        .noting("It is gone at once; a route to it has to go before."),
    Action::ec2("DescribeVpcPeeringConnections", describe!["VpcPeeringConnectionId"], |c| {
        Box::pin(describe(c))
    }),
    Action::ec2(
        "ModifyVpcPeeringConnectionOptions",
        &["VpcPeeringConnectionId", "AccepterPeeringConnectionOptions", "RequesterPeeringConnectionOptions"],
        |c| Box::pin(options(c)),
    )
    .noting("Names of one VPC are not found in the other."),
];

/// Both sides of a connection: the one that is older asked for it.
pub(crate) struct Pair<'a> {
    asking: &'a Peering,
    answering: Option<&'a Peering>,
}

impl Pair<'_> {
    fn id(&self) -> String {
        ids::id(self.asking)
    }

    /// The side whose VPC this is.
    fn side(&self, vpc: &str) -> Option<&Peering> {
        [Some(self.asking), self.answering].into_iter().flatten().find(|side| side.spec.vpc == vpc)
    }
}

fn pairs(all: &[Peering]) -> Vec<Pair<'_>> {
    let age = |p: &Peering| (p.metadata.creation_timestamp, p.metadata.name.clone());
    let other = |own: &Peering| all.iter().find(|other| PeeringSpec::is_answered(own, other));
    let pair = |own| match other(own) {
        Some(other) if age(other) < age(own) => None,
        answering => Some(Pair { asking: own, answering }),
    };
    all.iter().filter_map(pair).collect()
}

/// The id of the connection that a peering is a side of.
pub(crate) fn id_of(all: &[Peering], name: &str) -> String {
    let is_side = |pair: &Pair<'_>| {
        pair.asking.metadata.name == name || pair.answering.is_some_and(|side| side.metadata.name == name)
    };
    pairs(all).into_iter().find(is_side).map(|pair| pair.id()).unwrap_or_default()
}

/// The side of a connection whose VPC this is: to it a route of that VPC leads.
pub(crate) async fn side_in(c: &Context, id: &str, vpc: &str) -> Result<Peering, Failure> {
    let all = c.list::<PeeringSpec>().await?;
    let found =
        pairs(&all).into_iter().find(|pair| pair.id() == id).ok_or_else(|| ids::none::<PeeringSpec>(id))?;
    found.side(vpc).cloned().ok_or_else(|| {
        Failure::value(format!(
            "The connection {id} is not accepted, or route table and connection have no VPC in common"
        ))
    })
}

struct Side {
    vpc_id: String,
    owner: String,
    ranges: Vec<String>,
    ranges_v6: Vec<String>,
}

struct Shown {
    id: String,
    status: (&'static str, String),
    asking: Side,
    answering: Side,
    tags: Tags,
}

impl Shown {
    fn of(vpcs: &[Vpc], pair: &Pair<'_>) -> Self {
        let own = &pair.asking.metadata.namespace;
        let spec = &pair.asking.spec;
        let side = |project: &str, name: &str| {
            let vpc = ids::find(vpcs, name).filter(|vpc| vpc.metadata.namespace == project);
            let ranges = |v4: bool| {
                let all = vpc.into_iter().flat_map(|vpc| vpc.spec.ranges());
                all.filter(|range| range.is_v4() == v4).map(ToString::to_string).collect()
            };
            // Of another account's nothing is known but the name.
            let is_id = ids::is_id("vpc", name);
            Side {
                vpc_id: vpc.map_or_else(|| if is_id { name.to_owned() } else { String::new() }, ids::id),
                owner: ids::account(project),
                ranges: ranges(true),
                ranges_v6: ranges(false),
            }
        };
        let why = |reason: &str| {
            let of = |c: &&model::Condition| c.status == ConditionStatus::False && c.reason == reason;
            pair.asking.status.conditions.iter().find(of).map(|c| c.message.clone())
        };
        let status = if pair.asking.metadata.is_deleting() {
            ("deleting", "Deleting".into())
        } else if pair.answering.is_none() && !pair.asking.status.active {
            ("pending-acceptance", "Pending Acceptance".into())
        } else if pair.asking.status.active {
            ("active", "Active".into())
        } else if let Some(message) = why("RangesOverlap") {
            ("failed", message)
        } else {
            ("provisioning", "Provisioning".into())
        };
        Self {
            id: pair.id(),
            status,
            asking: side(own, &spec.vpc),
            answering: side(spec.peer_project(own), &spec.peer_vpc),
            tags: tags::of(&pair.asking.metadata),
        }
    }
}

impl Item for Shown {
    const FILTERS: &'static [&'static str] = &[
        "vpc-peering-connection-id",
        "status-code",
        "status-message",
        "requester-vpc-info.vpc-id",
        "requester-vpc-info.owner-id",
        "requester-vpc-info.cidr-block",
        "accepter-vpc-info.vpc-id",
        "accepter-vpc-info.owner-id",
        "accepter-vpc-info.cidr-block",
    ];

    fn id(&self) -> &str {
        &self.id
    }
    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        match filter {
            "status-code" => vec![self.status.0.into()],
            "status-message" => vec![self.status.1.clone()],
            "requester-vpc-info.vpc-id" => vec![self.asking.vpc_id.clone()],
            "requester-vpc-info.owner-id" => vec![self.asking.owner.clone()],
            "requester-vpc-info.cidr-block" => self.asking.ranges.clone(),
            "accepter-vpc-info.vpc-id" => vec![self.answering.vpc_id.clone()],
            "accepter-vpc-info.owner-id" => vec![self.answering.owner.clone()],
            "accepter-vpc-info.cidr-block" => self.answering.ranges.clone(),
            _ => vec![self.id.clone()],
        }
    }
    fn write(&self, x: &mut Xml) {
        for (name, side) in [("accepterVpcInfo", &self.answering), ("requesterVpcInfo", &self.asking)] {
            x.node(name, |x| {
                x.given("cidrBlock", side.ranges.first().map_or("", String::as_str))
                    .list("ipv6CidrBlockSet", &side.ranges_v6, |x, range| {
                        x.text("ipv6CidrBlock", range);
                    })
                    .list("cidrBlockSet", &side.ranges, |x, range| {
                        x.text("cidrBlock", range);
                    })
                    .text("ownerId", &side.owner)
                    .node("peeringOptions", peering_options)
                    .given("vpcId", &side.vpc_id)
                    .text("region", REGION);
            });
        }
        x.node("status", |x| {
            x.text("code", self.status.0).text("message", &self.status.1);
        });
        tags::write(x, &self.tags);
        x.text("vpcPeeringConnectionId", &self.id);
    }
}

fn peering_options(x: &mut Xml) {
    x.text("allowDnsResolutionFromRemoteVpc", false);
}

async fn describe(c: &Context) -> Answer {
    let vpcs = c.list_if_allowed::<VpcSpec>().await?;
    let all = c.list::<PeeringSpec>().await?;
    let shown = pairs(&all).iter().map(|pair| Shown::of(&vpcs, pair)).collect();
    let ids = Ids { parameter: "VpcPeeringConnectionId", none: ids::none::<PeeringSpec> };
    Ok(answer("vpcPeeringConnectionSet", &select(&c.params, &ids, shown)?))
}

fn answered(vpcs: &[Vpc], pair: &Pair<'_>) -> Xml {
    let mut x = Xml::new();
    x.node("vpcPeeringConnection", |x| Shown::of(vpcs, pair).write(x));
    x
}

async fn create(c: &Context) -> Answer {
    let params = &c.params;
    if params.get("PeerOwnerId").is_some_and(|owner| owner != c.account()) {
        let message =
            "With a VPC of another account each side makes a Peering of its own: `corten explain peering`";
        return Err(Failure::unsupported(message));
    }
    if params.get("PeerRegion").is_some_and(|region| region != REGION) {
        return Err(params.invalid(
            "PeerRegion",
            params.text("PeerRegion"),
            "must be the region of this cloud",
        ));
    }
    let vpc = c.named::<VpcSpec>("VpcId").await?;
    let peer = c.named::<VpcSpec>("PeerVpcId").await?;
    if vpc.metadata.name == peer.metadata.name {
        return Err(Failure::value("A VPC cannot be peered with itself"));
    }
    let same = |p: &Peering| p.spec.vpc == peer.metadata.name && p.spec.peer_vpc == vpc.metadata.name;
    if c.list::<PeeringSpec>().await?.iter().any(same) {
        let message = "There is a connection of these two VPCs, which the other side asked for: accept it";
        return Err(Failure::new("VpcPeeringConnectionAlreadyExists", message));
    }
    let mut meta = ObjectMeta::in_project(c.project(), c.new_id("pcx", 0));
    tags::give(&mut meta, tags::for_new(params, "vpc-peering-connection")?);
    let spec = PeeringSpec {
        vpc: vpc.metadata.name.clone(),
        peer_vpc: peer.metadata.name.clone(),
        ..PeeringSpec::default()
    };
    let made = c.create(Object::new(meta, spec)).await.map_err(|e| {
        let taken = e.message.contains("is held by");
        if taken { Failure::new("VpcPeeringConnectionAlreadyExists", e.message) } else { e }
    })?;
    Ok(answered(&[vpc, peer], &Pair { asking: &made, answering: None }))
}

/// Finds the connection that a request names.
fn find(c: &Context, all: &[Peering]) -> Result<usize, Failure> {
    let wanted = c.params.require("VpcPeeringConnectionId")?;
    let found = all.iter().position(|p| ids::id(p) == wanted);
    found.ok_or_else(|| ids::none::<PeeringSpec>(wanted))
}

async fn accept(c: &Context) -> Answer {
    let all = c.list::<PeeringSpec>().await?;
    let asking = &all[find(c, &all)?];
    let vpcs = c.list_if_allowed::<VpcSpec>().await?;
    if asking.spec.peer_project(c.project()) != c.project() {
        let message = "The other side's account has to make its own Peering";
        return Err(Failure::new("OperationNotPermitted", message));
    }
    let pair = |answering| Pair { asking, answering };
    if let Some(other) = all.iter().find(|other| PeeringSpec::is_answered(asking, other)) {
        return Ok(answered(&vpcs, &pair(Some(other))));
    }
    let spec = PeeringSpec {
        vpc: asking.spec.peer_vpc.clone(),
        peer_vpc: asking.spec.vpc.clone(),
        ..PeeringSpec::default()
    };
    let meta = ObjectMeta::in_project(c.project(), c.new_id("pcx", 0));
    let made = c.create(Object::new(meta, spec)).await?;
    Ok(answered(&vpcs, &pair(Some(&made))))
}

async fn reject(c: &Context) -> Answer {
    let all = c.list::<PeeringSpec>().await?;
    let asking = &all[find(c, &all)?];
    if all.iter().any(|other| PeeringSpec::is_answered(asking, other)) {
        let message = format!("The connection {} is not in the state pending-acceptance", ids::id(asking));
        return Err(Failure::new("InvalidStateTransition", message));
    }
    c.delete::<PeeringSpec>(&asking.metadata.name, "DependencyViolation").await?;
    Ok(super::done())
}

async fn delete(c: &Context) -> Answer {
    let all = c.list::<PeeringSpec>().await?;
    let asking = &all[find(c, &all)?];
    let other = all.iter().find(|other| PeeringSpec::is_answered(asking, other));
    // The side that answers first: while the one that asked is there, the rest can be asked for again.
    for side in other.into_iter().chain([asking]) {
        c.delete::<PeeringSpec>(&side.metadata.name, "DependencyViolation").await?;
    }
    Ok(super::done())
}

async fn options(c: &Context) -> Answer {
    let all = c.list::<PeeringSpec>().await?;
    find(c, &all)?;
    let mut x = Xml::new();
    for (parameter, name) in [
        ("AccepterPeeringConnectionOptions", "accepterPeeringConnectionOptions"),
        ("RequesterPeeringConnectionOptions", "requesterPeeringConnectionOptions"),
    ] {
        let given = c.params.below(parameter);
        for (option, value) in given.clone().into_values() {
            if !value.eq_ignore_ascii_case("false") {
                return Err(Failure::unsupported(format!("{option} can only be false in this cloud")));
            }
        }
        if !given.is_empty() {
            x.node(name, peering_options);
        }
    }
    Ok(x)
}
