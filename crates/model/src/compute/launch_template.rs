//! LaunchTemplate: what instances are started with, in versions, as AWS's clients give it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::GROUP;
use crate::{Claim, Column, FieldErrors, KindInfo, Object, Scope, Spec, Timestamp};

pub type LaunchTemplate = Object<LaunchTemplateSpec>;

const VERSIONS_MAX: usize = 100;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LaunchTemplateSpec {
    /// 3 to 128 letters, digits and `().-/_`; one of its name in a project.
    pub name: String,
    pub versions: Vec<LaunchTemplateVersion>,
    /// The version that counts where none is named.
    pub default_version: u32,
    /// Number of the next version: none is used twice.
    pub next_version: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LaunchTemplateVersion {
    pub number: u32,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Parameters of RunInstances, by their names there: `InstanceType`, `SecurityGroupId.1`.
    pub parameters: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LaunchTemplateStatus {}

impl LaunchTemplateSpec {
    pub fn version(&self, number: u32) -> Option<&LaunchTemplateVersion> {
        self.versions.iter().find(|version| version.number == number)
    }

    pub fn latest(&self) -> u32 {
        self.versions.iter().map(|version| version.number).max().unwrap_or_default()
    }
}

impl Spec for LaunchTemplateSpec {
    type Status = LaunchTemplateStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "LaunchTemplate",
        plural: "launchtemplates",
        singular: "launchtemplate",
        short_names: &["lt"],
        scope: Scope::Project,
        summary: "What instances are started with, in versions, as AWS's clients give it.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"().-/_".contains(&b);
        errors.require(
            (3..=128).contains(&self.name.len()) && self.name.bytes().all(plain),
            "spec.name",
            "must be 3 to 128 letters, digits and ().-/_",
        );
        errors.require(
            (1..=VERSIONS_MAX).contains(&self.versions.len()),
            "spec.versions",
            "must be 1 to 100; delete one that is not used",
        );
        errors.require(
            self.version(self.default_version).is_some(),
            "spec.defaultVersion",
            "must be the number of one of the versions",
        );
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        errors.require(self.name == old.name, "spec.name", "cannot be changed");
    }

    fn columns() -> &'static [Column<LaunchTemplate>] {
        const COLUMNS: &[Column<LaunchTemplate>] = &[
            Column::text("Called", |t, _| json!(t.spec.name)),
            Column::text("Default", |t, _| json!(t.spec.default_version.to_string())),
        ];
        COLUMNS
    }

    fn claims(template: &LaunchTemplate) -> Vec<Claim> {
        let name = &template.spec.name;
        vec![Claim::new(
            format!("launch-template/{}/{name}", template.metadata.namespace),
            "spec.name",
            format!("the name {name} of a launch template"),
        )]
    }
}
