//! Peering: one side's word that two Vpcs may talk. They do when the other side has said the same.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::rules::{check_name, is_default, require_name};
use super::{GROUP, VpcSpec};
use crate::{Claim, Column, Condition, FieldErrors, KindInfo, Object, Reference, Scope, Spec};

pub type Peering = Object<PeeringSpec>;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PeeringSpec {
    /// The Vpc on this side.
    pub vpc: String,
    /// The project of the Vpc on the other side; this one when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub peer_project: String,
    /// The Vpc on the other side. A Peering there has to name this one.
    pub peer_vpc: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PeeringStatus {
    /// Both sides have agreed, and their ranges are apart.
    #[serde(skip_serializing_if = "is_default")]
    pub active: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

impl PeeringSpec {
    /// The project on the other side, of a peering in `own`.
    pub fn peer_project<'a>(&'a self, own: &'a str) -> &'a str {
        if self.peer_project.is_empty() { own } else { &self.peer_project }
    }

    /// Whether `other` says the same from the other side.
    pub fn is_answered(own: &Peering, other: &Peering) -> bool {
        let (here, there) = (&own.metadata.namespace, &other.metadata.namespace);
        own.spec.peer_project(here) == there
            && other.spec.peer_project(there) == here
            && own.spec.peer_vpc == other.spec.vpc
            && other.spec.peer_vpc == own.spec.vpc
            && !own.metadata.is_deleting()
            && !other.metadata.is_deleting()
    }
}

impl Spec for PeeringSpec {
    type Status = PeeringStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "Peering",
        plural: "peerings",
        singular: "peering",
        short_names: &[],
        scope: Scope::Project,
        summary: "One side's word that two Vpcs may talk.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        require_name("spec.vpc", &self.vpc, "the Vpc on this side", errors);
        check_name("spec.peerProject", &self.peer_project, errors);
        require_name("spec.peerVpc", &self.peer_vpc, "the Vpc on the other side", errors);
        errors.require(
            !self.peer_project.is_empty() || self.vpc.is_empty() || self.vpc != self.peer_vpc,
            "spec.peerVpc",
            "must be another Vpc",
        );
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        let fixed = "cannot be changed; make a new peering";
        errors.require(self.vpc == old.vpc, "spec.vpc", fixed);
        errors.require(self.peer_project == old.peer_project, "spec.peerProject", fixed);
        errors.require(self.peer_vpc == old.peer_vpc, "spec.peerVpc", fixed);
    }

    fn columns() -> &'static [Column<Peering>] {
        const COLUMNS: &[Column<Peering>] = &[
            Column::text("Vpc", |p, _| json!(p.spec.vpc)),
            Column::text("Peer", |p, _| {
                json!(format!("{}/{}", p.spec.peer_project(&p.metadata.namespace), p.spec.peer_vpc))
            }),
            Column::text("Active", |p, _| json!(if p.status.active { "yes" } else { "no" })),
        ];
        COLUMNS
    }

    fn claims(p: &Peering) -> Vec<Claim> {
        let project = &p.metadata.namespace;
        let peer = p.spec.peer_project(project);
        let key = format!("peering/{project}/{}/{peer}/{}", p.spec.vpc, p.spec.peer_vpc);
        let what = format!("the peering of vpc {:?} with {:?}", p.spec.vpc, p.spec.peer_vpc);
        vec![Claim::new(key, "spec.peerVpc", what)]
    }

    fn references(p: &Peering) -> Vec<Reference> {
        Reference::kept(VpcSpec::KIND, &p.metadata, &p.spec.vpc, "spec.vpc").into_iter().collect()
    }
}
