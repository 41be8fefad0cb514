//! LoadBalancer: one address in front of many targets.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::rules::{at_most, check_name, check_names, is_default, require_name};
use super::{Address, FloatingIpSpec, GROUP, SecurityGroupSpec, SubnetSpec};
use crate::meta::validate_labels;
use crate::{Claim, Column, Condition, FieldErrors, KindInfo, Name, Object, Reference, Scope, Spec};

pub type LoadBalancer = Object<LoadBalancerSpec>;

const SUBNETS_MAX: usize = 8;
const GROUPS_MAX: usize = 16;
const LISTENERS_MAX: usize = 50;
const LISTENER_RULES_MAX: usize = 100;
const TARGET_GROUPS_MAX: usize = 100;
const TARGETS_MAX: usize = 1000;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancerSpec {
    /// The subnets that it stands in, all of one Vpc.
    pub subnets: Vec<String>,
    pub scheme: Scheme,
    /// The FloatingIp of a `public` one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub floating_ip: String,
    /// What may reach it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<String>,
    pub listeners: Vec<Listener>,
    pub target_groups: Vec<TargetGroup>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Scheme {
    /// Reachable inside of its Vpc.
    #[default]
    Internal,
    /// Reachable from outside, at a floating address.
    Public,
}

/// A port that is listened on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Listener {
    pub port: u16,
    pub protocol: ListenerProtocol,
    /// Where requests go that no rule sends elsewhere.
    pub target_group: String,
    /// For protocol http and https; the first that matches decides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<ListenerRule>,
    /// The secret with certificate and key, for protocol https and tls.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tls: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum ListenerProtocol {
    #[default]
    Tcp,
    Udp,
    Tls,
    Http,
    Https,
}

/// Sends requests for some hosts or paths to another group of targets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ListenerRule {
    /// The host asked for, as in `www.example.org` or `*.example.org`; any when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// What the path begins with; any when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path_prefix: String,
    pub target_group: String,
}

/// Targets that are alike.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetGroup {
    pub name: String,
    pub protocol: TargetProtocol,
    /// The targets' port, unless a target says otherwise.
    pub port: u16,
    #[serde(skip_serializing_if = "is_default")]
    pub balancing: Balancing,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Target>,
    /// Instances with all of these labels are targets too.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub instance_labels: BTreeMap<String, String>,
    /// A connection to the port, every ten seconds, when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum TargetProtocol {
    #[default]
    Tcp,
    Udp,
    Http,
    Https,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Balancing {
    #[default]
    RoundRobin,
    LeastConnections,
    /// The same client comes to the same target.
    SourceAddress,
}

/// One target: an instance, or an address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Target {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub instance: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Its share beside others, 1 to 256; 1 when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HealthCheck {
    /// What is asked for, for protocol http and https.
    pub path: String,
    /// The target's port when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    pub interval_seconds: u32,
    pub timeout_seconds: u32,
    /// Good answers in a row after which a target takes part.
    pub healthy_after: u32,
    /// Bad ones after which it does not.
    pub unhealthy_after: u32,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            path: "/".into(),
            port: None,
            interval_seconds: 10,
            timeout_seconds: 5,
            healthy_after: 3,
            unhealthy_after: 3,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancerStatus {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Address>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

impl Spec for LoadBalancerSpec {
    type Status = LoadBalancerStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "LoadBalancer",
        plural: "loadbalancers",
        singular: "loadbalancer",
        short_names: &["lb"],
        scope: Scope::Project,
        summary: "One address in front of many targets.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        errors.require(!self.subnets.is_empty(), "spec.subnets", "must name the subnet that it stands in");
        check_names("spec.subnets", &self.subnets, SUBNETS_MAX, errors);
        check_names("spec.securityGroups", &self.security_groups, GROUPS_MAX, errors);
        check_name("spec.floatingIp", &self.floating_ip, errors);
        errors.require(
            self.scheme == Scheme::Public || self.floating_ip.is_empty(),
            "spec.floatingIp",
            "is only for spec.scheme public; leave it out",
        );
        at_most("spec.listeners", &self.listeners, LISTENERS_MAX, errors);
        at_most("spec.targetGroups", &self.target_groups, TARGET_GROUPS_MAX, errors);
        let mut names = BTreeSet::new();
        for (i, group) in self.target_groups.iter().enumerate() {
            let field = format!("spec.targetGroups[{i}]");
            group.validate(&field, errors);
            if !names.insert(group.name.as_str()) {
                errors.push(format!("{field}.name"), format!("{:?} is there twice", group.name));
            }
        }
        let mut ports = BTreeSet::new();
        for (i, listener) in self.listeners.iter().enumerate() {
            let field = format!("spec.listeners[{i}]");
            listener.validate(&field, &names, errors);
            if !ports.insert((listener.port, listener.protocol == ListenerProtocol::Udp)) {
                let message = format!("{} has a listener already; keep one of the two", listener.port);
                errors.push(format!("{field}.port"), message);
            }
        }
    }

    fn columns() -> &'static [Column<LoadBalancer>] {
        const COLUMNS: &[Column<LoadBalancer>] = &[
            Column::text("Scheme", |b, _| json!(b.spec.scheme)),
            Column::text("Addresses", |b, _| {
                json!(b.status.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
            }),
            Column::integer("Listeners", |b, _| json!(b.spec.listeners.len())),
            Column::integer("TargetGroups", |b, _| json!(b.spec.target_groups.len())),
        ];
        COLUMNS
    }

    fn claims(b: &LoadBalancer) -> Vec<Claim> {
        let name = &b.spec.floating_ip;
        let claim = || FloatingIpSpec::use_claim(&b.metadata.namespace, name, "spec.floatingIp");
        (!name.is_empty()).then(claim).into_iter().collect()
    }

    fn references(b: &LoadBalancer) -> Vec<Reference> {
        let (meta, spec) = (&b.metadata, &b.spec);
        let subnets = spec.subnets.iter().enumerate().filter_map(|(i, subnet)| {
            Reference::kept(SubnetSpec::KIND, meta, subnet, format!("spec.subnets[{i}]"))
        });
        let groups = spec.security_groups.iter().enumerate().filter_map(|(i, group)| {
            Reference::kept(SecurityGroupSpec::KIND, meta, group, format!("spec.securityGroups[{i}]"))
        });
        let floating = Reference::kept(FloatingIpSpec::KIND, meta, &spec.floating_ip, "spec.floatingIp");
        subnets.chain(groups).chain(floating).collect()
    }
}

