//! Secret: small values that not everyone may read, in the form of Kubernetes' core `v1` Secret. Lists as
//! tables show names of values only.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Column, FieldErrors, KindInfo, ObjectMeta, Resource, Resources, Scope};

/// Most bytes of all values together.
const DATA_MAX_BYTES: usize = 256 * 1024;
const KEY_MAX_BYTES: usize = 253;

/// A certificate chain and its key, both PEM.
pub const TLS: &str = "kubernetes.io/tls";
pub const TLS_CERTIFICATE: &str = "tls.crt";
pub const TLS_KEY: &str = "tls.key";
const OPAQUE: &str = "Opaque";

/// A value of a secret as it is written; what is logged is only that there is one.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Sealed(String);

impl Sealed {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(sealed)")
    }
}

/// Small values that not everyone may read, such as a certificate with its key.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Secret {
    pub api_version: String,
    pub kind: String,
    pub metadata: ObjectMeta,
    /// `kubernetes.io/tls` has `tls.crt` and `tls.key`, PEM, checked to belong together; `Opaque` has anything.
    #[serde(rename = "type")]
    pub secret_type: String,
    /// The values by name, each in base64.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, Sealed>,
    /// Values as plain text; the server keeps them in `data`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub string_data: BTreeMap<String, Sealed>,
}

impl Secret {
    /// A certificate chain and its key.
    pub fn tls(meta: ObjectMeta, certificate: impl Into<String>, key: impl Into<String>) -> Self {
        let mut secret = Self { metadata: meta, secret_type: TLS.into(), ..Self::default() };
        secret.string_data.insert(TLS_CERTIFICATE.into(), Sealed(certificate.into()));
        secret.string_data.insert(TLS_KEY.into(), Sealed(key.into()));
        Resource::set_defaults(&mut secret);
        secret.set_type();
        secret
    }

    /// A value; `None` when there is none, or it is not base64.
    pub fn value(&self, name: &str) -> Option<Vec<u8>> {
        STANDARD.decode(&self.data.get(name)?.0).ok()
    }
}

impl Resource for Secret {
    const KIND: KindInfo = KindInfo {
        group: "",
        version: "v1",
        kind: "Secret",
        plural: "secrets",
        singular: "secret",
        short_names: &[],
        scope: Scope::Project,
        summary: "Small values that not everyone may read, such as a certificate with its key.",
    };

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
    fn set_type(&mut self) {
        self.api_version = "v1".into();
        self.kind = "Secret".into();
    }
    fn set_defaults(&mut self) {
        if self.secret_type.is_empty() {
            self.secret_type = OPAQUE.into();
        }
        for (name, text) in std::mem::take(&mut self.string_data) {
            self.data.insert(name, Sealed(STANDARD.encode(text.0)));
        }
    }
    fn validate(&self, errors: &mut FieldErrors) {
        let mut total = 0;
        for (name, value) in &self.data {
            let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
            let field = format!("data.{name}");
            if name.is_empty() || name.len() > KEY_MAX_BYTES || !name.bytes().all(fine) {
                errors.push(&field, "must have a name of letters, digits, '-', '_' and '.'");
            }
            match STANDARD.decode(&value.0) {
                Ok(bytes) => total += bytes.len(),
                Err(_) => errors.push(&field, "must be base64; plain text goes into stringData"),
            }
        }
        if total > DATA_MAX_BYTES {
            errors.push("data", format!("is {total} bytes, at most {DATA_MAX_BYTES} are allowed"));
        }
        if self.secret_type == TLS {
            for name in [TLS_CERTIFICATE, TLS_KEY] {
                let field = format!("data.{name}");
                errors.require(
                    self.data.contains_key(name),
                    &field,
                    "must be set for type kubernetes.io/tls",
                );
            }
        }
    }
    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        let message = "cannot be changed; make a new secret";
        errors.require(self.secret_type == old.secret_type, "type", message);
    }
    fn columns() -> &'static [Column<Self>] {
        const COLUMNS: &[Column<Secret>] = &[
            Column::text("Type", |s, _| json!(s.secret_type)),
            Column::text("Data", |s, _| json!(s.data.keys().cloned().collect::<Vec<_>>().join(","))),
        ];
        COLUMNS
    }
    fn field(&self, path: &str) -> Option<String> {
        (path == "type").then(|| self.secret_type.clone())
    }
    fn charge(&self) -> Resources {
        Resources::ZERO
    }
    fn keep_status_of(&mut self, _old: &Self) {}
    fn keep_spec_of(&mut self, old: &Self) {
        // There is no status: a report changes nothing.
        *self = Self { metadata: std::mem::take(&mut self.metadata), ..old.clone() };
    }
    fn clear_status(&mut self) {}
    fn same_spec(&self, old: &Self) -> bool {
        (&self.secret_type, &self.data) == (&old.secret_type, &old.data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_kept_in_base64_and_never_told() {
        let secret = Secret::tls(ObjectMeta::in_project("p", "site"), "certificate", "hush");
        assert_eq!(secret.value(TLS_KEY).as_deref(), Some(&b"hush"[..]));
        assert_eq!(serde_json::to_value(&secret).unwrap()["data"]["tls.key"], json!("aHVzaA=="));
        let told = format!("{secret:?} {:?}", Secret::columns()[1]);
        assert!(!told.contains("hush") && !told.contains("aHVzaA"), "{told}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |data: &[(&str, &str)], kind: &str, field: &str| {
            let mut secret = Secret { secret_type: kind.into(), ..Secret::default() };
            secret.data = data.iter().map(|(k, v)| ((*k).to_owned(), Sealed::new(*v))).collect();
            let mut errors = FieldErrors::default();
            Resource::validate(&secret, &mut errors);
            assert!(errors.iter().any(|e| e.field == field), "{field}: {errors}");
        };
        check(&[("a/b", "")], "Opaque", "data.a/b");
        check(&[("a", "not base64!")], "Opaque", "data.a");
        check(&[("tls.crt", "")], TLS, "data.tls.key");
    }
}
