//! Tags of anything that has an id.

use model::compute::{ImageSpec, InstanceSpec, KeyPairSpec, LaunchTemplateSpec, PlacementGroupSpec};
use model::network::{
    DhcpOptionsSpec, FloatingIpSpec, FlowLogSpec, GatewaySpec, NetworkAclSpec, PeeringSpec, PortSpec,
    RouteTableSpec, SecurityGroupSpec, SubnetSpec, VpcEndpointSpec, VpcSpec,
};
use model::storage::{VolumeSnapshotSpec, VolumeSpec};
use model::{Object, Spec};

use super::shown::instance_tags;
use super::{acls, egress_gateways, gateways, rule_notes};
use crate::actions::{Action, Answer, describe};
use crate::context::Context;
use crate::describe::{Ids, Item, answer, select};
use crate::failure::Failure;
use crate::ids::{self, Known};
use crate::tags::{self, Tags};
use crate::xml::Xml;

const RESOURCES_MAX: usize = 1000;

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2("CreateTags", &["ResourceId", "Tag"], |c| Box::pin(create(c))),
    Action::ec2("DeleteTags", &["ResourceId", "Tag"], |c| Box::pin(delete(c))),
    Action::ec2("DescribeTags", describe![], |c| Box::pin(describe(c))),
];

async fn create(c: &Context) -> Answer {
    let new = tags::named(&c.params, "Tag")?;
    if new.is_empty() {
        return Err(Failure::missing("Tag"));
    }
    each(c, |tags| tags.extend(new.clone())).await
}

async fn delete(c: &Context) -> Answer {
    // Without a value a tag goes whatever its value is; without any tag, all go.
    let given = c.params.structs("Tag");
    let mut keys = Vec::new();
    for tag in &given {
        keys.push((tag.require("Key")?.to_owned(), tag.has("Value").then(|| tag.text("Value").to_owned())));
    }
    each(c, |tags| {
        let goes = |key: &String, value: &String| {
            keys.is_empty() || keys.iter().any(|(k, v)| k == key && v.as_ref().is_none_or(|v| v == value))
        };
        tags.retain(|key, value| !goes(key, value));
    })
    .await
}

/// Changes the tags of every resource that is named. All are found before one is changed.
async fn each(c: &Context, edit: impl Fn(&mut Tags)) -> Answer {
    let resources = c.params.list("ResourceId");
    if resources.is_empty() {
        return Err(Failure::missing("ResourceId"));
    }
    if resources.len() > RESOURCES_MAX {
        return Err(Failure::value(format!("At most {RESOURCES_MAX} resources are tagged at once")));
    }
    for dry in [true, false] {
        for id in &resources {
            one(c, id, &edit, dry).await?;
        }
        if dry {
            c.end_dry_run()?;
        }
    }
    Ok(super::done())
}

