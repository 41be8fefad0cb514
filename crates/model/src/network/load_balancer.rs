//! LoadBalancer: one address in front of many targets.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::rules::{at_most, check_name, check_names, is_default, require_name};
use super::{Address, FloatingIpSpec, GROUP, PortSpec, SecurityGroupSpec, SubnetSpec};
use crate::meta::validate_labels;
use crate::secret::Secret;
use crate::{
    Claim, Column, Condition, FieldErrors, KindInfo, Name, Object, Reference, Resource, Scope, Spec,
};

pub type LoadBalancer = Object<LoadBalancerSpec>;

const SUBNETS_MAX: usize = 8;
const GROUPS_MAX: usize = 16;
const LISTENERS_MAX: usize = 50;
const LISTENER_RULES_MAX: usize = 100;
const TARGET_GROUPS_MAX: usize = 100;
const TARGETS_MAX: usize = 1000;
/// Longest path that a rule or a check names, in bytes.
const PATH_MAX: usize = 1024;
/// So much of a balancer's name is kept where the name of its port would become too long.
const PREFIX_MAX: usize = 40;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancerSpec {
    /// The subnets that it stands in, all of one Vpc; its own address is in the first.
    pub subnets: Vec<String>,
    pub scheme: Scheme,
    /// The FloatingIp of a `public` one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub floating_ip: String,
    /// What may reach it, and what it may reach; the Vpc's default group when left out.
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
    /// Begin every connection with the PROXY protocol (version 2), which tells the target who the client is. Not
    /// for protocol udp.
    #[serde(skip_serializing_if = "is_default")]
    pub proxy_protocol: bool,
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
    /// The host that does its work.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Where it is reached: its own addresses, then its floating one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Address>,
    /// Every target as its host sees it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<TargetStatus>,
    /// The secrets that its listeners use, as they are now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateStatus>,
    /// The generation of the spec that its host works by.
    #[serde(skip_serializing_if = "is_default")]
    pub observed_generation: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// How one target does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetStatus {
    pub group: String,
    /// The instance's name, or the address.
    pub target: String,
    /// Where it is reached, with its port; empty while it has no address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub address: String,
    pub healthy: bool,
    /// Why it is not.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Which state of a secret counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateStatus {
    pub secret: String,
    /// The secret's resource version.
    pub version: String,
}

impl LoadBalancer {
    /// The port that is made for it: `NAME-lb`. A name that would become too long is cut, and told apart by the uid.
    pub fn port_name(&self) -> String {
        let meta = &self.metadata;
        let name = format!("{}-lb", meta.name);
        if Name::new(&name).is_ok() {
            return name;
        }
        let cut: String = meta.name.chars().take(PREFIX_MAX).collect();
        let uid: String = meta.uid.as_str().chars().take(8).collect();
        format!("{}-{uid}-lb", cut.trim_end_matches(['-', '.']))
    }

    /// Names of the secrets that its listeners use, each once.
    pub fn secrets(&self) -> BTreeSet<&str> {
        let names = self.spec.listeners.iter().map(|listener| listener.tls.as_str());
        names.filter(|name| !name.is_empty()).collect()
    }
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
            self.check_protocols(listener, &field, errors);
            if !ports.insert((listener.port, listener.protocol == ListenerProtocol::Udp)) {
                let message = format!("{} has a listener already; keep one of the two", listener.port);
                errors.push(format!("{field}.port"), message);
            }
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        let fixed = "the first cannot be changed: its address is there; make a new load balancer";
        errors.require(self.subnets.first() == old.subnets.first(), "spec.subnets", fixed);
    }

    fn columns() -> &'static [Column<LoadBalancer>] {
        const COLUMNS: &[Column<LoadBalancer>] = &[
            Column::text("Scheme", |b, _| json!(b.spec.scheme)),
            Column::text("Addresses", |b, _| {
                json!(b.status.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
            }),
            Column::text("Healthy", |b, _| {
                let healthy = b.status.targets.iter().filter(|target| target.healthy).count();
                json!(format!("{healthy}/{}", b.status.targets.len()))
            }),
            Column::text("Host", |b, _| json!(b.status.host)),
            Column::integer("Listeners", |b, _| json!(b.spec.listeners.len())),
            Column::integer("TargetGroups", |b, _| json!(b.spec.target_groups.len())),
        ];
        COLUMNS
    }

    fn field(b: &LoadBalancer, path: &str) -> Option<String> {
        Some(match path {
            "status.host" => b.status.host.clone(),
            "spec.floatingIp" => b.spec.floating_ip.clone(),
            _ => return None,
        })
    }

    fn claims(b: &LoadBalancer) -> Vec<Claim> {
        let (project, name) = (&b.metadata.namespace, &b.spec.floating_ip);
        // Among balancers. That no port beside the balancer's own has it is what the FloatingIp itself claims.
        let what = format!("floating ip {name:?} as a load balancer's");
        let claim = || Claim::new(format!("floating-balancer/{project}/{name}"), "spec.floatingIp", what);
        let port = b.port_name();
        // As an instance would attach it.
        let attached =
            Claim::new(format!("attached/{project}/{port}"), "metadata.name", format!("port {port:?}"));
        (!name.is_empty()).then(claim).into_iter().chain([attached]).collect()
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
        let port = Reference::kept(PortSpec::KIND, meta, &b.port_name(), "metadata.name");
        let secrets = b.secrets().into_iter().filter_map(|secret| {
            let at = spec.listeners.iter().position(|l| l.tls == secret).unwrap_or_default();
            Reference::kept(Secret::KIND, meta, secret, format!("spec.listeners[{at}].tls"))
        });
        subnets.chain(groups).chain(floating).chain(port).chain(secrets).collect()
    }
}

impl LoadBalancerSpec {
    /// Datagrams go to targets that take datagrams, and nothing else does.
    fn check_protocols(&self, listener: &Listener, field: &str, errors: &mut FieldErrors) {
        let is_udp = listener.protocol == ListenerProtocol::Udp;
        let group = self.target_groups.iter().find(|group| group.name == listener.target_group);
        errors.require(
            group.is_none_or(|group| (group.protocol == TargetProtocol::Udp) == is_udp),
            &format!("{field}.targetGroup"),
            "must be of protocol udp for a listener of protocol udp, and only for those",
        );
    }
}

/// A path as it may stand in a request: visible ASCII without quotes and backslashes.
fn check_path(field: &str, path: &str, errors: &mut FieldErrors) {
    let fine = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\'' | b'\\' | b'`');
    errors.require(
        path.starts_with('/') && path.bytes().all(fine) && path.len() <= PATH_MAX,
        field,
        "must begin with /, and have no spaces, quotes or backslashes; write those as %20 and the like",
    );
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
            if !rule.path_prefix.is_empty() {
                check_path(&format!("{at}.pathPrefix"), &rule.path_prefix, errors);
            }
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
        errors.require(
            !self.proxy_protocol || self.protocol != TargetProtocol::Udp,
            &format!("{field}.proxyProtocol"),
            "is not for protocol udp",
        );
        if let Some(check) = &self.health_check {
            check.validate(&format!("{field}.healthCheck"), errors);
        }
    }
}

impl HealthCheck {
    fn validate(&self, field: &str, errors: &mut FieldErrors) {
        check_path(&format!("{field}.path"), &self.path, errors);
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
