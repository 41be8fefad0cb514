//! SecurityGroup: what may pass to and from the ports in it. Stateful: answers to what was let through pass too.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::json;

use super::rules::{at_most, check_name, is_default, require_name};
use super::{Cidr, GROUP, PrefixListSpec, VpcSpec};
use crate::{Claim, Column, FieldErrors, KindInfo, Object, Reference, Scope, Spec};

pub type SecurityGroup = Object<SecurityGroupSpec>;

const RULES_MAX: usize = 200;
const DESCRIPTION_MAX_BYTES: usize = 255;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SecurityGroupSpec {
    pub vpc: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What is let through; what no rule lets through is dropped. At most 200.
    pub rules: Vec<SecurityRule>,
    /// Ports of the Vpc that name no group are in this one. A Vpc has at most one.
    #[serde(skip_serializing_if = "is_default")]
    pub is_default: bool,
}

/// Lets through what matches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SecurityRule {
    pub direction: Direction,
    /// `tcp`, `udp`, `icmp` (also that of IPv6), `any`, or the number of another protocol.
    pub protocol: Protocol,
    /// Ports of the receiver; all when left out. For tcp and udp.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<PortRange>,
    /// For icmp; all types when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<u8>,
    /// For icmp with a type; all codes when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_code: Option<u8>,
    /// Who is on the other side.
    pub peer: RulePeer,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Direction {
    /// To the ports in the group.
    #[default]
    Ingress,
    /// From the ports in the group.
    Egress,
}

/// Ports from and to, both included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PortRange {
    pub from: u16,
    pub to: u16,
}

/// The other side of a rule: exactly one of these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RulePeer {
    /// Addresses of this network; `0.0.0.0/0` is everyone, and `::/0` for IPv6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cidr: Option<Cidr>,
    /// Ports in this SecurityGroup of the same Vpc; may be the group itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Addresses of the networks in this PrefixList.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prefix_list: String,
}

/// A protocol above IP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    #[default]
    Any,
    Tcp,
    Udp,
    Icmp,
    /// By its number (IANA).
    Other(u8),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a protocol: write tcp, udp, icmp, any, or a number up to 255")]
pub struct ProtocolError(String);

impl FromStr for Protocol {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, ProtocolError> {
        Ok(match text {
            "any" => Self::Any,
            "tcp" => Self::Tcp,
            "udp" => Self::Udp,
            "icmp" => Self::Icmp,
            number => Self::of_number(number.parse().map_err(|_| ProtocolError(super::text::clip(number)))?),
        })
    }
}

impl Protocol {
    /// One protocol is written in one way.
    fn of_number(number: u8) -> Self {
        match number {
            1 | 58 => Self::Icmp,
            6 => Self::Tcp,
            17 => Self::Udp,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.pad("any"),
            Self::Tcp => f.pad("tcp"),
            Self::Udp => f.pad("udp"),
            Self::Icmp => f.pad("icmp"),
            Self::Other(number) => write!(f, "{number}"),
        }
    }
}

impl Serialize for Protocol {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Protocol;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tcp, udp, icmp, any, or a protocol's number")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Protocol, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Protocol, E> {
                let known = u8::try_from(number).map(Protocol::of_number);
                known.map_err(|_| E::custom(ProtocolError(number.to_string())))
            }
        }
        d.deserialize_any(Either)
    }
}

impl JsonSchema for Protocol {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Protocol".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "x-kubernetes-int-or-string": true })
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecurityGroupStatus {}

impl SecurityGroupSpec {
    /// What the default group of a Vpc holds.
    pub fn default_claim(project: &str, vpc: &str) -> Claim {
        let what = format!("the place of the default security group of vpc {vpc:?}");
        Claim::new(format!("default-group/{project}/{vpc}"), "spec.isDefault", what)
    }
}

impl Spec for SecurityGroupSpec {
    type Status = SecurityGroupStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "SecurityGroup",
        plural: "securitygroups",
        singular: "securitygroup",
        short_names: &["sg"],
        scope: Scope::Project,
        summary: "What may pass to and from the ports in it.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        require_name("spec.vpc", &self.vpc, "the Vpc that it belongs to", errors);
        at_most("spec.rules", &self.rules, RULES_MAX, errors);
        check_description("spec.description", &self.description, errors);
        for (i, rule) in self.rules.iter().enumerate() {
            let field = format!("spec.rules[{i}]");
            rule.validate(&field, errors);
            let same = |other: &SecurityRule| {
                SecurityRule { description: String::new(), ..other.clone() }
                    == SecurityRule { description: String::new(), ..rule.clone() }
            };
            if self.rules[..i].iter().any(same) {
                errors.push(field, "is there twice; once is enough");
            }
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        errors.require(self.vpc == old.vpc, "spec.vpc", "cannot be changed; make a new security group");
    }

