//! What a launch template says of instances, shown as EC2 shows it.

use super::block_devices::EBS;
use crate::params::Params;
use crate::xml::Xml;

/// What a template may have: what RunInstances takes and is not the request's own.
pub(super) const DATA: &[&str] = &[
    "ImageId",
    "InstanceType",
    "KeyName",
    "UserData",
    "SecurityGroupId",
    "SecurityGroup",
    "NetworkInterface",
    "Placement",
    "TagSpecification",
    "DisableApiTermination",
    "InstanceInitiatedShutdownBehavior",
    "EbsOptimized",
    "Monitoring",
    "MetadataOptions",
    "IamInstanceProfile",
    "BlockDeviceMapping",
    "DisableApiStop",
    "HibernationOptions",
    "EnclaveOptions",
    "CapacityReservationSpecification",
    "MaintenanceOptions",
    "CreditSpecification",
    "PrivateDnsNameOptions",
];

pub(super) fn write(x: &mut Xml, data: &Params) {
    for (name, element) in [
        ("ImageId", "imageId"),
        ("InstanceType", "instanceType"),
        ("KeyName", "keyName"),
        ("UserData", "userData"),
        ("DisableApiTermination", "disableApiTermination"),
        ("InstanceInitiatedShutdownBehavior", "instanceInitiatedShutdownBehavior"),
        ("EbsOptimized", "ebsOptimized"),
        ("DisableApiStop", "disableApiStop"),
    ] {
        x.given(element, data.text(name));
    }
    for (name, element, members) in [
        ("IamInstanceProfile", "iamInstanceProfile", &["Arn", "Name"][..]),
        ("Monitoring", "monitoring", &["Enabled"]),
        ("HibernationOptions", "hibernationOptions", &["Configured"]),
        ("EnclaveOptions", "enclaveOptions", &["Enabled"]),
        (
            "CapacityReservationSpecification",
            "capacityReservationSpecification",
            &["CapacityReservationPreference"],
        ),
        ("MaintenanceOptions", "maintenanceOptions", &["AutoRecovery"]),
        ("CreditSpecification", "creditSpecification", &["CpuCredits"]),
        (
            "PrivateDnsNameOptions",
            "privateDnsNameOptions",
            &["HostnameType", "EnableResourceNameDnsARecord", "EnableResourceNameDnsAAAARecord"],
        ),
        ("Placement", "placement", &["AvailabilityZone", "Tenancy", "GroupName", "GroupId"]),
        (
            "MetadataOptions",
            "metadataOptions",
            &[
                "HttpTokens",
                "HttpPutResponseHopLimit",
                "HttpEndpoint",
                "HttpProtocolIpv6",
                "InstanceMetadataTags",
            ],
        ),
    ] {
        let own = data.below(name);
        if !own.is_empty() {
            x.node(element, |x| write_members(x, &own, members));
        }
    }
    for (name, element) in [("SecurityGroupId", "securityGroupIdSet"), ("SecurityGroup", "securityGroupSet")]
    {
        let own = data.list(name);
        if !own.is_empty() {
            x.list(element, &own, |x, id| {
                x.out_text(id);
            });
        }
    }
    let specs = data.structs("TagSpecification");
    if !specs.is_empty() {
        x.list("tagSpecificationSet", &specs, |x, spec| {
            x.text("resourceType", spec.text("ResourceType"));
            x.list("tagSet", spec.structs("Tag"), |x, tag| {
                x.text("key", tag.text("Key")).text("value", tag.text("Value"));
            });
        });
    }
    let disks = data.structs("BlockDeviceMapping");
    if !disks.is_empty() {
        x.list("blockDeviceMappingSet", &disks, |x, disk| {
            write_members(x, disk, &["DeviceName", "NoDevice"]);
            let ebs = disk.below("Ebs");
            if !ebs.is_empty() {
                x.node("ebs", |x| write_members(x, &ebs, &EBS));
            }
        });
    }
    let cards = data.structs("NetworkInterface");
    if !cards.is_empty() {
        x.list("networkInterfaceSet", &cards, |x, card| {
            let members = [
                "DeviceIndex",
                "SubnetId",
                "NetworkInterfaceId",
                "PrivateIpAddress",
                "AssociatePublicIpAddress",
                "DeleteOnTermination",
                "NetworkCardIndex",
            ];
            write_members(x, card, &members);
            let groups = card.list("SecurityGroupId");
            if !groups.is_empty() {
                x.node("groupSet", |x| {
                    for id in &groups {
                        x.text("groupId", id);
                    }
                });
            }
        });
    }
}

/// Members whose elements are called as they are, but for the first letter.
fn write_members(x: &mut Xml, own: &Params, members: &[&str]) {
    for member in members {
        let (first, rest) = member.split_at(1);
        x.given(&format!("{}{rest}", first.to_ascii_lowercase()), own.text(member));
    }
}
