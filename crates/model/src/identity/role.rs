//! Role (what may be done) and RoleBinding (by whom, where). Deny wins over allow; nothing is allowed by default.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::GROUP;
use crate::{Column, FieldErrors, KindInfo, Object, Scope, Spec};

pub type Role = Object<RoleSpec>;
pub type RoleBinding = Object<RoleBindingSpec>;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RoleSpec {
    pub rules: Vec<Rule>,
}

/// Allows or denies verbs on resources. `*` stands for all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    pub effect: Effect,
    /// get, list, watch, create, update, patch, delete, or a subresource's own verb such as exec.
    pub verbs: Vec<String>,
    /// Plural names with an optional subresource: `instances`, `instances/console`, `*`.
    pub resources: Vec<String>,
    /// API groups; empty means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Only objects of these names; empty means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Effect {
    #[default]
    Allow,
    Deny,
}

/// Grants a role to subjects, in the listed projects or everywhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RoleBindingSpec {
    pub role: String,
    pub subjects: Vec<Subject>,
    /// Projects in which it holds; `*` alone means all projects and cloud-wide kinds too.
    pub projects: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Subject {
    pub kind: SubjectKind,
    pub name: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum SubjectKind {
    #[default]
    User,
    Group,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoleStatus {}

impl Spec for RoleSpec {
    type Status = RoleStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "Role",
        plural: "roles",
        singular: "role",
        short_names: &[],
        scope: Scope::Cloud,
        summary: "What may be done: verbs on resources, allowed or denied.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        for (i, rule) in self.rules.iter().enumerate() {
            errors.require(
                !rule.verbs.is_empty(),
                &format!("spec.rules[{i}].verbs"),
                "must not be empty; * means all",
            );
            errors.require(
                !rule.resources.is_empty(),
                &format!("spec.rules[{i}].resources"),
                "must not be empty; * means all",
            );
        }
    }
}

impl Spec for RoleBindingSpec {
    type Status = RoleStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "RoleBinding",
        plural: "rolebindings",
        singular: "rolebinding",
        short_names: &["rb"],
        scope: Scope::Cloud,
        summary: "Grants a role to users and groups in projects.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        errors.require(!self.role.is_empty(), "spec.role", "must name a role");
        errors.require(!self.subjects.is_empty(), "spec.subjects", "must not be empty");
        errors.require(!self.projects.is_empty(), "spec.projects", "must not be empty; * means all");
        for (i, s) in self.subjects.iter().enumerate() {
            errors.require(!s.name.is_empty(), &format!("spec.subjects[{i}].name"), "must be set");
        }
    }

    fn columns() -> &'static [Column<RoleBinding>] {
        const COLUMNS: &[Column<RoleBinding>] = &[
            Column::text("Role", |b, _| json!(b.spec.role)),
            Column::text("Subjects", |b, _| {
                json!(b.spec.subjects.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(","))
            }),
            Column::text("Projects", |b, _| json!(b.spec.projects.join(","))),
        ];
        COLUMNS
    }
}
