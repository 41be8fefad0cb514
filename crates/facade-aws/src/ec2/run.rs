//! RunInstances: from images to instances, all of them or none.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use client::DeleteOptions;
use model::compute::{
    Container, ContainersPayload, DiskPayload, Image, ImagePhase, Instance, InstanceNetwork, InstanceSpec,
    Isolation, KernelPayload, Payload, PayloadKind, PlacementGroup, PlacementSpec,
};
use model::network::{PortSpec, Subnet};
use model::storage::VolumeSpec;
use model::{Object, ObjectMeta};

use super::attachments::let_go_along;
use super::block_devices::{self, Disks};
use super::registered::Registered;
use super::shown::{LAUNCH_INDEX, LAUNCH_TEMPLATE, RESERVATION, Shown, is_group};
use super::world::{World, zone_of};
use super::{instances, key_pairs, placement_groups};
use crate::actions::{Action, Answer};
use crate::context::Context;
use crate::failure::Failure;
use crate::ids;
use crate::params::Params;
use crate::tags::{self, Tags};
use crate::xml::Xml;

/// What one request makes, and gives tags to.
const MADE: [&str; 2] = ["instance", "volume"];
/// Most instances of one request.
const COUNT_MAX: i64 = 100;

pub(crate) const ACTIONS: &[Action] = &[Action::ec2(
    "RunInstances",
    &[
        "ImageId",
        "InstanceType",
        "MinCount",
        "MaxCount",
        "KeyName",
        "UserData",
        "SecurityGroupId",
        "SecurityGroup",
        "SubnetId",
        "PrivateIpAddress",
        "NetworkInterface",
        "Placement",
        "ClientToken",
        "TagSpecification",
        "DisableApiTermination",
        "InstanceInitiatedShutdownBehavior",
        "EbsOptimized",
        "Monitoring",
        "MetadataOptions",
        "IamInstanceProfile",
        "LaunchTemplate",
        "BlockDeviceMapping",
        "DisableApiStop",
        "HibernationOptions",
        "EnclaveOptions",
        "CapacityReservationSpecification",
        "MaintenanceOptions",
        "CreditSpecification",
        "PrivateDnsNameOptions",
    ],
    |c| Box::pin(run(c)),
)
.noting("From an image of a disk it starts from a volume (`ebs`), as large as asked for, else as the image or the disk of the type; a kernel or a container is `instance-store`. An OCI image becomes a container. Instances of one request are made one after the other, and all are taken back when fewer than MinCount can be made.")];

/// What all instances of the request have in common.
struct Wish {
    spec: InstanceSpec,
    tags: Tags,
    group: Option<PlacementGroup>,
    reservation: String,
}

async fn run(c: &Context) -> Answer {
    let (min, max) = counts(&c.params)?;
    let world = World::surroundings(c).await?;
    let wish = wish(c, &world).await?;
    let mut made: Vec<Instance> = Vec::new();
    for index in 0..max {
        match launch(c, &wish, index).await {
            Ok(instance) => made.push(instance),
            Err(_) if made.len() >= min => break,
            Err(failure) => {
                take_back(c, &made).await;
                return Err(failure);
            }
        }
    }
    let world = world.joined_by(c, made.iter().cloned().map(Arc::new).collect()).await?;
    let shown: Vec<Shown> = made.iter().map(|instance| Shown::of(&world, instance)).collect();
    let mut x = Xml::new();
    instances::reservation(&mut x, &c.account(), &wish.reservation, &shown.iter().collect::<Vec<_>>());
    Ok(x)
}

fn counts(params: &Params) -> Result<(usize, usize), Failure> {
    let count = |name: &str| {
        let given = params.number(name)?.ok_or_else(|| Failure::missing(name))?;
        let fits = usize::try_from(given).ok().filter(|_| (1..=COUNT_MAX).contains(&given));
        fits.ok_or_else(|| params.invalid(name, &given.to_string(), &format!("must be 1 to {COUNT_MAX}")))
    };
    let (min, max) = (count("MinCount")?, count("MaxCount")?);
    if min > max {
        return Err(params.invalid("MinCount", &min.to_string(), "must not be more than MaxCount"));
    }
    Ok((min, max))
}

