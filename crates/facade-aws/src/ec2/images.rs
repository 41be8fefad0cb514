//! Images (AMIs).

use model::compute::{Image, ImageFormat, ImagePhase, ImageSource, ImageSpec, Visibility};
use model::{Object, ObjectMeta};
use serde_json::json;

use super::places::architecture;
use super::world::{SYSTEM_PROJECT, images};
use crate::actions::{Action, Answer, describe};
use crate::context::Context;
use crate::describe::{Ids, Item, answer, select};
use crate::failure::Failure;
use crate::ids;
use crate::tags::{self, Tags};
use crate::xml::Xml;

/// An image's name in EC2, where it was registered there.
const NAME: &str = "aws.corten.dev/image-name";

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2("DescribeImages", describe!["ImageId", "Owner", "ExecutableBy", "IncludeDeprecated"], |c| {
        Box::pin(describe(c))
    }),
    Action::ec2(
        "RegisterImage",
        &["Name", "Description", "ImageLocation", "Architecture", "VirtualizationType", "TagSpecification"],
        |c| Box::pin(register(c)),
    )
    .noting("ImageLocation is an http(s) address that ends in .qcow2, .vmdk, .vhdx, .iso, .raw or .img."),
    Action::ec2("DeregisterImage", &["ImageId"], |c| Box::pin(deregister(c))),
    Action::ec2("DescribeImageAttribute", &["ImageId", "Attribute"], |c| Box::pin(attribute(c))),
    Action::ec2(
        "ModifyImageAttribute",
        &["ImageId", "Attribute", "LaunchPermission", "OperationType", "UserGroup", "Description", "Value"],
        |c| Box::pin(modify(c)),
    )
    .noting("Launch permission is for all or for the own project."),
    Action::ec2("ResetImageAttribute", &["ImageId", "Attribute"], |c| Box::pin(reset(c))),
];

struct Ami {
    id: String,
    name: String,
    owner: String,
    /// Not of the caller's own project.
    shared: bool,
    state: &'static str,
    reason: String,
    public: bool,
    description: String,
    location: String,
    created_at: String,
    tags: Tags,
}

impl Ami {
    fn of(c: &Context, image: &Image) -> Self {
        let project = &image.metadata.namespace;
        let name = name(image).to_owned();
        let failed = image.status.phase == ImagePhase::Failed;
        let why = image.status.conditions.iter().find(|_| failed).map(|c| c.message.clone());
        Self {
            id: ids::id(image),
            owner: ids::account(project),
            shared: project != c.project(),
            state: match image.status.phase {
                ImagePhase::Pending | ImagePhase::Importing => "pending",
                ImagePhase::Ready => "available",
                ImagePhase::Failed => "failed",
            },
            reason: why.unwrap_or_default(),
            public: image.spec.visibility == Visibility::Public,
            description: image.spec.description.clone(),
            location: if image.spec.source.url.is_empty() {
                format!("{project}/{name}")
            } else {
                image.spec.source.url.clone()
            },
            created_at: super::created_at(&image.metadata),
            tags: tags::of(&image.metadata),
            name,
        }
    }
}

fn name(image: &Image) -> &str {
    image.metadata.annotations.get(NAME).unwrap_or(&image.metadata.name)
}

