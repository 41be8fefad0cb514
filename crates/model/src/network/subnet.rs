//! Subnet: a part of a Vpc's addresses from which ports get theirs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::rules::{check_name, check_network, is_default, require_name};
use super::{Cidr, GROUP, NetworkAclSpec, RouteTableSpec, VpcSpec};
use crate::{Claim, Column, Condition, FieldErrors, KindInfo, Object, Reference, Scope, Spec};

pub type Subnet = Object<SubnetSpec>;

/// Longest name of a network device (Linux).
const LINK_MAX: usize = 15;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SubnetSpec {
    pub vpc: String,
    /// Its IPv4 network, inside one of the Vpc's ranges and apart from every other subnet; a /8 to a /29. The
    /// first address is the gateway's; that, the network's own, the next two and the last are never given out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cidr: Option<Cidr>,
    /// Its IPv6 network, a /64 inside of the Vpc's range.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6_cidr: Option<Cidr>,
    /// How guests are connected.
    #[serde(skip_serializing_if = "is_default")]
    pub mode: SubnetMode,
    /// The hosts' network device that a `bridge` subnet is joined to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub link: String,
    /// The VLAN on that device, 1 to 4094; untagged when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// Only for instances in this zone.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub zone: String,
    /// The RouteTable that it follows; the Vpc's main one when not given.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub route_table: String,
    /// The NetworkAcl that says what crosses its edge; the Vpc's default one when not given.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub network_acl: String,
    /// Ports made for instances get a floating address.
    #[serde(skip_serializing_if = "is_default")]
    pub assign_public_address: bool,
    /// Instances that name no network come into the default subnet of the default Vpc.
    #[serde(skip_serializing_if = "is_default")]
    pub is_default: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum SubnetMode {
    /// Each guest has a link of its own to its host, which routes between them. No broadcasts.
    #[default]
    Routed,
    /// Guests are on one segment with a physical network, which routes, names and gives addresses as it does to its
    /// own machines: what they speak is not filtered by security groups, only that it is under their own card's
    /// address. A container has its port's address and the subnet's first one as its gateway.
    Bridge,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SubnetStatus {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

impl SubnetSpec {
    /// Its networks, of both families.
    pub fn cidrs(&self) -> impl Iterator<Item = &Cidr> {
        self.cidr.iter().chain(&self.ipv6_cidr)
    }

    /// What the default subnet of a Vpc holds.
    pub fn default_claim(project: &str, vpc: &str) -> Claim {
        let what = format!("the place of the default subnet of vpc {vpc:?}");
        Claim::new(format!("default-subnet/{project}/{vpc}"), "spec.isDefault", what)
    }
}

impl Spec for SubnetSpec {
    type Status = SubnetStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "Subnet",
        plural: "subnets",
        singular: "subnet",
        short_names: &["sn"],
        scope: Scope::Project,
        summary: "A part of a Vpc's addresses from which ports get theirs.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        require_name("spec.vpc", &self.vpc, "the Vpc that it is a part of", errors);
        errors.require(
            self.cidrs().next().is_some(),
            "spec.cidr",
            "must be a network inside of the Vpc's ranges, such as 10.0.1.0/24; or set spec.ipv6Cidr",
        );
        match &self.cidr {
            Some(cidr) if cidr.is_v4() => check_network("spec.cidr", cidr, (8, 29), errors),
            Some(cidr) => {
                errors.push("spec.cidr", format!("{cidr} is an IPv6 network: it goes into spec.ipv6Cidr"));
            }
            None => {}
        }
        if let Some(cidr) = &self.ipv6_cidr {
            errors.require(
                !cidr.is_v4() && cidr.prefix_len() == 64,
                "spec.ipv6Cidr",
                "must be an IPv6 /64, such as fd00:1:0:1::/64",
            );
        }
        self.validate_bridge(errors);
        check_name("spec.zone", &self.zone, errors);
        check_name("spec.routeTable", &self.route_table, errors);
        check_name("spec.networkAcl", &self.network_acl, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        let fixed = "cannot be changed; make a new subnet";
        errors.require(self.vpc == old.vpc, "spec.vpc", fixed);
        errors.require(self.cidr == old.cidr, "spec.cidr", fixed);
        let added = old.ipv6_cidr.is_none() || self.ipv6_cidr == old.ipv6_cidr;
        errors.require(added, "spec.ipv6Cidr", fixed);
        errors.require(self.mode == old.mode, "spec.mode", fixed);
        errors.require(self.link == old.link, "spec.link", fixed);
        errors.require(self.vlan == old.vlan, "spec.vlan", fixed);
    }

    fn columns() -> &'static [Column<Subnet>] {
        const COLUMNS: &[Column<Subnet>] = &[
            Column::text("Vpc", |s, _| json!(s.spec.vpc)),
            Column::text("Cidr", |s, _| {
                json!(s.spec.cidrs().map(ToString::to_string).collect::<Vec<_>>().join(","))
            }),
            Column::text("Mode", |s, _| json!(s.spec.mode)),
            Column::text("Default", |s, _| json!(if s.spec.is_default { "yes" } else { "" })),
            Column::wide_text("Zone", |s, _| json!(s.spec.zone)),
            Column::wide_text("RouteTable", |s, _| json!(s.spec.route_table)),
        ];
        COLUMNS
    }

    fn field(s: &Subnet, path: &str) -> Option<String> {
        Some(match path {
            "spec.vpc" => s.spec.vpc.clone(),
            "spec.zone" => s.spec.zone.clone(),
            _ => return None,
        })
    }

    fn claims(s: &Subnet) -> Vec<Claim> {
        let claim = || Self::default_claim(&s.metadata.namespace, &s.spec.vpc);
        s.spec.is_default.then(claim).into_iter().collect()
    }

    fn references(s: &Subnet) -> Vec<Reference> {
        let meta = &s.metadata;
        let vpc = Reference::kept(VpcSpec::KIND, meta, &s.spec.vpc, "spec.vpc");
        let table = Reference::kept(RouteTableSpec::KIND, meta, &s.spec.route_table, "spec.routeTable");
        let acl = Reference::kept(NetworkAclSpec::KIND, meta, &s.spec.network_acl, "spec.networkAcl");
        vpc.into_iter().chain(table).chain(acl).collect()
    }
}

impl SubnetSpec {
    fn validate_bridge(&self, errors: &mut FieldErrors) {
        let is_bridge = self.mode == SubnetMode::Bridge;
        errors.require(
            is_bridge || self.link.is_empty(),
            "spec.link",
            "is only for spec.mode bridge; leave it out",
        );
        errors.require(
            is_bridge || self.vlan.is_none(),
            "spec.vlan",
            "is only for spec.mode bridge; leave it out",
        );
        if is_bridge {
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
            let ok = (1..=LINK_MAX).contains(&self.link.len())
                && self.link.bytes().all(plain)
                && self.link.starts_with(|c: char| c.is_ascii_alphanumeric());
            errors.require(ok, "spec.link", "must name the hosts' network device, such as eth1");
        }
        errors.require(
            self.vlan.is_none_or(|vlan| (1..=4094).contains(&vlan)),
            "spec.vlan",
            "must be 1 to 4094",
        );
    }
}
