//! TargetGroup: targets that are alike, and how they are asked whether they do.
//!
//! A load balancer may have its groups in itself. One that is an object of its own is there before and after the
//! balancers whose listeners name it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::listener::check_path;
use super::rules::{at_most, check_name, is_default, require_name};
use super::{Address, GROUP, VpcSpec};
use crate::meta::validate_labels;
use crate::{Column, FieldErrors, KindInfo, Object, Reference, Scope, Spec};

pub type TargetGroup = Object<TargetGroupSpec>;

const TARGETS_MAX: usize = 1000;
const DISPLAY_NAME_MAX: usize = 63;

/// Targets that are alike.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetGroupSpec {
    /// In a load balancer: what its listeners call the group. In an object of its own: what people call it; the object's
    /// name when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The Vpc of the targets, in an object of its own.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub vpc: String,
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

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TargetGroupStatus {}

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
    /// How a target is asked; as the group's protocol says when left out: http and https by a request, others by a
    /// connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<TargetProtocol>,
    /// What is asked for, for protocol http and https.
    pub path: String,
    /// Good answers, as in `200-299,404`; 200 to 399 when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub statuses: String,
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
            protocol: None,
            path: "/".into(),
            statuses: String::new(),
            port: None,
            interval_seconds: 10,
            timeout_seconds: 5,
            healthy_after: 3,
            unhealthy_after: 3,
        }
    }
}

impl Spec for TargetGroupSpec {
    type Status = TargetGroupStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "TargetGroup",
        plural: "targetgroups",
        singular: "targetgroup",
        short_names: &["tg"],
        scope: Scope::Project,
        summary: "Targets that are alike, for listeners of load balancers.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        require_name("spec.vpc", &self.vpc, "the Vpc of the targets", errors);
        errors.require(
            self.name.chars().count() <= DISPLAY_NAME_MAX && !self.name.chars().any(char::is_control),
            "spec.name",
            "must have at most 63 characters, and be one line",
        );
        self.check("spec", errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        let fixed = "cannot be changed; make a new target group";
        errors.require(self.vpc == old.vpc, "spec.vpc", fixed);
        errors.require(self.protocol == old.protocol, "spec.protocol", fixed);
    }

    fn columns() -> &'static [Column<TargetGroup>] {
        const COLUMNS: &[Column<TargetGroup>] = &[
            Column::text("Protocol", |g, _| json!(g.spec.protocol)),
            Column::integer("Port", |g, _| json!(g.spec.port)),
            Column::integer("Targets", |g, _| json!(g.spec.targets.len())),
            Column::text("Vpc", |g, _| json!(g.spec.vpc)),
        ];
        COLUMNS
    }

    fn references(group: &TargetGroup) -> Vec<Reference> {
        Reference::kept(VpcSpec::KIND, &group.metadata, &group.spec.vpc, "spec.vpc").into_iter().collect()
    }
}

impl TargetGroupSpec {
    /// Of one that a load balancer has in itself.
    pub(super) fn check_inside(&self, field: &str, errors: &mut FieldErrors) {
        require_name(&format!("{field}.name"), &self.name, "the group", errors);
        errors.require(
            self.vpc.is_empty(),
            &format!("{field}.vpc"),
            "is the load balancer's own; leave it out",
        );
        self.check(field, errors);
    }

    fn check(&self, field: &str, errors: &mut FieldErrors) {
        errors.require(self.port > 0, &format!("{field}.port"), "must be 1 to 65535");
        at_most(&format!("{field}.targets"), &self.targets, TARGETS_MAX, errors);
        validate_labels(&format!("{field}.instanceLabels"), &self.instance_labels, errors);
        for (i, target) in self.targets.iter().enumerate() {
            target.check(&format!("{field}.targets[{i}]"), errors);
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

impl Target {
    fn check(&self, at: &str, errors: &mut FieldErrors) {
        errors.require(
            self.instance.is_empty() != self.address.is_none(),
            at,
            "must be exactly one of instance and address",
        );
        check_name(&format!("{at}.instance"), &self.instance, errors);
        errors.require(self.port != Some(0), &format!("{at}.port"), "must be 1 to 65535");
        errors.require(
            self.weight.is_none_or(|weight| (1..=256).contains(&weight)),
            &format!("{at}.weight"),
            "must be 1 to 256",
        );
    }
}

impl HealthCheck {
    fn validate(&self, field: &str, errors: &mut FieldErrors) {
        check_path(&format!("{field}.path"), &self.path, errors);
        errors.require(self.port != Some(0), &format!("{field}.port"), "must be 1 to 65535");
        errors.require(
            self.protocol != Some(TargetProtocol::Udp),
            &format!("{field}.protocol"),
            "must be tcp, http or https",
        );
        errors.require(
            self.statuses.is_empty() || self.statuses.split(',').all(is_status_range),
            &format!("{field}.statuses"),
            "must be answers of HTTP or ranges of them, such as 200-299,404",
        );
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

/// One answer of HTTP, or two with a dash between.
fn is_status_range(text: &str) -> bool {
    let number = |text: &str| text.parse::<u16>().ok().filter(|n| (100..600).contains(n) && text.len() == 3);
    match text.split_once('-') {
        None => number(text).is_some(),
        Some((first, last)) => number(first).zip(number(last)).is_some_and(|(first, last)| first <= last),
    }
}