async fn wish(c: &Context, world: &World) -> Result<Wish, Failure> {
    let params = &c.params;
    plain_options(params)?;
    let image = ids::by_id(&world.images, params.require("ImageId")?)?;
    check_ready(image)?;
    let (payload, isolation) = payload(image)?;
    let networks = networks(c, world).await?;
    let zone = match params.get("Placement.AvailabilityZone") {
        Some(name) => zone_of(name)?.to_owned(),
        None => String::new(),
    };
    let key_pair = match params.get("KeyName") {
        Some(name) => key_pairs::by_name(c, name).await?.metadata.name,
        None => String::new(),
    };
    let disks = Disks::asked(c, image).await?;
    let mut spec = InstanceSpec {
        isolation,
        payload,
        instance_type: params.text("InstanceType").to_owned(),
        key_pair,
        user_data: user_data(params.text("UserData"))?,
        placement: PlacementSpec { zone, ..PlacementSpec::default() },
        networks,
        instance_profile: match params.below("IamInstanceProfile") {
            none if none.is_empty() => String::new(),
            given => crate::iam::profiles::given(c, &given).await?.metadata.name,
        },
        protected: params.flag("DisableApiTermination")?.unwrap_or(false),
        firmware: Registered::of(image).unwrap_or_default().firmware(),
        ..InstanceSpec::default()
    };
    disks.put(&mut spec, &tags::for_one_of(params, "volume", &MADE)?);
    let reservation = c.new_id("r", 0);
    Ok(Wish {
        spec,
        tags: tags::for_one_of(params, "instance", &MADE)?,
        group: placement_groups::asked(c, &params.below("Placement")).await?,
        reservation,
    })
}

/// Nothing starts from an image that is not there yet, or never will be.
fn check_ready(image: &Image) -> Result<(), Failure> {
    let state = match image.status.phase {
        ImagePhase::Ready => return Ok(()),
        ImagePhase::Pending | ImagePhase::Importing => "pending",
        ImagePhase::Failed => "failed",
    };
    let message = format!("The image ID '{}' is not available: it is {state}", ids::id(image));
    Err(Failure::new("InvalidAMIID.Unavailable", message))
}

/// What instances of the request are, and the tags that they get, for who makes them in another way.
pub(crate) async fn common(c: &Context, world: &World) -> Result<(InstanceSpec, Tags), Failure> {
    let wish = wish(c, world).await?;
    Ok((wish.spec, wish.tags))
}

/// Options that have one value here: another is refused.
fn plain_options(params: &Params) -> Result<(), Failure> {
    let only = [
        ("InstanceInitiatedShutdownBehavior", "stop"),
        ("EbsOptimized", "false"),
        ("Monitoring.Enabled", "false"),
        ("DisableApiStop", "false"),
        ("HibernationOptions.Configured", "false"),
        ("EnclaveOptions.Enabled", "false"),
        ("CapacityReservationSpecification.CapacityReservationPreference", "open"),
        ("MaintenanceOptions.AutoRecovery", "default"),
        ("CreditSpecification.CpuCredits", "standard"),
        ("PrivateDnsNameOptions.HostnameType", "ip-name"),
        ("PrivateDnsNameOptions.EnableResourceNameDnsARecord", "false"),
        ("PrivateDnsNameOptions.EnableResourceNameDnsAAAARecord", "false"),
        ("Placement.Tenancy", "default"),
    ];
    for (name, value) in only {
        if params.get(name).is_some_and(|given| !given.eq_ignore_ascii_case(value)) {
            return Err(Failure::unsupported(format!("{name} can only be {value} in this cloud")));
        }
    }
    let groups =
        ["HibernationOptions", "EnclaveOptions", "CapacityReservationSpecification", "MaintenanceOptions"];
    for group in groups.iter().chain(&["CreditSpecification", "PrivateDnsNameOptions"]) {
        let mut given = params.below(group).into_values().into_keys();
        let known = |name: &String| only.iter().any(|(known, _)| *known == format!("{group}.{name}"));
        if let Some(other) = given.find(|name| !known(name)) {
            return Err(Failure::unsupported(format!("{group}.{other} is not supported in this cloud")));
        }
    }
    if let Some(other) =
        params.below("Placement").unknown(&["AvailabilityZone", "Tenancy", "GroupName", "GroupId"]).next()
    {
        return Err(Failure::unsupported(format!("Placement.{other} is not supported in this cloud")));
    }
    super::attributes::check_metadata_options(&params.below("MetadataOptions"))
}

