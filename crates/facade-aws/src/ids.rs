//! Ids of EC2 and the objects behind them.

use std::borrow::Borrow;

use model::compute::{ImageSpec, InstanceSpec, KeyPairSpec, LaunchTemplateSpec, PlacementGroupSpec};
use model::network::{
    DhcpOptionsSpec, FloatingIpSpec, FlowLogSpec, GatewaySpec, NetworkAclSpec, PeeringSpec, PortSpec,
    PrefixListSpec, RouteTableSpec, SecurityGroupSpec, SubnetSpec, VpcEndpointSpec, VpcSpec,
};
use model::storage::{VolumeSnapshotSpec, VolumeSpec};
use model::{Object, ObjectMeta, Spec, is_short_id, short_id};
use ring::digest::{SHA256, digest};

use crate::failure::Failure;

/// Digits of an id after its prefix.
const DIGITS: usize = 17;

/// A kind that EC2 knows by an id.
pub(crate) trait Known: Spec {
    const PREFIX: &'static str;
    const NOT_FOUND: &'static str;
    const MALFORMED: &'static str;
    /// EC2's word for the kind.
    const TYPE: &'static str;
}

macro_rules! known {
    ($($spec:ty: $prefix:literal, $type:literal, $not_found:literal, $malformed:literal;)*) => {
        $(impl Known for $spec {
            const PREFIX: &'static str = $prefix;
            const NOT_FOUND: &'static str = $not_found;
            const MALFORMED: &'static str = $malformed;
            const TYPE: &'static str = $type;
        })*
    };
}

known! {
    InstanceSpec: "i", "instance", "InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed";
    ImageSpec: "ami", "image", "InvalidAMIID.NotFound", "InvalidAMIID.Malformed";
    KeyPairSpec: "key", "key-pair", "InvalidKeyPair.NotFound", "InvalidKeyPair.NotFound";
    VpcSpec: "vpc", "vpc", "InvalidVpcID.NotFound", "InvalidVpcID.Malformed";
    SubnetSpec: "subnet", "subnet", "InvalidSubnetID.NotFound", "InvalidSubnetID.Malformed";
    SecurityGroupSpec: "sg", "security-group", "InvalidGroup.NotFound", "InvalidGroupId.Malformed";
    PortSpec: "eni", "network-interface", "InvalidNetworkInterfaceID.NotFound", "InvalidNetworkInterfaceID.Malformed";
    RouteTableSpec: "rtb", "route-table", "InvalidRouteTableID.NotFound", "InvalidRouteTableID.Malformed";
    FloatingIpSpec: "eipalloc", "elastic-ip", "InvalidAllocationID.NotFound", "InvalidAllocationID.Malformed";
    LaunchTemplateSpec: "lt", "launch-template", "InvalidLaunchTemplateId.NotFound", "InvalidLaunchTemplateId.Malformed";
    PrefixListSpec: "pl", "prefix-list", "InvalidPrefixListID.NotFound", "InvalidPrefixListId.Malformed";
    NetworkAclSpec: "acl", "network-acl", "InvalidNetworkAclID.NotFound", "InvalidNetworkAclId.Malformed";
    DhcpOptionsSpec: "dopt", "dhcp-options", "InvalidDhcpOptionID.NotFound", "InvalidDhcpOptionsId.Malformed";
    VolumeSpec: "vol", "volume", "InvalidVolume.NotFound", "InvalidVolumeID.Malformed";
    VolumeSnapshotSpec: "snap", "snapshot", "InvalidSnapshot.NotFound", "InvalidSnapshotID.Malformed";
    PlacementGroupSpec: "pg", "placement-group", "InvalidPlacementGroup.Unknown", "InvalidPlacementGroupId.Malformed";
    PeeringSpec: "pcx", "vpc-peering-connection", "InvalidVpcPeeringConnectionID.NotFound", "InvalidVpcPeeringConnectionId.Malformed";
    FlowLogSpec: "fl", "vpc-flow-log", "InvalidFlowLogId.NotFound", "InvalidFlowLogId.Malformed";
    VpcEndpointSpec: "vpce", "vpc-endpoint", "InvalidVpcEndpointId.NotFound", "InvalidVpcEndpointId.Malformed";
    // Those that are none of NAT; these have a prefix of their own (`nat_id`).
    GatewaySpec: "igw", "internet-gateway", "InvalidInternetGatewayID.NotFound", "InvalidInternetGatewayID.Malformed";
}