async fn one(c: &Context, id: &str, edit: &impl Fn(&mut Tags), dry: bool) -> Result<(), Failure> {
    match id.split_once('-').map_or("", |(prefix, _)| prefix) {
        "i" => apply(c, c.find::<InstanceSpec>(id).await?, edit, dry).await,
        "ami" => apply(c, c.find::<ImageSpec>(id).await?, edit, dry).await,
        "key" => apply(c, c.find::<KeyPairSpec>(id).await?, edit, dry).await,
        "lt" => apply(c, c.find::<LaunchTemplateSpec>(id).await?, edit, dry).await,
        "vpc" => apply(c, c.find::<VpcSpec>(id).await?, edit, dry).await,
        "subnet" => apply(c, c.find::<SubnetSpec>(id).await?, edit, dry).await,
        "sg" => apply(c, c.find::<SecurityGroupSpec>(id).await?, edit, dry).await,
        "eni" => apply(c, c.find::<PortSpec>(id).await?, edit, dry).await,
        "rtb" => apply(c, c.find::<RouteTableSpec>(id).await?, edit, dry).await,
        "acl" => {
            let acl = acls::find(c, id).await?;
            // A default one has no object yet when it is only asked whether it may have one.
            if c.dry_run { Ok(()) } else { apply(c, acl, edit, dry).await }
        }
        "dopt" => apply(c, c.find::<DhcpOptionsSpec>(id).await?, edit, dry).await,
        "eipalloc" => apply(c, c.find::<FloatingIpSpec>(id).await?, edit, dry).await,
        "vol" => apply(c, c.find::<VolumeSpec>(id).await?, edit, dry).await,
        "snap" => apply(c, c.find::<VolumeSnapshotSpec>(id).await?, edit, dry).await,
        "pg" => apply(c, c.find::<PlacementGroupSpec>(id).await?, edit, dry).await,
        "pcx" => apply(c, c.find::<PeeringSpec>(id).await?, edit, dry).await,
        "fl" => apply(c, c.find::<FlowLogSpec>(id).await?, edit, dry).await,
        "vpce" => apply(c, c.find::<VpcEndpointSpec>(id).await?, edit, dry).await,
        "sgr" => rule_notes::edit_tags(c, id, edit, dry).await,
        "igw" | "nat" | "eigw" => apply(c, gateways::find(c, id).await?, edit, dry).await,
        _ => {
            let id: String = id.chars().take(80).collect();
            Err(Failure::new("InvalidID", format!("The ID '{id}' is not valid")))
        }
    }
}

async fn apply<S: Spec>(
    c: &Context,
    object: Object<S>,
    edit: &impl Fn(&mut Tags),
    dry: bool,
) -> Result<(), Failure> {
    let mut tags = tags::of(&object.metadata);
    edit(&mut tags);
    tags::check_count(&tags)?;
    let patch = tags::patch(&object.metadata, tags);
    let write = client::WriteOptions { dry_run: dry || c.dry_run, ..client::WriteOptions::default() };
    c.api::<S>().with(write).merge(&object.metadata.name, &patch).await.map(drop).map_err(Into::into)
}

/// The tags of what has this id.
pub(crate) async fn tags_of(c: &Context, id: &str) -> Result<Tags, Failure> {
    async fn of<S: Known>(c: &Context, id: &str) -> Result<Tags, Failure> {
        Ok(tags::of(&c.find::<S>(id).await?.metadata))
    }
    match id.split_once('-').map_or("", |(prefix, _)| prefix) {
        "i" => of::<InstanceSpec>(c, id).await,
        "ami" => of::<ImageSpec>(c, id).await,
        "lt" => of::<LaunchTemplateSpec>(c, id).await,
        "vpc" => of::<VpcSpec>(c, id).await,
        "subnet" => of::<SubnetSpec>(c, id).await,
        "sg" => of::<SecurityGroupSpec>(c, id).await,
        "eni" => of::<PortSpec>(c, id).await,
        "rtb" => of::<RouteTableSpec>(c, id).await,
        "acl" => match of::<NetworkAclSpec>(c, id).await {
            Err(failure) if failure.code == NetworkAclSpec::NOT_FOUND => Ok(Tags::new()),
            found => found,
        },
        "dopt" => of::<DhcpOptionsSpec>(c, id).await,
        "eipalloc" => of::<FloatingIpSpec>(c, id).await,
        "vol" => of::<VolumeSpec>(c, id).await,
        "snap" => of::<VolumeSnapshotSpec>(c, id).await,
        "pg" => of::<PlacementGroupSpec>(c, id).await,
        "pcx" => of::<PeeringSpec>(c, id).await,
        "fl" => of::<FlowLogSpec>(c, id).await,
        "vpce" => of::<VpcEndpointSpec>(c, id).await,
        "sgr" => rule_notes::tags_of(c, id).await,
        "igw" | "nat" | "eigw" => Ok(tags::of(&gateways::find(c, id).await?.metadata)),
        _ => Ok(Tags::new()),
    }
}

