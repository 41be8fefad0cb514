//! The common form of nearly all kinds: type, metadata, spec (what is wanted), status (what is).

use std::fmt::Debug;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Claim, Column, FieldErrors, KindInfo, ObjectMeta, Reference, Resource, Resources};

/// The wanted state of one kind, and with it everything that is particular to the kind.
pub trait Spec:
    Serialize + DeserializeOwned + JsonSchema + Clone + Default + Debug + PartialEq + Send + Sync + 'static
{
    type Status: Serialize
        + DeserializeOwned
        + JsonSchema
        + Clone
        + Default
        + Debug
        + PartialEq
        + Send
        + Sync
        + 'static;
    const KIND: KindInfo;

    fn set_defaults(&mut self) {}
    fn validate(&self, _errors: &mut FieldErrors) {}
    /// Rules about what may change; `self` is the new spec.
    fn validate_update(&self, _old: &Self, _errors: &mut FieldErrors) {}
    fn columns() -> &'static [Column<Object<Self>>] {
        &[]
    }
    fn field(_object: &Object<Self>, _path: &str) -> Option<String> {
        None
    }
    fn charge(&self) -> Resources {
        Resources::ZERO
    }
    /// What the object has for itself alone.
    fn claims(_object: &Object<Self>) -> Vec<Claim> {
        Vec::new()
    }
    /// Other objects that it needs.
    fn references(_object: &Object<Self>) -> Vec<Reference> {
        Vec::new()
    }
}

/// An object with a spec and a status.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", bound(deserialize = ""))]
#[schemars(bound = "", rename = "Object")]
pub struct Object<S: Spec> {
    #[serde(default)]
    pub api_version: String,
    #[serde(default)]
    pub kind: String,
    #[serde(default)]
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: S,
    #[serde(default)]
    pub status: S::Status,
}

impl<S: Spec> Object<S> {
    pub fn new(metadata: ObjectMeta, spec: S) -> Self {
        Self {
            api_version: S::KIND.api_version(),
            kind: S::KIND.kind.into(),
            metadata,
            spec,
            status: S::Status::default(),
        }
    }
}

impl<S: Spec> Resource for Object<S> {
    const KIND: KindInfo = S::KIND;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
    fn set_type(&mut self) {
        self.api_version = S::KIND.api_version();
        self.kind = S::KIND.kind.into();
    }
    fn set_defaults(&mut self) {
        self.spec.set_defaults();
    }
    fn validate(&self, errors: &mut FieldErrors) {
        self.spec.validate(errors);
    }
    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        self.spec.validate_update(&old.spec, errors);
    }
    fn columns() -> &'static [Column<Self>] {
        S::columns()
    }
    fn field(&self, path: &str) -> Option<String> {
        S::field(self, path)
    }
    fn charge(&self) -> Resources {
        self.spec.charge()
    }
    fn claims(&self) -> Vec<Claim> {
        S::claims(self)
    }
    fn references(&self) -> Vec<Reference> {
        S::references(self)
    }
    fn keep_status_of(&mut self, old: &Self) {
        self.status = old.status.clone();
    }
    fn keep_spec_of(&mut self, old: &Self) {
        let status = std::mem::take(&mut self.status);
        *self = Self { status, ..old.clone() };
    }
    fn clear_status(&mut self) {
        self.status = S::Status::default();
    }
    fn same_spec(&self, old: &Self) -> bool {
        self.spec == old.spec
    }
}
