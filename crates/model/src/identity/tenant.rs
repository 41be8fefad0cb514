//! Domain (a tree of organisations) and Project (the namespace that owns things).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::GROUP;
use crate::{Column, Condition, KindInfo, Object, Scope, Spec};

pub type Domain = Object<DomainSpec>;
pub type Project = Object<ProjectSpec>;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DomainSpec {
    /// The domain above; empty at the root.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub parent: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ProjectSpec {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TenantStatus {}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ProjectStatus {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

impl Spec for DomainSpec {
    type Status = TenantStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "Domain",
        plural: "domains",
        singular: "domain",
        short_names: &[],
        scope: Scope::Cloud,
        summary: "An organisation; domains form a tree.",
    };
}

impl Spec for ProjectSpec {
    type Status = ProjectStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "Project",
        plural: "projects",
        singular: "project",
        short_names: &["proj"],
        scope: Scope::Cloud,
        summary: "What owns instances, images and keys; the namespace of the API.",
    };

    fn columns() -> &'static [Column<Project>] {
        const COLUMNS: &[Column<Project>] = &[Column::text("Domain", |p, _| json!(p.spec.domain))];
        COLUMNS
    }
}
