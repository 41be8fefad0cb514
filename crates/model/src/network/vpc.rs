//! Vpc: a private network of a project, with ranges of addresses that may overlap those of any other.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::rules::{at_most, check_address, check_name, check_network, is_default};
use super::{Address, Cidr, DhcpOptionsSpec, GROUP};
use crate::{Claim, Column, Condition, FieldErrors, KindInfo, Name, Object, Reference, Scope, Spec};

pub type Vpc = Object<VpcSpec>;

/// Most ranges of one Vpc.
const RANGES_MAX: usize = 16;
const DNS_SERVERS_MAX: usize = 4;
/// Network identifiers of overlays have 24 bits (RFC 7348).
const VNI_MAX: u32 = (1 << 24) - 1;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VpcSpec {
    /// IPv4 ranges that subnets are cut from, each a /8 to a /28. They may be those of another Vpc.
    pub ipv4_ranges: Vec<Cidr>,
    /// The IPv6 range that subnets are cut from, a /32 to a /60.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6_range: Option<Cidr>,
    #[serde(skip_serializing_if = "is_default")]
    pub dns: VpcDns,
    /// DhcpOptions that guests are told; the Vpc's own domain and name service when not given.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub dhcp_options: String,
    /// Record what flows through each of its ports, and what their rules refuse; `corten net flows` shows it.
    #[serde(skip_serializing_if = "is_default")]
    pub flow_logs: bool,
    /// Instances that name no network come into the default Vpc. A project has at most one.
    #[serde(skip_serializing_if = "is_default")]
    pub is_default: bool,
}

/// How names are found out inside of a Vpc.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VpcDns {
    /// Instances are found as NAME.DOMAIN; `PROJECT.internal` when not given.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// Servers that are asked for all other names; those of the host when none is given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<Address>,
    /// Guests get no name service from the Vpc.
    #[serde(skip_serializing_if = "is_default")]
    pub disabled: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VpcStatus {
    /// The identifier of its overlay, the same on every host. Given by the server, and kept.
    #[serde(skip_serializing_if = "is_default")]
    pub vni: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

impl VpcSpec {
    /// All ranges, of both families.
    pub fn ranges(&self) -> impl Iterator<Item = &Cidr> {
        self.ipv4_ranges.iter().chain(&self.ipv6_range)
    }

    /// A range of this one and one of the other that share addresses. Peers need ranges apart.
    pub fn overlap<'a>(&'a self, other: &'a Self) -> Option<(&'a Cidr, &'a Cidr)> {
        let pairs = self.ranges().flat_map(|own| other.ranges().map(move |theirs| (own, theirs)));
        pairs.into_iter().find(|(own, theirs)| own.overlaps(theirs))
    }
}

impl Spec for VpcSpec {
    type Status = VpcStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "Vpc",
        plural: "vpcs",
        singular: "vpc",
        short_names: &[],
        scope: Scope::Project,
        summary: "A private network with ranges of addresses of its own.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        errors.require(
            self.ranges().next().is_some(),
            "spec.ipv4Ranges",
            "must have a range, such as 10.0.0.0/16; or set spec.ipv6Range",
        );
        at_most("spec.ipv4Ranges", &self.ipv4_ranges, RANGES_MAX, errors);
        for (i, range) in self.ipv4_ranges.iter().enumerate() {
            let field = format!("spec.ipv4Ranges[{i}]");
            if !range.is_v4() {
                errors.push(field, format!("{range} is an IPv6 network: it goes into spec.ipv6Range"));
                continue;
            }
            check_network(&field, range, (8, 28), errors);
            if let Some(other) = self.ipv4_ranges[..i].iter().find(|other| other.overlaps(range)) {
                errors.push(field, format!("{range} overlaps {other}; a range is named once"));
            }
        }
        if let Some(range) = &self.ipv6_range {
            errors.require(!range.is_v4(), "spec.ipv6Range", "must be an IPv6 network, such as fd00:1::/48");
            if !range.is_v4() {
                check_network("spec.ipv6Range", range, (32, 60), errors);
            }
        }
        if let (false, Err(e)) = (self.dns.domain.is_empty(), Name::new(&self.dns.domain)) {
            errors.push("spec.dns.domain", e.to_string());
        }
        check_name("spec.dhcpOptions", &self.dhcp_options, errors);
        at_most("spec.dns.servers", &self.dns.servers, DNS_SERVERS_MAX, errors);
        for (i, server) in self.dns.servers.iter().enumerate() {
            check_address(&format!("spec.dns.servers[{i}]"), *server, errors);
        }
    }

    fn columns() -> &'static [Column<Vpc>] {
        const COLUMNS: &[Column<Vpc>] = &[
            Column::text("Ranges", |v, _| {
                json!(v.spec.ranges().map(ToString::to_string).collect::<Vec<_>>().join(","))
            }),
            Column::text("Default", |v, _| json!(if v.spec.is_default { "yes" } else { "" })),
            Column::wide_integer("VNI", |v, _| json!(v.status.vni)),
        ];
        COLUMNS
    }

    fn claims(v: &Vpc) -> Vec<Claim> {
        let mut claims = Vec::new();
        if v.spec.is_default {
            let project = &v.metadata.namespace;
            claims.push(Self::default_claim(project));
        }
        if (1..=VNI_MAX).contains(&v.status.vni) {
            claims.push(Self::vni_claim(v.status.vni));
        }
        claims
    }

    fn references(v: &Vpc) -> Vec<Reference> {
        let options =
            Reference::kept(DhcpOptionsSpec::KIND, &v.metadata, &v.spec.dhcp_options, "spec.dhcpOptions");
        options.into_iter().collect()
    }
}

impl VpcSpec {
    /// What a project's default Vpc holds.
    pub fn default_claim(project: &str) -> Claim {
        let what = format!("the place of the default vpc of project {project:?}");
        Claim::new(format!("default-vpc/{project}"), "spec.isDefault", what)
    }

    pub fn vni_claim(vni: u32) -> Claim {
        Claim::new(format!("vni/{vni}"), "status.vni", format!("overlay {vni}"))
    }
}