    fn columns() -> &'static [Column<SecurityGroup>] {
        const COLUMNS: &[Column<SecurityGroup>] = &[
            Column::text("Vpc", |g, _| json!(g.spec.vpc)),
            Column::integer("Ingress", |g, _| json!(count(g, Direction::Ingress))),
            Column::integer("Egress", |g, _| json!(count(g, Direction::Egress))),
            Column::text("Default", |g, _| json!(if g.spec.is_default { "yes" } else { "" })),
            Column::wide_text("Description", |g, _| json!(g.spec.description)),
        ];
        COLUMNS
    }

    fn field(g: &SecurityGroup, path: &str) -> Option<String> {
        (path == "spec.vpc").then(|| g.spec.vpc.clone())
    }

    fn claims(g: &SecurityGroup) -> Vec<Claim> {
        let claim = || Self::default_claim(&g.metadata.namespace, &g.spec.vpc);
        g.spec.is_default.then(claim).into_iter().collect()
    }

    fn references(g: &SecurityGroup) -> Vec<Reference> {
        let meta = &g.metadata;
        let vpc = Reference::kept(VpcSpec::KIND, meta, &g.spec.vpc, "spec.vpc");
        let peers = g.spec.rules.iter().enumerate().flat_map(|(i, rule)| {
            let field = format!("spec.rules[{i}].peer");
            // That a group names itself does not keep it.
            let other = Some(&rule.peer.group).filter(|group| **group != meta.name);
            let group = other.and_then(|g| Reference::kept(Self::KIND, meta, g, format!("{field}.group")));
            let list = &rule.peer.prefix_list;
            group.into_iter().chain(Reference::kept(
                PrefixListSpec::KIND,
                meta,
                list,
                format!("{field}.prefixList"),
            ))
        });
        vpc.into_iter().chain(peers).collect()
    }
}

impl SecurityRule {
    fn validate(&self, field: &str, errors: &mut FieldErrors) {
        check_traffic(field, self.protocol, self.ports, (self.icmp_type, self.icmp_code), errors);
        let peer = &self.peer;
        let given = [peer.cidr.is_some(), !peer.group.is_empty(), !peer.prefix_list.is_empty()];
        errors.require(
            given.iter().filter(|g| **g).count() == 1,
            &format!("{field}.peer"),
            "must be exactly one of cidr, group and prefixList; everyone is cidr 0.0.0.0/0, or ::/0 for IPv6",
        );
        check_name(&format!("{field}.peer.group"), &peer.group, errors);
        check_name(&format!("{field}.peer.prefixList"), &peer.prefix_list, errors);
        check_description(&format!("{field}.description"), &self.description, errors);
    }
}

/// What a rule says beside its protocol fits that protocol; `icmp` is type and code.
pub(super) fn check_traffic(
    field: &str,
    protocol: Protocol,
    ports: Option<PortRange>,
    icmp: (Option<u8>, Option<u8>),
    errors: &mut FieldErrors,
) {
    if let Some(ports) = ports {
        let at = format!("{field}.ports");
        errors.require(
            matches!(protocol, Protocol::Tcp | Protocol::Udp),
            &at,
            "is only for protocol tcp and udp; leave it out",
        );
        errors.require(ports.from <= ports.to, &at, "must not end before it begins");
    }
    let (icmp_type, icmp_code) = icmp;
    errors.require(
        icmp_type.is_none() || protocol == Protocol::Icmp,
        &format!("{field}.icmpType"),
        "is only for protocol icmp; leave it out",
    );
    errors.require(
        icmp_code.is_none() || icmp_type.is_some(),
        &format!("{field}.icmpCode"),
        "needs an icmpType beside it",
    );
}

fn check_description(field: &str, text: &str, errors: &mut FieldErrors) {
    errors.require(text.len() <= DESCRIPTION_MAX_BYTES, field, "must be at most 255 bytes");
}

fn count(group: &SecurityGroup, direction: Direction) -> usize {
    group.spec.rules.iter().filter(|rule| rule.direction == direction).count()
}
