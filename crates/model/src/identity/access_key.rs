//! AccessKey: a credential of a user: a token, of which only a digest is kept, or a key that signs requests, whose
//! secret is kept sealed. What is secret is shown once, to who makes it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::GROUP;
use crate::{Claim, Column, FieldErrors, KindInfo, Name, Object, Scope, Spec, Timestamp};

pub type AccessKey = Object<AccessKeySpec>;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AccessKeySpec {
    pub user: String,
    /// SHA-256 of a bearer token, 64 hexadecimal digits.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub token_sha256: String,
    /// The public half of a key that signs requests, as AWS's clients do: 16 to 128 letters, digits and `_`. Given by
    /// the server when left out beside a `secret`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub access_key_id: String,
    /// The secret half, 16 to 128 visible characters. Only written: the server seals it and never shows it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub secret: String,
    /// The secret half as the server keeps it. Only the server makes and opens it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sealed_secret: String,
    /// The project in which a key that signs requests works; `default` when not given.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub project: String,
    /// After this time the key is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccessKeyStatus {}

impl AccessKeySpec {
    /// The project in which requests signed with it are carried out.
    pub fn project(&self) -> &str {
        if self.project.is_empty() { "default" } else { &self.project }
    }

    /// Whom a sealed secret is for: it opens for no other key, user or project.
    pub fn seal_owner(&self) -> String {
        format!("accesskey/{}/{}/{}", self.access_key_id, self.user, self.project())
    }

    fn signs(&self) -> bool {
        !self.access_key_id.is_empty() || !self.sealed_secret.is_empty() || !self.secret.is_empty()
    }
}

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
        summary: "A credential of a user: a token, or a key that signs requests.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        errors.require(!self.user.is_empty(), "spec.user", "must name a user");
        if let (false, Err(e)) = (self.project.is_empty(), Name::new(&self.project)) {
            errors.push("spec.project", e.to_string());
        }
        if self.signs() {
            let id = &self.access_key_id;
            let plain = id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            errors.require(
                plain && (16..=128).contains(&id.len()),
                "spec.accessKeyId",
                "must be 16 to 128 letters, digits and '_'; left out, the server gives one",
            );
            errors.require(
                !self.sealed_secret.is_empty(),
                "spec.secret",
                "must be given when the key is made",
            );
            errors.require(
                self.token_sha256.is_empty(),
                "spec.tokenSha256",
                "is for tokens; a key that signs requests has an accessKeyId and a secret",
            );
            return;
        }
        let hex = self.token_sha256.len() == 64 && self.token_sha256.bytes().all(|b| b.is_ascii_hexdigit());
        errors.require(
            hex,
            "spec.tokenSha256",
            "must be 64 hexadecimal digits; `corten token create` makes one (or give a secret, for a key that signs)",
        );
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        errors.require(self.user == old.user, "spec.user", "cannot be changed; make a new key");
        let fixed = "cannot be changed; make a new key";
        errors.require(self.token_sha256 == old.token_sha256, "spec.tokenSha256", fixed);
        errors.require(self.access_key_id == old.access_key_id, "spec.accessKeyId", fixed);
        errors.require(self.sealed_secret == old.sealed_secret, "spec.secret", fixed);
        errors.require(self.project() == old.project(), "spec.project", fixed);
    }

    fn columns() -> &'static [Column<AccessKey>] {
        const COLUMNS: &[Column<AccessKey>] = &[
            Column::text("User", |k, _| json!(k.spec.user)),
            Column::text("Signs", |k, _| json!(k.spec.access_key_id)),
            Column::text("Expires", |k, _| json!(k.spec.expires.map_or_else(String::new, |t| t.to_string()))),
        ];
        COLUMNS
    }

    fn claims(key: &AccessKey) -> Vec<Claim> {
        let id = &key.spec.access_key_id;
        let claim =
            || Claim::new(format!("access-key/{id}"), "spec.accessKeyId", format!("access key id {id}"));
        (!id.is_empty()).then(claim).into_iter().collect()
    }
}
