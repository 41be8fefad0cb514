//! LoadBalancer: one address in front of many targets.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::rules::{at_most, check_name, check_names, is_default};
use super::{
    Address, FloatingIpSpec, GROUP, Listener, ListenerProtocol, PortSpec, SecurityGroupSpec, SubnetSpec,
    TargetGroupSpec, TargetProtocol,
};
use crate::secret::Secret;
use crate::{
    Claim, Column, Condition, FieldErrors, KindInfo, Name, Object, Reference, Resource, Scope, Spec,
};

pub type LoadBalancer = Object<LoadBalancerSpec>;

const SUBNETS_MAX: usize = 8;
const GROUPS_MAX: usize = 16;
const LISTENERS_MAX: usize = 50;
const TARGET_GROUPS_MAX: usize = 100;
const IDLE_SECONDS_MAX: u32 = 4000;
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
    pub target_groups: Vec<TargetGroupSpec>,
    /// How long a connection may be silent, 1 to 4000 seconds; 350 when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout_seconds: Option<u32>,
    /// Deleting it is refused until this is taken back.
    #[serde(skip_serializing_if = "is_default")]
    pub protected: bool,
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
        let listeners = self.spec.listeners.iter();
        let names = listeners.flat_map(|listener| listener.more_tls.iter().chain([&listener.tls]));
        names.map(String::as_str).filter(|name| !name.is_empty()).collect()
    }

    /// Names of the groups that its listeners send to and that are objects of their own, each once.
    pub fn shared_target_groups(&self) -> BTreeSet<&str> {
        let listeners = self.spec.listeners.iter();
        let names = listeners.flat_map(|listener| listener.target_groups().map(|(name, _)| name));
        names.filter(|name| self.spec.own_group(name).is_none()).collect()
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
            group.check_inside(&field, errors);
            if !names.insert(group.name.as_str()) {
                errors.push(format!("{field}.name"), format!("{:?} is there twice", group.name));
            }
        }
        errors.require(
            self.idle_timeout_seconds.is_none_or(|seconds| (1..=IDLE_SECONDS_MAX).contains(&seconds)),
            "spec.idleTimeoutSeconds",
            "must be 1 to 4000",
        );
        let (mut ports, mut called) = (BTreeSet::new(), BTreeSet::new());
        for (i, listener) in self.listeners.iter().enumerate() {
            let field = format!("spec.listeners[{i}]");
            listener.validate(&field, errors);
            self.check_protocols(listener, &field, errors);
            if !listener.name.is_empty() && !called.insert(listener.name.as_str()) {
                errors.push(format!("{field}.name"), format!("{:?} is there twice", listener.name));
            }
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
            let first = spec.listeners.iter().position(|l| l.tls == secret);
            let more = || spec.listeners.iter().position(|l| l.more_tls.iter().any(|name| name == secret));
            let field = match first {
                Some(at) => format!("spec.listeners[{at}].tls"),
                None => format!("spec.listeners[{}].moreTls", more().unwrap_or_default()),
            };
            Reference::kept(Secret::KIND, meta, secret, field)
        });
        let shared = b
            .shared_target_groups()
            .into_iter()
            .filter_map(|name| Reference::kept(TargetGroupSpec::KIND, meta, name, spec.where_named(name)));
        subnets.chain(groups).chain(floating).chain(port).chain(secrets).chain(shared).collect()
    }
}

impl LoadBalancerSpec {
    /// The group of this name that it has in itself.
    pub fn own_group(&self, name: &str) -> Option<&TargetGroupSpec> {
        self.target_groups.iter().find(|group| group.name == name)
    }

    /// The first field that names a target group.
    pub fn where_named(&self, group: &str) -> String {
        let fields = self.listeners.iter().enumerate().flat_map(|(i, listener)| {
            listener.target_groups().map(move |(name, at)| (name, format!("spec.listeners[{i}].{at}")))
        });
        fields.into_iter().find(|(name, _)| *name == group).map(|(_, field)| field).unwrap_or_default()
    }

    /// Datagrams go to targets that take datagrams, and nothing else does.
    fn check_protocols(&self, listener: &Listener, field: &str, errors: &mut FieldErrors) {
        let group = self.own_group(&listener.target_group);
        errors.require(
            group.is_none_or(|group| listener.protocol.fits(group.protocol)),
            &format!("{field}.targetGroup"),
            DATAGRAMS,
        );
    }
}

/// That a listener and its target group are of protocol udp, or neither.
pub const DATAGRAMS: &str = "must be of protocol udp for a listener of protocol udp, and only for those";

impl ListenerProtocol {
    /// Whether what comes in can go to targets of this protocol.
    pub fn fits(self, target: TargetProtocol) -> bool {
        (self == Self::Udp) == (target == TargetProtocol::Udp)
    }
}
