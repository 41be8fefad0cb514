//! InstanceSet: keeps a number of equal instances.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{GROUP, InstanceSpec};
use crate::meta::validate_labels;
use crate::{Column, Condition, FieldErrors, KindInfo, Object, Scope, Spec};

pub type InstanceSet = Object<InstanceSetSpec>;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct InstanceSetSpec {
    /// How many instances there should be, at most 100,000.
    pub replicas: u32,
    pub template: InstanceTemplate,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct InstanceTemplate {
    pub metadata: TemplateMeta,
    pub spec: InstanceSpec,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TemplateMeta {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct InstanceSetStatus {
    pub observed_generation: u64,
    /// Instances that exist and are not being deleted.
    pub replicas: u32,
    /// Instances that run.
    pub ready_replicas: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

impl Spec for InstanceSetSpec {
    type Status = InstanceSetStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "InstanceSet",
        plural: "instancesets",
        singular: "instanceset",
        short_names: &["set", "sets", "iset"],
        scope: Scope::Project,
        summary: "Keeps a number of equal instances.",
    };

    fn set_defaults(&mut self) {
        self.template.spec.set_defaults();
    }

    fn validate(&self, errors: &mut FieldErrors) {
        errors.require(self.replicas <= 100_000, "spec.replicas", "must be at most 100000");
        validate_labels("spec.template.metadata.labels", &self.template.metadata.labels, errors);
        let mut inner = FieldErrors::default();
        self.template.spec.validate(&mut inner);
        for e in inner.iter() {
            errors.push(format!("spec.template.{}", e.field), e.message.clone());
        }
        for (i, network) in self.template.spec.networks.iter().enumerate() {
            errors.require(
                network.port.is_empty() && network.address.is_none(),
                &format!("spec.template.spec.networks[{i}]"),
                "must name a subnet only: a port or an address cannot be that of every member",
            );
        }
    }

    fn columns() -> &'static [Column<InstanceSet>] {
        const COLUMNS: &[Column<InstanceSet>] = &[
            Column::integer("Desired", |s, _| json!(s.spec.replicas)),
            Column::integer("Current", |s, _| json!(s.status.replicas)),
            Column::integer("Ready", |s, _| json!(s.status.ready_replicas)),
        ];
        COLUMNS
    }
}
