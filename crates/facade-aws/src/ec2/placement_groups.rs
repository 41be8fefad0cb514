//! Placement groups: what an instance of one is told about its place, and the groups themselves.

use model::compute::{
    Affinity, GroupStrategy, Instance, InstanceSpec, PlacementGroup, PlacementGroupSpec, PlacementSpec,
    TopologyKey,
};
use model::{Object, ObjectMeta};

use crate::REGION;
use crate::actions::{Action, Answer};
use crate::context::Context;
use crate::describe::{Ids, Item, answer, select};
use crate::failure::Failure;
use crate::ids;
use crate::params::Params;
use crate::tags::{self, Tags};
use crate::xml::Xml;

/// On instances: the group's id, by which they keep apart or together.
const MEMBER: &str = "aws.corten.dev/placement-group";
/// On instances: the group's name.
const NAME: &str = "aws.corten.dev/placement-group-name";

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2(
        "CreatePlacementGroup",
        &["GroupName", "Strategy", "SpreadLevel", "PartitionCount", "TagSpecification"],
        |c| Box::pin(create(c)),
    )
    .noting("spread: no two on one host, or in one rack where SpreadLevel is rack. cluster: in one rack, if there is room."),
    Action::ec2("DeletePlacementGroup", &["GroupName"], |c| Box::pin(delete(c))),
    Action::ec2("DescribePlacementGroups", &["GroupName", "GroupId", "Filter"], |c| Box::pin(describe(c))),
];

struct Shown {
    id: String,
    name: String,
    strategy: GroupStrategy,
    level: TopologyKey,
    owner: String,
    tags: Tags,
}

impl Shown {
    fn of(c: &Context, group: &PlacementGroup) -> Self {
        let PlacementGroupSpec { name, strategy, level } = group.spec.clone();
        Self {
            id: ids::id(group),
            name,
            strategy,
            level,
            owner: c.account(),
            tags: tags::of(&group.metadata),
        }
    }

    fn arn(&self) -> String {
        format!("arn:aws:ec2:{REGION}:{}:placement-group/{}", self.owner, self.name)
    }

    /// EC2 has no level of zones.
    fn level(&self) -> Option<&'static str> {
        match (self.strategy, self.level) {
            (GroupStrategy::Spread, TopologyKey::Host) => Some("host"),
            (GroupStrategy::Spread, TopologyKey::Rack) => Some("rack"),
            _ => None,
        }
    }
}

impl Item for Shown {
    const FILTERS: &'static [&'static str] =
        &["group-name", "group-id", "group-arn", "state", "strategy", "spread-level"];

    fn id(&self) -> &str {
        &self.id
    }
    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        vec![match filter {
            "group-name" => self.name.clone(),
            "group-arn" => self.arn(),
            "state" => "available".into(),
            "strategy" => self.strategy.as_str().into(),
            "spread-level" => return self.level().map(str::to_owned).into_iter().collect(),
            _ => self.id.clone(),
        }]
    }
    fn write(&self, x: &mut Xml) {
        x.text("groupName", &self.name)
            .text("state", "available")
            .text("strategy", self.strategy.as_str())
            .text("groupId", &self.id)
            .text("groupArn", self.arn())
            .given("spreadLevel", self.level().unwrap_or(""));
        tags::write(x, &self.tags);
    }
}

fn unknown(name: &str) -> Failure {
    let name: String = name.chars().take(255).collect();
    Failure::new("InvalidPlacementGroup.Unknown", format!("The Placement Group '{name}' is unknown."))
}

async fn describe(c: &Context) -> Answer {
    let mut all = c.list::<PlacementGroupSpec>().await?;
    let names = c.params.list("GroupName");
    if let Some(missing) = names.iter().find(|name| !all.iter().any(|group| group.spec.name == **name)) {
        return Err(unknown(missing));
    }
    all.retain(|group| names.is_empty() || names.contains(&group.spec.name));
    let shown = all.iter().map(|group| Shown::of(c, group)).collect();
    let ids = Ids { parameter: "GroupId", none: ids::none::<PlacementGroupSpec> };
    Ok(answer("placementGroupSet", &select(&c.params, &ids, shown)?))
}

