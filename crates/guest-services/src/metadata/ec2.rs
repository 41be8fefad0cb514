//! EC2's layout of an instance's metadata. What is not known is not there (404), never an empty text.

use std::net::IpAddr;

use serde_json::json;

use super::instance::{Instance, NicFacts};
use super::tree::{Folder, Node};

/// Versions that EC2 lists. All answer alike, as clients of old versions ignore what is new.
pub(super) const VERSIONS: [&str; 29] = [
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
    "2011-01-01",
    "2011-05-01",
    "2012-01-12",
    "2014-02-25",
    "2014-11-05",
    "2015-10-20",
    "2016-04-19",
    "2016-06-30",
    "2016-09-02",
    "2018-03-28",
    "2018-08-17",
    "2018-09-24",
    "2019-10-01",
    "2020-10-27",
    "2021-01-03",
    "2021-03-23",
    "2021-07-15",
    "2022-07-09",
    "2022-09-24",
    "2024-04-11",
];

/// What stands below a version, without user data.
pub(super) fn tree(instance: &Instance) -> Node {
    let identity = Folder::default().leaf("document", identity_document(instance));
    let dynamic = Folder::default().folder("instance-identity", identity).done();
    // The top of a version is listed without slashes.
    Folder::default()
        .listed_as("dynamic", "dynamic".to_owned(), dynamic)
        .listed_as("meta-data", "meta-data".to_owned(), meta_data(instance))
        .done()
}

fn meta_data(instance: &Instance) -> Node {
    let primary = instance.nics.first();
    let mut folder = Folder::default()
        .unless_empty("ami-id", &instance.image_id)
        .leaf("ami-launch-index", instance.launch_index.to_string())
        .leaf("ami-manifest-path", "(unknown)")
        .folder("block-device-mapping", block_devices(instance))
        .folder("iam", iam(instance))
        .leaf("instance-action", "none")
        .unless_empty("instance-id", &instance.id)
        .leaf("instance-life-cycle", "on-demand")
        .unless_empty("instance-type", &instance.instance_type)
        .folder("network", network(instance))
        .folder("placement", placement(instance))
        .leaf("profile", "default-hvm")
        .folder("public-keys", public_keys(instance))
        .unless_empty("reservation-id", &instance.reservation_id)
        .lines("security-groups", &instance.security_groups)
        .folder("services", services(instance));
    if instance.options.shows_tags {
        let tags = instance.tags.iter().fold(Folder::default(), |f, (key, value)| f.leaf(key, value));
        folder = folder.folder("tags", Folder::default().folder("instance", tags));
    }
    let Some(facts) = primary else {
        return folder.done();
    };
    let name = facts.nic.fqdn();
    folder
        .unless_empty("hostname", &name)
        .unless_empty("local-hostname", &name)
        .lines("local-ipv4", facts.nic.ipv4().map(|net| net.addr()))
        .lines("ipv6", facts.nic.ipv6().map(|net| net.addr()))
        .leaf("mac", facts.nic.mac_text())
        .unless_empty("public-hostname", &facts.public_hostname)
        .lines("public-ipv4", public_ipv4s(facts).next())
        .done()
}

fn block_devices(instance: &Instance) -> Folder {
    instance.block_devices.iter().fold(Folder::default(), |f, (role, device)| f.leaf(role, device))
}

fn services(instance: &Instance) -> Folder {
    if instance.services_domain.is_empty() {
        return Folder::default();
    }
    Folder::default()
        .unless_empty("certificate-authority", &instance.authority)
        .leaf("domain", &instance.services_domain)
        .leaf("partition", "aws")
}

fn placement(instance: &Instance) -> Folder {
    Folder::default()
        .unless_empty("availability-zone", &instance.zone)
        .unless_empty("availability-zone-id", &instance.zone)
        .unless_empty("region", &instance.region)
}

