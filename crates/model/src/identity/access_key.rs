//! AccessKey: a credential of a user. Only a digest of the secret is kept; the secret is shown once.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::GROUP;
use crate::{Column, FieldErrors, KindInfo, Object, Scope, Spec, Timestamp};

pub type AccessKey = Object<AccessKeySpec>;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AccessKeySpec {
    pub user: String,
    /// SHA-256 of a bearer token, 64 hexadecimal digits.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub token_sha256: String,
    /// After this time the key is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccessKeyStatus {}

impl Spec for AccessKeySpec {
    type Status = AccessKeyStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "AccessKey",
        plural: "accesskeys",
        singular: "accesskey",
        short_names: &["ak", "token", "tokens"],
        scope: Scope::Cloud,
        summary: "A credential of a user; only a digest of the secret is kept.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        errors.require(!self.user.is_empty(), "spec.user", "must name a user");
        let hex = self.token_sha256.len() == 64 && self.token_sha256.bytes().all(|b| b.is_ascii_hexdigit());
        errors.require(
            hex,
            "spec.tokenSha256",
            "must be 64 hexadecimal digits; `corten token create` makes one",
        );
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        errors.require(self.user == old.user, "spec.user", "cannot be changed; make a new key");
        errors.require(
            self.token_sha256 == old.token_sha256,
            "spec.tokenSha256",
            "cannot be changed; make a new key",
        );
    }

    fn columns() -> &'static [Column<AccessKey>] {
        const COLUMNS: &[Column<AccessKey>] = &[
            Column::text("User", |k, _| json!(k.spec.user)),
            Column::text("Expires", |k, _| json!(k.spec.expires.map_or_else(String::new, |t| t.to_string()))),
        ];
        COLUMNS
    }
}
