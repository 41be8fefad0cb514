//! What all kinds have in common, as traits: static facts about a kind, and the verbs' hooks.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Claim, FieldErrors, ObjectMeta, Reference, Resources, Timestamp};

/// Whether objects of a kind live in a project or belong to the whole cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Project,
    Cloud,
}

/// The static facts of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KindInfo {
    /// API group, e.g. `compute.corten.dev`; empty for the core group.
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    pub scope: Scope,
    /// One sentence for `explain`.
    pub summary: &'static str,
}

impl KindInfo {
    /// `group/version`, or just the version in the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.into() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `plural.group`, the field's name for a resource (`instances.compute.corten.dev`).
    pub fn resource(&self) -> String {
        if self.group.is_empty() { self.plural.into() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// Whether [`Self::resource`] is this.
    pub fn is_resource(&self, resource: &str) -> bool {
        match resource.strip_prefix(self.plural) {
            Some("") => self.group.is_empty(),
            Some(rest) => !self.group.is_empty() && rest.strip_prefix('.') == Some(self.group),
            None => false,
        }
    }

    /// Whether objects of this kind may own others or be owned. Events may not: they end by their age, are many,
    /// and Kubernetes' garbage collector passes them by as well.
    pub fn has_owners(&self) -> bool {
        !(self.group.is_empty() && self.kind == "Event")
    }

    pub fn is_project_scoped(&self) -> bool {
        self.scope == Scope::Project
    }

    /// The store prefix under which all objects of this kind lie.
    pub fn prefix(&self) -> String {
        format!("/{}/", self.resource())
    }

    /// The store key of one object; the project is part of it, so a foreign object cannot be named.
    pub fn key(&self, project: &str, name: &str) -> String {
        if self.is_project_scoped() {
            format!("/{}/{project}/{name}", self.resource())
        } else {
            format!("/{}/{name}", self.resource())
        }
    }

    /// The URL path of the collection, or of one object when `name` is given.
    pub fn path(&self, project: Option<&str>, name: Option<&str>) -> String {
        let mut path = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        if let (true, Some(project)) = (self.is_project_scoped(), project) {
            path.push_str("/namespaces/");
            path.push_str(project);
        }
        path.push('/');
        path.push_str(self.plural);
        if let Some(name) = name {
            path.push('/');
            path.push_str(name);
        }
        path
    }
}

/// How a table column's values are typed (the OpenAPI words kubectl expects).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    Text,
    Integer,
}

/// One column of `get`.
pub struct Column<R> {
    pub name: &'static str,
    pub kind: ColumnType,
    /// Shown only with `-o wide`.
    pub wide: bool,
    pub value: fn(&R, Timestamp) -> serde_json::Value,
}

impl<R> std::fmt::Debug for Column<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Column").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<R> Column<R> {
    pub const fn text(name: &'static str, value: fn(&R, Timestamp) -> serde_json::Value) -> Self {
        Self { name, kind: ColumnType::Text, wide: false, value }
    }

    pub const fn integer(name: &'static str, value: fn(&R, Timestamp) -> serde_json::Value) -> Self {
        Self { name, kind: ColumnType::Integer, wide: false, value }
    }

    /// A text column that only `-o wide` shows.
    pub const fn wide_text(name: &'static str, value: fn(&R, Timestamp) -> serde_json::Value) -> Self {
        Self { name, kind: ColumnType::Text, wide: true, value }
    }

    /// An integer column that only `-o wide` shows.
    pub const fn wide_integer(name: &'static str, value: fn(&R, Timestamp) -> serde_json::Value) -> Self {
        Self { name, kind: ColumnType::Integer, wide: true, value }
    }
}

/// An object of some kind. Implemented once for [`crate::Object`]; kinds without spec and status (events)
/// implement it themselves.
pub trait Resource:
    Serialize
    + DeserializeOwned
    + schemars::JsonSchema
    + Clone
    + std::fmt::Debug
    + PartialEq
    + Send
    + Sync
    + 'static
{
    const KIND: KindInfo;

    fn metadata(&self) -> &ObjectMeta;
    fn metadata_mut(&mut self) -> &mut ObjectMeta;

    /// Sets the type fields (`apiVersion`, `kind`) to this kind's own.
    fn set_type(&mut self);
    fn set_defaults(&mut self);
    fn validate(&self, errors: &mut FieldErrors);
    /// Rules about what may change; `self` is the new object.
    fn validate_update(&self, old: &Self, errors: &mut FieldErrors);
    fn columns() -> &'static [Column<Self>];
    /// The value of a field that selectors and caches may use, beside `metadata.name` and `metadata.namespace`.
    fn field(&self, path: &str) -> Option<String>;
    /// What the object takes from its project's quota, beside counting as one.
    fn charge(&self) -> Resources;
    /// What the object has for itself alone, such as addresses.
    fn claims(&self) -> Vec<Claim> {
        Vec::new()
    }
    /// Other objects that it needs.
    fn references(&self) -> Vec<Reference> {
        Vec::new()
    }

    /// Takes the status from `old`: what an update of the main resource may not touch.
    fn keep_status_of(&mut self, old: &Self);
    /// Takes everything but the status from `old`: what an update of the status may not touch.
    fn keep_spec_of(&mut self, old: &Self);
    /// Resets the status, for creation.
    fn clear_status(&mut self);
    fn same_spec(&self, old: &Self) -> bool;
}
