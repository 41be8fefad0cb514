//! Regions, zones, sizes, and what an account may have.

use futures::future::ready;
use model::compute::{InstanceType, InstanceTypeSpec};
use model::topology::ZoneSpec;

use super::world::{zone_name, zone_of};
use crate::REGION;
use crate::actions::{Action, Answer, describe};
use crate::context::Context;
use crate::describe::{Ids, Item, answer, select};
use crate::failure::Failure;
use crate::ids;
use crate::xml::Xml;

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2("DescribeRegions", &["RegionName", "AllRegions", "Filter"], |c| Box::pin(ready(regions(c))))
        .noting("There is one."),
    Action::ec2(
        "DescribeAvailabilityZones",
        &["ZoneName", "ZoneId", "AllAvailabilityZones", "Filter"],
        |c| Box::pin(zones(c)),
    )
    .noting("Zone `default` is `my-corten-1a`, another is `my-corten-1-NAME`."),
    Action::ec2("DescribeAccountAttributes", &["AttributeName"], |c| Box::pin(account(c))),
    Action::ec2("DescribeInstanceTypes", describe!["InstanceType"], |c| Box::pin(types(c)))
        .noting("The cloud's own InstanceTypes; none is burstable."),
    Action::ec2("DescribeInstanceTypeOfferings", describe!["LocationType"], |c| Box::pin(offerings(c))),
];

struct Region {
    endpoint: String,
}

impl Item for Region {
    const FILTERS: &'static [&'static str] = &["region-name", "endpoint", "opt-in-status"];

    fn id(&self) -> &str {
        REGION
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        vec![match filter {
            "region-name" => REGION.into(),
            "endpoint" => self.endpoint.clone(),
            _ => "opt-in-not-required".into(),
        }]
    }
    fn write(&self, x: &mut Xml) {
        x.text("regionName", REGION)
            .text("regionEndpoint", &self.endpoint)
            .text("optInStatus", "opt-in-not-required");
    }
}

fn regions(c: &Context) -> Answer {
    let none = |id: &str| Failure::value(format!("Invalid region: {id}"));
    let region = Region { endpoint: c.host.clone() };
    Ok(answer("regionInfo", &select(&c.params, &Ids { parameter: "RegionName", none }, vec![region])?))
}

struct Place(String);

impl Item for Place {
    const FILTERS: &'static [&'static str] =
        &["zone-name", "zone-id", "state", "region-name", "zone-type", "group-name", "opt-in-status"];

    fn id(&self) -> &str {
        &self.0
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        vec![match filter {
            "zone-name" | "zone-id" => self.0.clone(),
            "state" => "available".into(),
            "zone-type" => "availability-zone".into(),
            "opt-in-status" => "opt-in-not-required".into(),
            _ => REGION.into(),
        }]
    }
    fn write(&self, x: &mut Xml) {
        x.text("zoneName", &self.0)
            .text("zoneState", "available")
            .text("regionName", REGION)
            .text("zoneId", &self.0)
            .text("groupName", REGION)
            .text("optInStatus", "opt-in-not-required")
            .text("zoneType", "availability-zone")
            .text("networkBorderGroup", REGION)
            .list("messageSet", std::iter::empty::<()>(), |_, ()| {});
    }
}

async fn zones(c: &Context) -> Answer {
    for name in c.params.list("ZoneId") {
        zone_of(&name)?;
    }
    let zones = c.list::<ZoneSpec>().await?;
    let ids = c.params.list("ZoneId");
    let places = zones.iter().map(|zone| Place(zone_name(&zone.metadata.name)));
    let places = places.filter(|place| ids.is_empty() || ids.contains(&place.0)).collect();
    let none = |id: &str| Failure::value(format!("Invalid availability zone: [{id}]"));
    Ok(answer("availabilityZoneInfo", &select(&c.params, &Ids { parameter: "ZoneName", none }, places)?))
}

async fn account(c: &Context) -> Answer {
    let vpcs = c.list_if_allowed::<model::network::VpcSpec>().await?;
    let default = vpcs.iter().find(|vpc| vpc.spec.is_default).map_or("none".into(), ids::id);
    let all = [
        ("supported-platforms", "VPC".to_owned()),
        ("default-vpc", default),
        ("vpc-max-security-groups-per-interface", "16".into()),
    ];
    let wanted = c.params.list("AttributeName");
    if let Some(unknown) = wanted.iter().find(|name| !all.iter().any(|(known, _)| known == name)) {
        return Err(Failure::value(format!("Value ({unknown}) for parameter attributeName is invalid")));
    }
    let shown = all.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| w == name));
    let mut x = Xml::new();
    x.list("accountAttributeSet", shown, |x, (name, value)| {
        x.text("attributeName", name).list("attributeValueSet", [value], |x, value| {
            x.text("attributeValue", value);
        });
    });
    Ok(x)
}

struct Size(InstanceType);

impl Size {
    fn cores(&self) -> u64 {
        self.0.spec.resources.cpu.0.div_ceil(1000).max(1)
    }
    fn mebibytes(&self) -> u64 {
        self.0.spec.resources.memory.0 >> 20
    }
    fn gibibytes_of_disk(&self) -> u64 {
        self.0.spec.resources.disk.0 >> 30
    }
}