/// Listed as `0=name`, each a folder of one key by its number.
fn public_keys(instance: &Instance) -> Folder {
    let keys = instance.public_keys.iter().enumerate();
    keys.fold(Folder::default(), |folder, (i, (name, key))| {
        let node = Folder::default().leaf("openssh-key", key.trim()).done();
        folder.listed_as(i.to_string(), format!("{i}={name}"), node)
    })
}

/// The keys themselves are fetched when they are asked for: the tree only knows the name.
fn iam(instance: &Instance) -> Folder {
    let Some(role) = &instance.role else {
        return Folder::default();
    };
    let info = json!({
        "Code": "Success",
        "LastUpdated": instance.launched_at,
        "InstanceProfileArn": role.profile_arn,
        "InstanceProfileId": role.profile_id,
    });
    let names = Folder::default().leaf(&role.name, "");
    Folder::default().leaf("info", pretty(&info)).folder("security-credentials", names)
}

fn network(instance: &Instance) -> Folder {
    let macs = instance.nics.iter().fold(Folder::default(), |folder, facts| {
        folder.folder(facts.nic.mac_text(), interface(instance, facts))
    });
    Folder::default().folder("interfaces", Folder::default().folder("macs", macs))
}

fn interface(instance: &Instance, facts: &NicFacts) -> Folder {
    let nic = &facts.nic;
    let associations = public_associations(facts);
    Folder::default()
        .leaf("device-number", facts.device_number.to_string())
        .unless_empty("interface-id", &facts.id)
        .folder("ipv4-associations", associations)
        .lines("ipv6s", nic.addresses_v6().map(|net| net.addr()))
        .unless_empty("local-hostname", &nic.fqdn())
        .lines("local-ipv4s", nic.addresses_v4().map(|net| net.addr()))
        .leaf("mac", nic.mac_text())
        .unless_empty("owner-id", &instance.account_id)
        .unless_empty("public-hostname", &facts.public_hostname)
        .lines("public-ipv4s", public_ipv4s(facts))
        .lines("security-group-ids", &facts.security_group_ids)
        .lines("security-groups", &facts.security_groups)
        .unless_empty("subnet-id", &facts.subnet_id)
        .lines("subnet-ipv4-cidr-block", facts.subnet_ipv4)
        .lines("subnet-ipv6-cidr-blocks", &facts.subnet_ipv6)
        .unless_empty("vpc-id", &facts.vpc_id)
        .lines("vpc-ipv4-cidr-block", facts.vpc_ipv4.first())
        .lines("vpc-ipv4-cidr-blocks", &facts.vpc_ipv4)
        .lines("vpc-ipv6-cidr-blocks", &facts.vpc_ipv6)
}

fn public_associations(facts: &NicFacts) -> Folder {
    let pairs = facts.floating.iter().filter(|(public, _)| public.is_ipv4());
    pairs.fold(Folder::default(), |f, (public, local)| f.leaf(public.to_string(), local.to_string()))
}

fn public_ipv4s(facts: &NicFacts) -> impl Iterator<Item = IpAddr> {
    facts.floating.iter().map(|(public, _)| *public).filter(IpAddr::is_ipv4)
}

/// The document without its signature: there is no certificate that a client could check one against.
fn identity_document(instance: &Instance) -> String {
    let address = instance.nics.first().and_then(|facts| facts.nic.ipv4()).map(|net| net.addr());
    pretty(&json!({
        "accountId": instance.account_id,
        "architecture": instance.architecture,
        "availabilityZone": instance.zone,
        "billingProducts": null,
        "devpayProductCodes": null,
        "marketplaceProductCodes": null,
        "imageId": instance.image_id,
        "instanceId": instance.id,
        "instanceType": instance.instance_type,
        "kernelId": null,
        "pendingTime": instance.launched_at,
        "privateIp": address,
        "ramdiskId": null,
        "region": instance.region,
        "version": "2017-09-30",
    }))
}

pub(super) fn pretty(value: &serde_json::Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}