/// What an image of its format becomes, as with `corten run`.
fn payload(image: &Image) -> Result<(Payload, Isolation), Failure> {
    let name = image.metadata.name.clone();
    Ok(match image.spec.format.payload() {
        PayloadKind::Disk => {
            (Payload::Disk(DiskPayload { image: name, ..DiskPayload::default() }), Isolation::Vm)
        }
        PayloadKind::Kernel => {
            (Payload::Kernel(KernelPayload { image: name, cmdline: String::new() }), Isolation::Vm)
        }
        PayloadKind::Containers => {
            let container = Container { name: "main".into(), image: name, ..Container::default() };
            (Payload::Containers(ContainersPayload { containers: vec![container] }), Isolation::Namespace)
        }
        other => return Err(Failure::unsupported(format!("an image of {other} cannot be run this way"))),
    })
}

fn user_data(encoded: &str) -> Result<String, Failure> {
    let compact: String = encoded.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let bytes = STANDARD
        .decode(compact)
        .map_err(|_| Failure::new("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data"))?;
    String::from_utf8(bytes).map_err(|_| Failure::unsupported("User data has to be text in this cloud"))
}

/// The network cards; none leaves them to the cloud.
async fn networks(c: &Context, world: &World) -> Result<Vec<InstanceNetwork>, Failure> {
    let params = &c.params;
    let mut cards = params.structs("NetworkInterface");
    let for_the_only = ["SubnetId", "PrivateIpAddress", "SecurityGroupId", "SecurityGroup"];
    if cards.is_empty() {
        if !for_the_only.iter().any(|name| params.has(name)) {
            return Ok(Vec::new());
        }
        return Ok(vec![card(c, params, world).await?]);
    }
    if let Some(name) = for_the_only.iter().find(|name| params.has(name)) {
        let message = format!("Network interfaces and an instance-level {name} may not be given together");
        return Err(Failure::new("InvalidParameterCombination", message));
    }
    let index = |card: &Params| card.number("DeviceIndex").ok().flatten().unwrap_or(i64::MAX);
    cards.sort_by_key(index);
    if let Some((at, _)) =
        cards.iter().enumerate().find(|(i, card)| i64::try_from(*i).ok() != Some(index(card)))
    {
        return Err(Failure::value(format!(
            "There has to be a network interface with DeviceIndex {at}, and one only"
        )));
    }
    let known = [
        "DeviceIndex",
        "SubnetId",
        "NetworkInterfaceId",
        "SecurityGroupId",
        "PrivateIpAddress",
        "AssociatePublicIpAddress",
        "DeleteOnTermination",
        "NetworkCardIndex",
    ];
    let mut found = Vec::new();
    for given in &cards {
        if let Some(other) = given.unknown(&known).next() {
            return Err(Failure::unsupported(format!(
                "NetworkInterface.N.{other} is not supported in this cloud"
            )));
        }
        if given.flag("DeleteOnTermination")? == Some(false) && !given.has("NetworkInterfaceId") {
            let message =
                "Interfaces made for an instance go with it: make one with CreateNetworkInterface to keep it";
            return Err(Failure::unsupported(message));
        }
        found.push(card(c, given, world).await?);
    }
    Ok(found)
}

