//! User: a person or a program that calls the API.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::GROUP;
use crate::{Column, FieldErrors, KindInfo, Object, Scope, Spec};

pub type User = Object<UserSpec>;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct UserSpec {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// Names of groups; role bindings may speak of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Refuse every call of this user.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub email: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserStatus {}

impl Spec for UserSpec {
    type Status = UserStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "User",
        plural: "users",
        singular: "user",
        short_names: &[],
        scope: Scope::Cloud,
        summary: "A person or a program that calls the API.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        for (i, group) in self.groups.iter().enumerate() {
            errors.require(
                !group.is_empty() && !group.starts_with("corten:"),
                &format!("spec.groups[{i}]"),
                "must be set and must not begin with corten:, which is for the cloud's own parts",
            );
        }
    }

    fn columns() -> &'static [Column<User>] {
        const COLUMNS: &[Column<User>] = &[
            Column::text("Groups", |u, _| json!(u.spec.groups.join(","))),
            Column::wide_text("Disabled", |u, _| json!(u.spec.disabled.to_string())),
        ];
        COLUMNS
    }
}
