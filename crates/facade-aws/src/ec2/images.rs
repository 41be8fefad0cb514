//! Images (AMIs): shown, shared, given back. How they are made is in `image_making`.

use model::Timestamp;
use model::compute::{Image, ImagePhase, ImageSpec, Visibility};
use serde_json::json;

use super::places::architecture;
use super::registered::{Device, Registered};
use super::world::{SYSTEM_PROJECT, images};
use crate::actions::{Action, Answer, describe};
use crate::context::Context;
use crate::describe::{Ids, Item, answer, select};
use crate::failure::Failure;
use crate::ids;
use crate::tags::{self, Tags};
use crate::xml::Xml;

/// Whether an image can be given back.
pub(crate) const PROTECTED: &str = "enabled-without-cooldown";
pub(crate) const NOT_PROTECTED: &str = "disabled";
/// An image's name in EC2, where it was registered there.
pub(crate) const NAME: &str = "aws.corten.dev/image-name";

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2("DescribeImages", describe!["ImageId", "Owner", "ExecutableBy", "IncludeDeprecated"], |c| {
        Box::pin(describe(c))
    }),
    Action::ec2("DeregisterImage", &["ImageId", "DeleteAssociatedSnapshots"], |c| Box::pin(deregister(c)))
        .noting("Snapshots stay."),
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
    /// Nothing where its disk cannot be a volume.
    registered: Option<Registered>,
    protected: bool,
    deprecated_at: String,
    copied_from: String,
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
        let noted = Registered::noted(image);
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
            registered: Registered::of(image),
            protected: noted.protected,
            deprecated_at: noted.deprecated_at,
            copied_from: if ids::is_id("ami", &image.spec.source.image) {
                image.spec.source.image.clone()
            } else {
                String::new()
            },
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

impl Ami {
    fn root_device_type(&self) -> &'static str {
        if self.registered.is_some() { "ebs" } else { "instance-store" }
    }

    fn devices(&self, fact: impl Fn(&Device) -> String) -> Vec<String> {
        self.registered.iter().flat_map(|own| &own.devices).map(fact).collect()
    }
}

/// An image's name in EC2.
pub(crate) fn name(image: &Image) -> &str {
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
        "root-device-name",
        "block-device-mapping.device-name",
        "block-device-mapping.snapshot-id",
        "block-device-mapping.volume-size",
        "block-device-mapping.volume-type",
        "block-device-mapping.delete-on-termination",
        "block-device-mapping.encrypted",
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
            "root-device-type" => self.root_device_type().into(),
            "root-device-name" => return self.registered.iter().map(|own| own.root().to_owned()).collect(),
            "block-device-mapping.device-name" => return self.devices(|d| d.device.clone()),
            "block-device-mapping.snapshot-id" => return self.devices(|d| d.snapshot.clone()),
            "block-device-mapping.volume-size" => return self.devices(|d| d.size.to_string()),
            "block-device-mapping.volume-type" => return self.devices(|d| d.sort().to_owned()),
            "block-device-mapping.delete-on-termination" => return self.devices(|d| super::word(!d.keep)),
            "block-device-mapping.encrypted" => return self.devices(|_| super::word(false)),
            "virtualization-type" => "hvm".into(),
            "platform-details" => "Linux/UNIX".into(),
            "manifest-location" => self.location.clone(),
            "creation-date" => self.created_at.clone(),
            "ena-support" => super::word(self.registered.as_ref().is_some_and(|own| own.ena)),
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
            .text("rootDeviceType", self.root_device_type());
        let none = Registered::default();
        let own = self.registered.as_ref().unwrap_or(&none);
        if self.registered.is_some() {
            x.text("rootDeviceName", own.root());
        }
        x.list("blockDeviceMapping", &own.devices, |x, device| device.write(x))
            .text("virtualizationType", "hvm")
            .text("platformDetails", "Linux/UNIX")
            .text("usageOperation", "RunInstances")
            .text("enaSupport", own.ena)
            .given("sriovNetSupport", &own.sriov)
            .given("bootMode", &own.boot_mode)
            .given("imdsSupport", &own.imds)
            .given("sourceInstanceId", &own.instance)
            .given("sourceImageId", &self.copied_from)
            .given("deprecationTime", &self.deprecated_at)
            .text("deregistrationProtection", if self.protected { PROTECTED } else { NOT_PROTECTED });
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
    // Who owns an image goes on seeing it.
    let all = c.params.flag("IncludeDeprecated")?.unwrap_or(false) || !c.params.list("ImageId").is_empty();
    let now = c.now();
    let is_over = |ami: &Ami| Timestamp::parse(&ami.deprecated_at).is_some_and(|at| at <= now);
    amis.retain(|ami| all || !ami.shared || !is_over(ami));
    amis.retain(|ami| (owners.is_empty() || owned(ami)) && (executable.is_empty() || may(ami)));
    let ids = Ids { parameter: "ImageId", none: ids::none::<ImageSpec> };
    Ok(answer("imagesSet", &select(&c.params, &ids, amis)?))
}

/// An image of the caller's own: of others only to be seen.
pub(crate) async fn own(c: &Context) -> Result<Image, Failure> {
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
    if c.params.flag("DeleteAssociatedSnapshots")? == Some(true) {
        return Err(Failure::unsupported("Snapshots are deleted by DeleteSnapshot in this cloud"));
    }
    let image = own(c).await?;
    if Registered::noted(&image).protected {
        let message = format!(
            "The image '{}' is protected: DisableImageDeregistrationProtection takes that away",
            ids::id(&image)
        );
        return Err(Failure::new("OperationNotPermitted", message));
    }
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
        "blockDeviceMapping" => {
            let own = Registered::of(&image).unwrap_or_default();
            x.list("blockDeviceMapping", &own.devices, |x, device| device.write(x));
        }
        "productCodes" => {
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