impl Item for Ami {
    const FILTERS: &'static [&'static str] = &[
        "image-id",
        "name",
        "state",
        "is-public",
        "owner-id",
        "owner-alias",
        "architecture",
        "description",
        "image-type",
        "root-device-type",
        "virtualization-type",
        "hypervisor",
        "platform-details",
        "manifest-location",
        "creation-date",
        "ena-support",
    ];

    fn id(&self) -> &str {
        &self.id
    }
    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        vec![match filter {
            "image-id" => self.id.clone(),
            "name" => self.name.clone(),
            "state" => self.state.into(),
            "is-public" => super::word(self.public),
            "owner-id" => self.owner.clone(),
            "owner-alias" if self.shared => "amazon".into(),
            "architecture" => architecture().into(),
            "description" => self.description.clone(),
            "image-type" => "machine".into(),
            "root-device-type" => "instance-store".into(),
            "virtualization-type" => "hvm".into(),
            "platform-details" => "Linux/UNIX".into(),
            "manifest-location" => self.location.clone(),
            "creation-date" => self.created_at.clone(),
            "ena-support" => super::word(false),
            _ => return Vec::new(),
        }]
    }
    fn write(&self, x: &mut Xml) {
        x.text("imageId", &self.id)
            .text("imageLocation", &self.location)
            .text("imageState", self.state)
            .text("imageOwnerId", &self.owner)
            .given("imageOwnerAlias", if self.shared { "amazon" } else { "" })
            .text("creationDate", &self.created_at)
            .text("isPublic", self.public)
            .text("architecture", architecture())
            .text("imageType", "machine")
            .text("name", &self.name)
            .given("description", &self.description)
            .text("rootDeviceType", "instance-store")
            .list("blockDeviceMapping", std::iter::empty::<()>(), |_, ()| {})
            .text("virtualizationType", "hvm")
            .text("platformDetails", "Linux/UNIX")
            .text("usageOperation", "RunInstances")
            .text("enaSupport", false);
        if !self.reason.is_empty() {
            x.node("stateReason", |x| {
                x.text("code", "Client.ImportFailed").text("message", &self.reason);
            });
        }
        tags::write(x, &self.tags);
    }
}

async fn describe(c: &Context) -> Answer {
    let mut amis: Vec<Ami> = images(c).await?.iter().map(|image| Ami::of(c, image)).collect();
    let owners = c.params.list("Owner");
    let owned = |ami: &Ami| {
        owners.iter().any(|owner| match owner.as_str() {
            "self" => !ami.shared,
            "amazon" | "aws-marketplace" => ami.shared && owner == "amazon",
            account => ami.owner == account,
        })
    };
    let executable = c.params.list("ExecutableBy");
    let may = |ami: &Ami| {
        executable.iter().any(|who| match who.as_str() {
            "all" => ami.public,
            "self" => !ami.shared,
            _ => false,
        })
    };
    amis.retain(|ami| (owners.is_empty() || owned(ami)) && (executable.is_empty() || may(ami)));
    let ids = Ids { parameter: "ImageId", none: ids::none::<ImageSpec> };
    Ok(answer("imagesSet", &select(&c.params, &ids, amis)?))
}

async fn register(c: &Context) -> Answer {
    let wanted = c.params.require("Name")?;
    let location = c.params.require("ImageLocation")?;
    if c.params.get("Architecture").is_some_and(|a| a != architecture()) {
        return Err(Failure::unsupported(format!("Hosts of this cloud are {}", architecture())));
    }
    if c.params.get("VirtualizationType").is_some_and(|sort| sort != "hvm") {
        return Err(Failure::unsupported("Guests of this cloud are hvm"));
    }
    let formats = [
        (".qcow2", ImageFormat::Qcow2),
        (".vmdk", ImageFormat::Vmdk),
        (".vhdx", ImageFormat::Vhdx),
        (".iso", ImageFormat::Iso),
        (".raw", ImageFormat::Raw),
        (".img", ImageFormat::Raw),
    ];
    let format = formats.iter().find(|(end, _)| location.ends_with(end)).map(|(_, format)| *format);
    let format = format.ok_or_else(|| {
        Failure::value(
            "ImageLocation must end in .qcow2, .vmdk, .vhdx, .iso, .raw or .img: a format is never guessed",
        )
    })?;
    if images(c).await?.iter().any(|image| image.metadata.namespace == c.project() && name(image) == wanted) {
        let message = format!("AMI name {wanted} is already in use");
        return Err(Failure::new("InvalidAMIName.Duplicate", message));
    }
    let mut meta = ObjectMeta::in_project(c.project(), c.new_id("ami", 0));
    meta.annotations.insert(NAME.into(), wanted.into());
    tags::give(&mut meta, tags::for_new(&c.params, "image")?);
    let spec = ImageSpec {
        format,
        source: ImageSource { url: location.into(), ..ImageSource::default() },
        description: c.params.text("Description").into(),
        ..ImageSpec::default()
    };
    let made = c.create(Object::new(meta, spec)).await?;
    let mut x = Xml::new();
    x.text("imageId", ids::id(&made));
    Ok(x)
}

