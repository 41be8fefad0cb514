//! Gateway: a way out of a Vpc.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::rules::{check_name, require_name};
use super::{Address, FloatingIpSpec, GROUP, SubnetSpec, VpcSpec};
use crate::{Claim, Column, Condition, FieldErrors, KindInfo, Object, Reference, Scope, Spec};

pub type Gateway = Object<GatewaySpec>;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewaySpec {
    /// The Vpc that it belongs to. An `internet` gateway may be in none, and come into one later.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub vpc: String,
    #[serde(rename = "type")]
    pub gateway_type: GatewayType,
    /// The subnet that a `nat` gateway stands in: it reaches the outside where the subnet's route table leads to an
    /// `internet` gateway. Left out, it always does.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subnet: String,
    /// The FloatingIp that a `nat` gateway sends from, wherever the guests are: one host translates for all. Left out,
    /// every host translates for its own guests, to its own address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub floating_ip: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum GatewayType {
    /// In and out, for ports with a floating address.
    #[default]
    Internet,
    /// Out only, with the source translated.
    Nat,
    /// Out only, for IPv6, untranslated.
    Egress,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayStatus {
    /// The host that translates, of a gateway with `spec.floatingIp`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// The host's address between hosts, once it is ready to translate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_address: Option<Address>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

impl Object<GatewaySpec> {
    /// Whether one host does its work for all, rather than every host for its own guests.
    pub fn has_one_place(&self) -> bool {
        self.spec.gateway_type == GatewayType::Nat && !self.spec.floating_ip.is_empty()
    }
}

impl Spec for GatewaySpec {
    type Status = GatewayStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "Gateway",
        plural: "gateways",
        singular: "gateway",
        short_names: &["gw"],
        scope: Scope::Project,
        summary: "A way out of a Vpc.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        if self.gateway_type == GatewayType::Internet {
            check_name("spec.vpc", &self.vpc, errors);
        } else {
            require_name("spec.vpc", &self.vpc, "the Vpc that it belongs to", errors);
        }
        let is_nat = self.gateway_type == GatewayType::Nat;
        for (field, name) in [("spec.subnet", &self.subnet), ("spec.floatingIp", &self.floating_ip)] {
            errors.require(is_nat || name.is_empty(), field, "is only for spec.type nat; leave it out");
            check_name(field, name, errors);
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        let fixed = "cannot be changed; make a new gateway";
        // An internet gateway moves by way of no Vpc, so that nobody takes one from where it is used unawares.
        let moves = self.gateway_type == GatewayType::Internet && (self.vpc.is_empty() || old.vpc.is_empty());
        errors.require(self.vpc == old.vpc || moves, "spec.vpc", fixed);
        errors.require(self.gateway_type == old.gateway_type, "spec.type", fixed);
        errors.require(self.subnet == old.subnet, "spec.subnet", fixed);
    }

    fn columns() -> &'static [Column<Gateway>] {
        const COLUMNS: &[Column<Gateway>] = &[
            Column::text("Vpc", |g, _| json!(g.spec.vpc)),
            Column::text("Type", |g, _| json!(g.spec.gateway_type)),
            Column::text("FloatingIp", |g, _| json!(g.spec.floating_ip)),
            Column::text("Host", |g, _| json!(g.status.host)),
        ];
        COLUMNS
    }

    fn field(g: &Gateway, path: &str) -> Option<String> {
        (path == "spec.vpc").then(|| g.spec.vpc.clone())
    }

    fn claims(g: &Gateway) -> Vec<Claim> {
        let (project, spec) = (&g.metadata.namespace, &g.spec);
        let mut claims = Vec::new();
        if spec.gateway_type == GatewayType::Internet && !spec.vpc.is_empty() {
            let what = format!("the place of the internet gateway of vpc {:?}", spec.vpc);
            claims.push(Claim::new(format!("internet-gateway/{project}/{}", spec.vpc), "spec.vpc", what));
        }
        if !spec.floating_ip.is_empty() {
            claims.push(FloatingIpSpec::use_claim(project, &spec.floating_ip, "spec.floatingIp"));
        }
        claims
    }

    fn references(g: &Gateway) -> Vec<Reference> {
        let (meta, spec) = (&g.metadata, &g.spec);
        [
            Reference::kept(VpcSpec::KIND, meta, &spec.vpc, "spec.vpc"),
            Reference::kept(SubnetSpec::KIND, meta, &spec.subnet, "spec.subnet"),
            Reference::kept(FloatingIpSpec::KIND, meta, &spec.floating_ip, "spec.floatingIp"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
