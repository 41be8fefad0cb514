//! Object metadata by the Kubernetes API conventions: identity, versions, labels, owners, finalizers.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{FieldErrors, Name, Timestamp, Uid};

/// Most labels or annotations on one object.
const LABELS_MAX: usize = 64;
/// Most bytes of all annotations together (the Kubernetes limit).
const ANNOTATIONS_MAX_BYTES: usize = 256 * 1024;

/// What every object carries beside its spec and status.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectMeta {
    /// Unique within kind and project.
    pub name: String,
    /// Prefix from which the server makes a unique name when `name` is empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub generate_name: String,
    /// The project this object belongs to; empty for cluster-wide kinds.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    #[serde(skip_serializing_if = "Uid::is_unset")]
    pub uid: Uid,
    /// The store's revision of the last change; opaque to clients, compared on update.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    /// Counts changes of the spec.
    #[serde(skip_serializing_if = "is_zero")]
    pub generation: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<Timestamp>,
    /// Set when deletion was asked for; the object goes when its finalizers are gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_grace_period_seconds: Option<i64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub finalizers: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["uid"]))]
    pub owner_references: Vec<OwnerReference>,
    /// Who set which field (server-side apply).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub managed_fields: Vec<serde_json::Value>,
    /// Deprecated in Kubernetes; accepted and dropped.
    #[serde(skip_serializing)]
    #[schemars(skip)]
    pub self_link: Option<String>,
}

/// The object that this one exists for; when it goes, this one goes too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OwnerReference {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: Uid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_owner_deletion: Option<bool>,
}

impl ObjectMeta {
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    pub fn in_project(project: impl Into<String>, name: impl Into<String>) -> Self {
        Self { name: name.into(), namespace: project.into(), ..Self::default() }
    }

    pub fn is_deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    /// `project/name`, or just `name` for a cluster-wide object: the key of work queues and caches.
    pub fn key(&self) -> String {
        if self.namespace.is_empty() {
            self.name.clone()
        } else {
            format!("{}/{}", self.namespace, self.name)
        }
    }

    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|owner| owner.controller == Some(true))
    }

    pub fn validate(&self, errors: &mut FieldErrors) {
        if let Err(e) = Name::new(&self.name) {
            errors.push("metadata.name", e.to_string());
        }
        validate_labels("metadata.labels", &self.labels, errors);
        for key in self.annotations.keys() {
            validate_key("metadata.annotations", key, errors);
        }
        let size: usize = self.annotations.iter().map(|(k, v)| k.len() + v.len()).sum();
        if size > ANNOTATIONS_MAX_BYTES {
            errors.push(
                "metadata.annotations",
                format!("{size} bytes, at most {ANNOTATIONS_MAX_BYTES} are allowed"),
            );
        }
        for (i, owner) in self.owner_references.iter().enumerate() {
            errors.require(
                !owner.uid.is_unset(),
                &format!("metadata.ownerReferences[{i}].uid"),
                "must be set",
            );
        }
        for finalizer in &self.finalizers {
            errors.require(
                is_qualified_name(finalizer),
                "metadata.finalizers",
                "must look like prefix.example.org/name",
            );
        }
    }
}

/// The rules for labels, wherever an object carries some.
pub(crate) fn validate_labels(field: &str, labels: &BTreeMap<String, String>, errors: &mut FieldErrors) {
    if labels.len() > LABELS_MAX {
        errors.push(field, format!("has {} entries, at most {LABELS_MAX} are allowed", labels.len()));
    }
    for (key, value) in labels {
        validate_key(field, key, errors);
        errors.require(
            is_label_value(value),
            &format!("{field}[{key}]"),
            "value must be at most 63 letters, digits, '-', '_' or '.', starting and ending with a letter or digit",
        );
    }
}

fn validate_key(field: &str, key: &str, errors: &mut FieldErrors) {
    errors.require(
        is_qualified_name(key),
        &format!("{field}[{key}]"),
        "key must look like name or prefix.example.org/name",
    );
}

// serde's skip_serializing_if hands out a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn is_qualified_name(key: &str) -> bool {
    let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    prefix.is_none_or(|prefix| Name::new(prefix).is_ok()) && !name.is_empty() && is_label_value(name)
}

fn is_label_value(value: &str) -> bool {
    let alphanumeric_at = |b: Option<&u8>| b.is_none_or(u8::is_ascii_alphanumeric);
    value.len() <= 63
        && alphanumeric_at(value.as_bytes().first())
        && alphanumeric_at(value.as_bytes().last())
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}