impl Listener {
    fn validate(&self, field: &str, groups: &BTreeSet<&str>, errors: &mut FieldErrors) {
        errors.require(self.port > 0, &format!("{field}.port"), "must be 1 to 65535");
        let encrypted = matches!(self.protocol, ListenerProtocol::Tls | ListenerProtocol::Https);
        errors.require(
            encrypted != self.tls.is_empty(),
            &format!("{field}.tls"),
            "must name the secret with certificate and key for protocol https and tls, and only for those",
        );
        check_name(&format!("{field}.tls"), &self.tls, errors);
        let reads_requests = matches!(self.protocol, ListenerProtocol::Http | ListenerProtocol::Https);
        errors.require(
            reads_requests || self.rules.is_empty(),
            &format!("{field}.rules"),
            "are only for protocol http and https",
        );
        at_most(&format!("{field}.rules"), &self.rules, LISTENER_RULES_MAX, errors);
        let known = |field: String, name: &str, errors: &mut FieldErrors| {
            if !groups.contains(name) {
                errors.push(field, format!("{name:?} is not in spec.targetGroups"));
            }
        };
        known(format!("{field}.targetGroup"), &self.target_group, errors);
        for (i, rule) in self.rules.iter().enumerate() {
            let at = format!("{field}.rules[{i}]");
            known(format!("{at}.targetGroup"), &rule.target_group, errors);
            errors.require(
                rule.path_prefix.is_empty() || rule.path_prefix.starts_with('/'),
                &format!("{at}.pathPrefix"),
                "must begin with /",
            );
            errors.require(
                rule.host.is_empty() || Name::new(rule.host.strip_prefix("*.").unwrap_or(&rule.host)).is_ok(),
                &format!("{at}.host"),
                "must be a host's name, such as www.example.org or *.example.org",
            );
        }
    }
}

impl TargetGroup {
    fn validate(&self, field: &str, errors: &mut FieldErrors) {
        require_name(&format!("{field}.name"), &self.name, "the group", errors);
        errors.require(self.port > 0, &format!("{field}.port"), "must be 1 to 65535");
        at_most(&format!("{field}.targets"), &self.targets, TARGETS_MAX, errors);
        validate_labels(&format!("{field}.instanceLabels"), &self.instance_labels, errors);
        for (i, target) in self.targets.iter().enumerate() {
            let at = format!("{field}.targets[{i}]");
            errors.require(
                target.instance.is_empty() != target.address.is_none(),
                &at,
                "must be exactly one of instance and address",
            );
            check_name(&format!("{at}.instance"), &target.instance, errors);
            errors.require(target.port != Some(0), &format!("{at}.port"), "must be 1 to 65535");
            errors.require(
                target.weight.is_none_or(|weight| (1..=256).contains(&weight)),
                &format!("{at}.weight"),
                "must be 1 to 256",
            );
        }
        if let Some(check) = &self.health_check {
            check.validate(&format!("{field}.healthCheck"), errors);
        }
    }
}

impl HealthCheck {
    fn validate(&self, field: &str, errors: &mut FieldErrors) {
        errors.require(self.path.starts_with('/'), &format!("{field}.path"), "must begin with /");
        errors.require(self.port != Some(0), &format!("{field}.port"), "must be 1 to 65535");
        let within = |n: u32, max: u32| (1..=max).contains(&n);
        for (name, ok, message) in [
            ("intervalSeconds", within(self.interval_seconds, 300), "must be 1 to 300"),
            ("timeoutSeconds", within(self.timeout_seconds, 120), "must be 1 to 120"),
            ("healthyAfter", within(self.healthy_after, 10), "must be 1 to 10"),
            ("unhealthyAfter", within(self.unhealthy_after, 10), "must be 1 to 10"),
        ] {
            errors.require(ok, &format!("{field}.{name}"), message);
        }
    }
}
