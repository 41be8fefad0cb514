//! KeyPair: the public half of an SSH key that guests accept. The private half never reaches Corten.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::GROUP;
use crate::{Column, FieldErrors, KindInfo, Object, Scope, Spec};

pub type KeyPair = Object<KeyPairSpec>;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct KeyPairSpec {
    /// One line of OpenSSH's `authorized_keys` form.
    pub public_key: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyPairStatus {}

impl Spec for KeyPairSpec {
    type Status = KeyPairStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "KeyPair",
        plural: "keypairs",
        singular: "keypair",
        short_names: &["key", "keys", "kp"],
        scope: Scope::Project,
        summary: "The public half of an SSH key that guests accept.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        let key = &self.public_key;
        let sort = key.split_whitespace().next().unwrap_or("");
        let known =
            ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"];
        errors.require(
            known.contains(&sort) && key.split_whitespace().count() >= 2,
            "spec.publicKey",
            "must be an OpenSSH public key such as \"ssh-ed25519 AAAA... me@here\"",
        );
        errors.require(!key.contains(['\n', '\r', '\0']), "spec.publicKey", "must be one line");
        errors.require(key.len() <= 8192, "spec.publicKey", "must be at most 8192 bytes");
    }

    fn columns() -> &'static [Column<KeyPair>] {
        const COLUMNS: &[Column<KeyPair>] =
            &[Column::text("Type", |k, _| json!(k.spec.public_key.split_whitespace().next().unwrap_or("")))];
        COLUMNS
    }
}