/// The id of an object.
pub(crate) fn id<S: Known>(object: &Object<S>) -> String {
    short_id(S::PREFIX, &object.metadata)
}

/// The id of the object of this name, where it is among these.
pub(crate) fn id_of<S: Known>(objects: &[impl Borrow<Object<S>>], name: &str) -> String {
    find(objects, name).map(id).unwrap_or_default()
}

pub(crate) fn find<'a, S: Spec>(objects: &'a [impl Borrow<Object<S>>], name: &str) -> Option<&'a Object<S>> {
    objects.iter().map(Borrow::borrow).find(|object| object.metadata.name == name)
}

/// The object of this id, or AWS's word for that there is none.
pub(crate) fn by_id<'a, S: Known>(
    objects: &'a [impl Borrow<Object<S>>],
    wanted: &str,
) -> Result<&'a Object<S>, Failure> {
    let found = objects.iter().map(Borrow::borrow).find(|object| id(*object) == wanted);
    found.ok_or_else(|| none::<S>(wanted))
}

/// That there is no such object: malformed ids have a code of their own.
pub(crate) fn none<S: Known>(wanted: &str) -> Failure {
    let wanted: String = wanted.chars().take(80).collect();
    if is_id(S::PREFIX, &wanted) {
        let what = S::TYPE.replace('-', " ");
        Failure::new(S::NOT_FOUND, format!("The {what} ID '{wanted}' does not exist"))
    } else {
        Failure::new(S::MALFORMED, format!("Invalid id: \"{wanted}\""))
    }
}

/// Whether a text has the form of an id: 17 digits, or 8 as they once were.
pub(crate) fn is_id(prefix: &str, text: &str) -> bool {
    let digits = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-')).unwrap_or("");
    let plain = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    is_short_id(prefix, text) || digits.len() == 8 && digits.bytes().all(plain)
}

/// The same digits under another prefix: for what has no object of its own, such as an association.
pub(crate) fn derived(prefix: &str, meta: &ObjectMeta, own: &str) -> String {
    let id = short_id(own, meta);
    format!("{prefix}-{}", id.rsplit('-').next().unwrap_or_default())
}

/// An id that follows from a text.
pub(crate) fn hashed(prefix: &str, text: &str) -> String {
    format!("{prefix}-{}", hex(digest(&SHA256, text.as_bytes()).as_ref(), DIGITS))
}

/// A new id.
pub(crate) fn fresh(prefix: &str, random: &[u8; 32]) -> String {
    format!("{prefix}-{}", hex(random, DIGITS))
}

pub(crate) fn hex(bytes: &[u8], digits: usize) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).take(digits).collect()
}

/// A project's account number: twelve digits that follow from its name.
pub(crate) fn account(project: &str) -> String {
    identity::iam::account_number(project)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_id_is_told_from_what_is_not_there() {
        let check = |id: &str, code: &str| assert_eq!(none::<InstanceSpec>(id).code, code, "{id}");
        check("i-0123456789abcdef0", "InvalidInstanceID.NotFound");
        check("i-01234567", "InvalidInstanceID.NotFound");
        for wrong in ["", "i-", "web", "i-0123456789ABCDEF0", "i-0123456789abcdef", "vpc-0123456789abcdef0"] {
            check(wrong, "InvalidInstanceID.Malformed");
        }
    }

    #[test]
    fn accounts_are_twelve_digits() {
        for project in ["default", "a", "system"] {
            let account = account(project);
            assert!(account.len() == 12 && !account.starts_with('0'), "{account}");
        }
        assert_ne!(account("a"), account("b"));
    }
}
