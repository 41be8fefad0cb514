//! NetworkAcl: what may cross the edge of its subnets. Stateless: answers need a rule of their own.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::rules::{at_most, is_default, require_name};
use super::security_group::check_traffic;
use super::{Cidr, Direction, GROUP, PortRange, Protocol, VpcSpec};
use crate::{Claim, Column, FieldErrors, KindInfo, Object, Reference, Scope, Spec};

pub type NetworkAcl = Object<NetworkAclSpec>;

const RULES_MAX: usize = 200;
/// The highest number that a rule may have.
pub const ACL_RULE_MAX: u16 = 32_766;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkAclSpec {
    pub vpc: String,
    /// Asked in the order of their numbers; the first that matches decides, and what none matches is dropped. They are
    /// not asked about what stays within a subnet. At most 200.
    pub rules: Vec<AclRule>,
    /// Subnets of the Vpc that name no ACL follow this one. A Vpc has at most one; without one, everything passes.
    #[serde(skip_serializing_if = "is_default")]
    pub is_default: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AclRule {
    /// 1 to 32766, each once per direction.
    pub number: u16,
    /// As seen from the subnet.
    pub direction: Direction,
    pub action: AclAction,
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
    /// Addresses on the other side: `0.0.0.0/0` is everyone, and `::/0` for IPv6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cidr: Option<Cidr>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum AclAction {
    #[default]
    Allow,
    Deny,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NetworkAclStatus {}

impl NetworkAclSpec {
    /// The rules of one direction, in the order in which they are asked.
    pub fn ordered(&self, direction: Direction) -> Vec<&AclRule> {
        let mut rules: Vec<&AclRule> = self.rules.iter().filter(|rule| rule.direction == direction).collect();
        rules.sort_by_key(|rule| rule.number);
        rules
    }

    /// Whether everything passes, in both directions and families: then nothing has to be asked.
    pub fn lets_everything_through(&self) -> bool {
        let all_pass = |direction, v4: bool| {
            let rules = self.ordered(direction).into_iter();
            let mut of_family = rules.filter(|rule| rule.cidr.is_some_and(|cidr| cidr.is_v4() == v4));
            // What is refused after that is asked about nothing.
            of_family
                .find(|rule| rule.action == AclAction::Deny || rule.is_of_all())
                .is_some_and(AclRule::allows_all)
        };
        [Direction::Ingress, Direction::Egress].into_iter().all(|d| all_pass(d, true) && all_pass(d, false))
    }

    /// What the default ACL of a Vpc holds.
    pub fn default_claim(project: &str, vpc: &str) -> Claim {
        let what = format!("the place of the default network ACL of vpc {vpc:?}");
        Claim::new(format!("default-acl/{project}/{vpc}"), "spec.isDefault", what)
    }
}

impl AclRule {
    fn is_of_all(&self) -> bool {
        self.protocol == Protocol::Any && self.cidr.is_some_and(|cidr| cidr.prefix_len() == 0)
    }

    fn allows_all(&self) -> bool {
        self.action == AclAction::Allow && self.is_of_all()
    }

    fn validate(&self, field: &str, errors: &mut FieldErrors) {
        errors.require(
            (1..=ACL_RULE_MAX).contains(&self.number),
            &format!("{field}.number"),
            "must be 1 to 32766",
        );
        errors.require(
            self.cidr.is_some(),
            &format!("{field}.cidr"),
            "must be a network, such as 10.0.0.0/8; 0.0.0.0/0 is everyone, and ::/0 for IPv6",
        );
        check_traffic(field, self.protocol, self.ports, (self.icmp_type, self.icmp_code), errors);
    }
}

impl Spec for NetworkAclSpec {
    type Status = NetworkAclStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "NetworkAcl",
        plural: "networkacls",
        singular: "networkacl",
        short_names: &["acl"],
        scope: Scope::Project,
        summary: "What may cross the edge of its subnets, packet by packet.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        require_name("spec.vpc", &self.vpc, "the Vpc that it belongs to", errors);
        at_most("spec.rules", &self.rules, RULES_MAX, errors);
        let mut seen = BTreeSet::new();
        for (i, rule) in self.rules.iter().enumerate() {
            let field = format!("spec.rules[{i}]");
            rule.validate(&field, errors);
            if !seen.insert((rule.direction == Direction::Egress, rule.number)) {
                let message =
                    format!("{} is another rule's of this direction; choose a free one", rule.number);
                errors.push(format!("{field}.number"), message);
            }
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        errors.require(self.vpc == old.vpc, "spec.vpc", "cannot be changed; make a new network ACL");
    }

    fn columns() -> &'static [Column<NetworkAcl>] {
        const COLUMNS: &[Column<NetworkAcl>] = &[
            Column::text("Vpc", |a, _| json!(a.spec.vpc)),
            Column::integer("Rules", |a, _| json!(a.spec.rules.len())),
            Column::text("Default", |a, _| json!(if a.spec.is_default { "yes" } else { "" })),
        ];
        COLUMNS
    }

    fn field(a: &NetworkAcl, path: &str) -> Option<String> {
        (path == "spec.vpc").then(|| a.spec.vpc.clone())
    }

    fn claims(a: &NetworkAcl) -> Vec<Claim> {
        let claim = || Self::default_claim(&a.metadata.namespace, &a.spec.vpc);
        a.spec.is_default.then(claim).into_iter().collect()
    }

    fn references(a: &NetworkAcl) -> Vec<Reference> {
        Reference::kept(VpcSpec::KIND, &a.metadata, &a.spec.vpc, "spec.vpc").into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::AclAction::{Allow, Deny};
    use super::Direction::{Egress, Ingress};
    use super::*;

    #[test]
    fn what_lets_everything_through_is_known() {
        let rule = |number, direction, action, cidr: &str| AclRule {
            number,
            direction,
            action,
            cidr: cidr.parse().ok(),
            ..AclRule::default()
        };
        let all = || -> Vec<AclRule> {
            let both = [Ingress, Egress].into_iter();
            both.flat_map(|d| [rule(100, d, Allow, "0.0.0.0/0"), rule(101, d, Allow, "::/0")]).collect()
        };
        let check = |more: Vec<AclRule>, less: usize, expected: bool| {
            let mut rules = all();
            rules.truncate(rules.len() - less);
            rules.extend(more);
            let spec = NetworkAclSpec { rules, ..NetworkAclSpec::default() };
            assert_eq!(spec.lets_everything_through(), expected, "{spec:?}");
        };
        check(Vec::new(), 0, true);
        check(Vec::new(), 1, false);
        check(vec![rule(200, Ingress, Deny, "0.0.0.0/0")], 0, true);
        check(vec![rule(99, Ingress, Deny, "10.0.0.0/8")], 0, false);
        check(vec![rule(99, Ingress, Allow, "10.0.0.0/8")], 0, true);
        check(vec![rule(99, Egress, Deny, "fd00::/8")], 0, false);
    }
}