struct Tagged {
    /// Resource and key: a tag's place among all.
    at: String,
    resource: String,
    kind: &'static str,
    key: String,
    value: String,
}

impl Item for Tagged {
    const FILTERS: &'static [&'static str] = &["resource-id", "resource-type", "key", "value"];

    fn id(&self) -> &str {
        &self.at
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        vec![match filter {
            "resource-id" => self.resource.clone(),
            "resource-type" => self.kind.into(),
            "key" => self.key.clone(),
            _ => self.value.clone(),
        }]
    }
    fn write(&self, x: &mut Xml) {
        x.text("resourceId", &self.resource)
            .text("resourceType", self.kind)
            .text("key", &self.key)
            .text("value", &self.value);
    }
}

fn tagged<S: Spec>(
    objects: &[Object<S>],
    kind: &'static str,
    id: impl Fn(&Object<S>) -> String,
) -> Vec<Tagged> {
    let of = |object: &Object<S>| each_tag(&id(object), kind, tags::of(&object.metadata));
    objects.iter().flat_map(of).collect()
}

fn each_tag(resource: &str, kind: &'static str, tags: Tags) -> Vec<Tagged> {
    let tag = |(key, value)| Tagged {
        at: format!("{resource}/{key}"),
        resource: resource.to_owned(),
        kind,
        key,
        value,
    };
    tags.into_iter().map(tag).collect()
}

async fn all<S: Known>(c: &Context) -> Result<Vec<Tagged>, Failure> {
    Ok(tagged(&c.list_if_allowed::<S>().await?, S::TYPE, ids::id))
}

async fn describe(c: &Context) -> Answer {
    let instances = c.list_if_allowed::<InstanceSpec>().await?;
    let of_instance = |instance| each_tag(&ids::id(instance), "instance", instance_tags(instance));
    let mut found: Vec<Tagged> = instances.iter().flat_map(of_instance).collect();
    found.extend(all::<ImageSpec>(c).await?);
    found.extend(all::<KeyPairSpec>(c).await?);
    found.extend(all::<LaunchTemplateSpec>(c).await?);
    found.extend(all::<VpcSpec>(c).await?);
    found.extend(all::<SubnetSpec>(c).await?);
    found.extend(all::<SecurityGroupSpec>(c).await?);
    found.extend(all::<PortSpec>(c).await?);
    found.extend(all::<RouteTableSpec>(c).await?);
    found.extend(all::<NetworkAclSpec>(c).await?);
    found.extend(all::<DhcpOptionsSpec>(c).await?);
    found.extend(all::<FloatingIpSpec>(c).await?);
    found.extend(all::<VolumeSpec>(c).await?);
    found.extend(all::<VolumeSnapshotSpec>(c).await?);
    found.extend(all::<PeeringSpec>(c).await?);
    found.extend(all::<FlowLogSpec>(c).await?);
    found.extend(all::<VpcEndpointSpec>(c).await?);
    found.extend(all::<PlacementGroupSpec>(c).await?);
    for (id, tags) in rule_notes::tagged(&c.list_if_allowed::<SecurityGroupSpec>().await?) {
        found.extend(each_tag(&id, "security-group-rule", tags));
    }
    let (nat, others): (Vec<_>, Vec<_>) =
        c.list_if_allowed::<GatewaySpec>().await?.into_iter().partition(gateways::is_nat);
    found.extend(tagged(&nat, "natgateway", gateways::id));
    let (egress, internet): (Vec<_>, Vec<_>) = others.into_iter().partition(egress_gateways::is_egress);
    found.extend(tagged(&egress, "egress-only-internet-gateway", gateways::id));
    found.extend(tagged(&internet, "internet-gateway", gateways::id));
    let ids = Ids { parameter: "", none: |id| Failure::value(id) };
    Ok(answer("tagSet", &select(&c.params, &ids, found)?))
}