async fn create(c: &Context) -> Answer {
    let params = &c.params;
    let strategy = match params.require("Strategy")? {
        "cluster" => GroupStrategy::Cluster,
        "spread" => GroupStrategy::Spread,
        other => {
            let other: String = other.chars().take(80).collect();
            return Err(Failure::unsupported(format!("The strategy {other} is not supported in this cloud")));
        }
    };
    if params.has("PartitionCount") {
        return Err(Failure::new(
            "InvalidParameterCombination",
            "PartitionCount is for the strategy partition alone",
        ));
    }
    let level = match (strategy, params.get("SpreadLevel")) {
        (GroupStrategy::Spread, None | Some("host")) => TopologyKey::Host,
        (GroupStrategy::Cluster, None) | (GroupStrategy::Spread, Some("rack")) => TopologyKey::Rack,
        (_, Some(other)) => {
            return Err(params.invalid("SpreadLevel", other, "must be host or rack, of spread"));
        }
    };
    let mut meta = ObjectMeta::in_project(c.project(), c.new_id("pg", 0));
    tags::give(&mut meta, tags::for_new(params, "placement-group")?);
    let name = params.require("GroupName")?.to_owned();
    let made = c.create(Object::new(meta, PlacementGroupSpec { name: name.clone(), strategy, level })).await;
    let made = made.map_err(|e| {
        let message = format!("The Placement Group '{name}' already exists.");
        let taken = e.message.contains("of a placement group");
        if taken { Failure::new("InvalidPlacementGroup.Duplicate", message) } else { e }
    })?;
    let mut x = Xml::new();
    x.node("placementGroup", |x| Shown::of(c, &made).write(x));
    Ok(x)
}

async fn by_name(c: &Context, name: &str) -> Result<PlacementGroup, Failure> {
    let found = c.list::<PlacementGroupSpec>().await?.into_iter().find(|group| group.spec.name == name);
    found.ok_or_else(|| unknown(name))
}

async fn delete(c: &Context) -> Answer {
    let group = by_name(c, c.params.require("GroupName")?).await?;
    let id = ids::id(&group);
    let is_member = |i: &Instance| i.metadata.labels.get(MEMBER) == Some(&id);
    if c.list::<InstanceSpec>().await?.iter().any(is_member) {
        let message = format!("The placement group '{}' is in use and may not be deleted.", group.spec.name);
        return Err(Failure::new("InvalidPlacementGroup.InUse", message));
    }
    c.delete::<PlacementGroupSpec>(&group.metadata.name, "InvalidPlacementGroup.InUse").await?;
    Ok(super::done())
}

/// The group that new instances are to be in.
pub(crate) async fn asked(c: &Context, placement: &Params) -> Result<Option<PlacementGroup>, Failure> {
    match (placement.get("GroupName"), placement.get("GroupId")) {
        (Some(name), None) => by_name(c, name).await.map(Some),
        (None, Some(id)) => c.find::<PlacementGroupSpec>(id).await.map(Some),
        (Some(_), Some(_)) => Err(Failure::new(
            "InvalidParameterCombination",
            "Placement.GroupName and Placement.GroupId exclude each other",
        )),
        (None, None) => Ok(None),
    }
}

/// Makes an instance one of the group.
pub(crate) fn join(group: &PlacementGroup, meta: &mut ObjectMeta, placement: &mut PlacementSpec) {
    let id = ids::id(group);
    let labels = [(MEMBER.to_owned(), id.clone())].into();
    meta.labels.insert(MEMBER.into(), id);
    meta.annotations.insert(NAME.into(), group.spec.name.clone());
    let near = group.spec.strategy == GroupStrategy::Cluster;
    let rule = Affinity { labels, topology: group.spec.level, prefer: near };
    if near { placement.affinity.push(rule) } else { placement.anti_affinity.push(rule) }
}

/// Name and id of an instance's group.
pub(crate) fn of(meta: &ObjectMeta) -> Option<(String, String)> {
    let id = meta.labels.get(MEMBER)?.clone();
    Some((meta.annotations.get(NAME).cloned().unwrap_or_default(), id))
}