async fn card(c: &Context, given: &Params, world: &World) -> Result<InstanceNetwork, Failure> {
    if let Some(id) = given.get("NetworkInterfaceId") {
        let port = c.find::<PortSpec>(id).await?;
        return Ok(InstanceNetwork { port: port.metadata.name, ..InstanceNetwork::default() });
    }
    let subnet = match given.get("SubnetId") {
        Some(id) => ids::by_id(&world.subnets, id)?,
        None => default_subnet(world).ok_or_else(|| {
            Failure::new("VPCIdNotSpecified", "No default VPC for this user: a SubnetId has to be given")
        })?,
    };
    let mut groups = Vec::new();
    for id in given.list("SecurityGroupId") {
        groups.push(ids::by_id(&world.groups, &id)?.metadata.name.clone());
    }
    for name in given.list("SecurityGroup") {
        let group = world.groups.iter().find(|group| is_group(group, &subnet.spec.vpc, &name));
        let none =
            || Failure::new("InvalidGroup.NotFound", format!("The security group '{name}' does not exist"));
        groups.push(group.ok_or_else(none)?.metadata.name.clone());
    }
    Ok(InstanceNetwork {
        subnet: subnet.metadata.name.clone(),
        address: given.parsed("PrivateIpAddress")?,
        security_groups: groups,
        public_address: given.flag("AssociatePublicIpAddress")?,
        ..InstanceNetwork::default()
    })
}

fn default_subnet(world: &World) -> Option<&Subnet> {
    let vpc = world.vpcs.iter().find(|vpc| vpc.spec.is_default)?;
    let is_it = |subnet: &&Subnet| subnet.spec.is_default && subnet.spec.vpc == vpc.metadata.name;
    world.subnets.iter().map(|subnet| &**subnet).find(is_it)
}

async fn launch(c: &Context, wish: &Wish, index: usize) -> Result<Instance, Failure> {
    let mut meta = ObjectMeta::in_project(c.project(), c.new_id("i", index));
    tags::give(&mut meta, wish.tags.clone());
    meta.annotations.insert(RESERVATION.into(), wish.reservation.clone());
    meta.annotations.insert(LAUNCH_INDEX.into(), index.to_string());
    if let Some(template) = c.params.get("LaunchTemplate.LaunchTemplateId") {
        let text = format!("{template}/{}", c.params.text("LaunchTemplate.Version"));
        meta.annotations.insert(LAUNCH_TEMPLATE.into(), text);
    }
    let mut wanted = Object::new(meta, wish.spec.clone());
    if let Some(group) = &wish.group {
        placement_groups::join(group, &mut wanted.metadata, &mut wanted.spec.placement);
    }
    block_devices::name(c, &mut wanted.spec, index);
    c.create(wanted).await.map_err(|e| {
        if e.message.contains("publicAddress") {
            Failure::new("InsufficientAddressCapacity", e.message)
        } else {
            e
        }
    })
}

/// What was made of a request that fails goes again. What cannot go now is found by its reservation.
async fn take_back(c: &Context, made: &[Instance]) {
    for instance in made {
        for (_, name) in instance.spec.named_volumes() {
            let goes_along = c.change::<VolumeSpec>(name, |volume| {
                let_go_along(&mut volume.metadata, instance, true);
                Ok(())
            });
            if let Err(e) = goes_along.await {
                tracing::warn!(volume = name, error = ?e, "a volume was not taken back");
            }
        }
        let api = c.api::<InstanceSpec>();
        let options = DeleteOptions { uid: Some(instance.metadata.uid.clone()), ..DeleteOptions::default() };
        if let Err(e) = api.delete(&instance.metadata.name, &options).await {
            tracing::warn!(instance = instance.metadata.name, error = %e, "an instance was not taken back");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_is_text_in_base64() {
        assert_eq!(user_data("aGVs\nbG8="), Ok("hello".into()));
        assert_eq!(user_data(""), Ok(String::new()));
        assert_eq!(user_data("%").unwrap_err().code, "InvalidUserData.Malformed");
        assert_eq!(user_data("H4sIAA==").unwrap_err().code, "UnsupportedOperation");
    }
}