impl Item for Size {
    const FILTERS: &'static [&'static str] = &[
        "instance-type",
        "current-generation",
        "bare-metal",
        "burstable-performance-supported",
        "processor-info.supported-architecture",
        "vcpu-info.default-vcpus",
        "vcpu-info.default-cores",
        "memory-info.size-in-mib",
        "supported-usage-class",
        "supported-root-device-type",
        "supported-virtualization-type",
        "free-tier-eligible",
        "instance-storage-supported",
    ];

    fn id(&self) -> &str {
        &self.0.metadata.name
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        vec![match filter {
            "instance-type" => self.id().into(),
            "vcpu-info.default-vcpus" | "vcpu-info.default-cores" => self.cores().to_string(),
            "memory-info.size-in-mib" => self.mebibytes().to_string(),
            "processor-info.supported-architecture" => architecture().into(),
            "supported-usage-class" => "on-demand".into(),
            "supported-root-device-type" => return vec!["ebs".into(), "instance-store".into()],
            "supported-virtualization-type" => "hvm".into(),
            "current-generation" | "instance-storage-supported" => super::word(true),
            _ => super::word(false),
        }]
    }
    fn write(&self, x: &mut Xml) {
        x.text("instanceType", self.id())
            .text("currentGeneration", true)
            .text("freeTierEligible", false)
            .list("supportedUsageClasses", ["on-demand"], |x, class| {
                x.out_text(class);
            })
            .list("supportedRootDeviceTypes", ["ebs", "instance-store"], |x, device| {
                x.out_text(device);
            })
            .list("supportedVirtualizationTypes", ["hvm"], |x, sort| {
                x.out_text(sort);
            })
            .text("bareMetal", false)
            .node("processorInfo", |x| {
                x.list("supportedArchitectures", [architecture()], |x, architecture| {
                    x.out_text(architecture);
                });
            })
            .node("vCpuInfo", |x| {
                x.text("defaultVCpus", self.cores())
                    .text("defaultCores", self.cores())
                    .text("defaultThreadsPerCore", 1);
            })
            .node("memoryInfo", |x| {
                x.text("sizeInMiB", self.mebibytes());
            })
            .text("instanceStorageSupported", true)
            .node("instanceStorageInfo", |x| {
                x.text("totalSizeInGB", self.gibibytes_of_disk());
            })
            .node("ebsInfo", |x| {
                x.text("ebsOptimizedSupport", "unsupported").text("encryptionSupport", "unsupported");
            })
            .node("networkInfo", |x| {
                x.text("maximumNetworkInterfaces", model::compute::NETWORKS_MAX)
                    .text("maximumNetworkCards", 1)
                    .text("defaultNetworkCardIndex", 0)
                    .text("ipv4AddressesPerInterface", 32)
                    .text("ipv6AddressesPerInterface", 32)
                    .text("ipv6Supported", true)
                    .text("enaSupport", "unsupported")
                    .text("efaSupported", false);
            })
            .text("hibernationSupported", false)
            .text("burstablePerformanceSupported", false)
            .text("dedicatedHostsSupported", false)
            .text("autoRecoverySupported", false);
    }
}

/// What guests run on: what the hosts are.
pub(crate) fn architecture() -> &'static str {
    if std::env::consts::ARCH == "aarch64" { "arm64" } else { "x86_64" }
}

async fn types(c: &Context) -> Answer {
    let sizes = c.list::<InstanceTypeSpec>().await?.into_iter().map(Size).collect();
    let none = |id: &str| {
        Failure::new(
            "InvalidInstanceType",
            format!("The following supplied instance types do not exist: [{id}]"),
        )
    };
    Ok(answer("instanceTypeSet", &select(&c.params, &Ids { parameter: "InstanceType", none }, sizes)?))
}

struct Offering {
    id: String,
    size: String,
    location_type: String,
    location: String,
}

impl Item for Offering {
    const FILTERS: &'static [&'static str] = &["instance-type", "location"];

    fn id(&self) -> &str {
        &self.id
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        vec![if filter == "location" { self.location.clone() } else { self.size.clone() }]
    }
    fn write(&self, x: &mut Xml) {
        x.text("instanceType", &self.size)
            .text("locationType", &self.location_type)
            .text("location", &self.location);
    }
}

/// Every size is offered everywhere.
async fn offerings(c: &Context) -> Answer {
    let location_type = c.params.get("LocationType").unwrap_or("region").to_owned();
    let locations: Vec<String> = match location_type.as_str() {
        "region" => vec![REGION.into()],
        "availability-zone" | "availability-zone-id" => {
            c.list::<ZoneSpec>().await?.iter().map(|zone| zone_name(&zone.metadata.name)).collect()
        }
        other => return Err(c.params.invalid("LocationType", other, "must be region or availability-zone")),
    };
    let mut offered = Vec::new();
    for size in c.list::<InstanceTypeSpec>().await? {
        offered.extend(locations.iter().map(|location| Offering {
            id: format!("{}/{location}", size.metadata.name),
            size: size.metadata.name.clone(),
            location_type: location_type.clone(),
            location: location.clone(),
        }));
    }
    let ids = Ids { parameter: "", none: |id| Failure::value(id) };
    Ok(answer("instanceTypeOfferingSet", &select(&c.params, &ids, offered)?))
}