/// An image of the caller's own: of others only to be seen.
async fn own(c: &Context) -> Result<Image, Failure> {
    let id = c.params.require("ImageId")?;
    match c.find::<ImageSpec>(id).await {
        Err(e) if images(c).await?.iter().any(|image| ids::id(image) == id) => {
            tracing::debug!(code = %e.code, "an image of another project");
            let message = format!("Not authorized for image {id}: it belongs to project {SYSTEM_PROJECT:?}");
            Err(Failure { status: 403, ..Failure::new("AuthFailure", message) })
        }
        result => result,
    }
}

async fn deregister(c: &Context) -> Answer {
    let image = own(c).await?;
    c.delete::<ImageSpec>(&image.metadata.name, "InvalidAMIID.InUse").await?;
    Ok(super::done())
}

async fn attribute(c: &Context) -> Answer {
    let image = own(c).await?;
    let mut x = Xml::new();
    x.text("imageId", ids::id(&image));
    match c.params.require("Attribute")? {
        "launchPermission" => {
            let public = image.spec.visibility == Visibility::Public;
            x.list("launchPermission", public.then_some("all"), |x, group| {
                x.text("group", group);
            });
        }
        "description" => {
            x.node("description", |x| {
                x.text("value", &image.spec.description);
            });
        }
        "blockDeviceMapping" | "productCodes" => {
            x.list(c.params.text("Attribute"), std::iter::empty::<()>(), |_, ()| {});
        }
        other => return Err(c.params.invalid("Attribute", other, "is no attribute of an image here")),
    }
    Ok(x)
}

async fn modify(c: &Context) -> Answer {
    let image = own(c).await?;
    let params = &c.params;
    let description = params
        .get("Description.Value")
        .or_else(|| (params.text("Attribute") == "description").then(|| params.text("Value")));
    let patch = if let Some(text) = description {
        json!({ "spec": { "description": text } })
    } else {
        let permission = params.below("LaunchPermission");
        let groups = |name: &str| {
            let newer = permission.structs(name).into_iter().map(|entry| entry.text("Group").to_owned());
            let older = params.list("UserGroup").into_iter();
            let is_older = params.text("OperationType").eq_ignore_ascii_case(name);
            newer.chain(older.filter(|_| is_older)).collect::<Vec<_>>()
        };
        let (add, remove) = (groups("Add"), groups("Remove"));
        let visibility = match (add.as_slice(), remove.as_slice()) {
            ([all], []) if all == "all" => "public",
            ([], [all]) if all == "all" => "private",
            _ => {
                let message =
                    "Launch permission is given to the group all, or taken from it; not to single accounts";
                return Err(Failure::unsupported(message));
            }
        };
        json!({ "spec": { "visibility": visibility } })
    };
    c.merge::<ImageSpec>(&image.metadata.name, &patch).await?;
    Ok(super::done())
}

async fn reset(c: &Context) -> Answer {
    let image = own(c).await?;
    match c.params.require("Attribute")? {
        "launchPermission" => {
            let patch = json!({ "spec": { "visibility": "private" } });
            c.merge::<ImageSpec>(&image.metadata.name, &patch).await?;
            Ok(super::done())
        }
        other => Err(c.params.invalid("Attribute", other, "cannot be reset")),
    }
}
