//! Claims and references: what an object has for itself alone, and which others it needs. Pure functions of the
//! object, so that whoever removes it knows what to free. Who writes them, and when, is the server's.

use crate::{KindInfo, ObjectMeta};

/// One thing that at most one object has at a time, such as an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The thing, as a path: `address/default/web/10.0.0.7`.
    pub key: String,
    /// The field that asks for it.
    pub field: String,
    /// The thing in words, for refusals: `address 10.0.0.7 of subnet "web"`.
    pub what: String,
}

/// Another object that this one names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub kind: KindInfo,
    /// Empty for cloud-wide kinds.
    pub project: String,
    pub name: String,
    /// The field that names it.
    pub field: String,
    pub hold: Hold,
}

/// What a reference means for the object it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// It stays as long as it is named.
    Kept,
    /// It must be there when it is named, and may go later.
    Named,
}

impl Claim {
    pub fn new(key: impl Into<String>, field: impl Into<String>, what: impl Into<String>) -> Self {
        Self { key: key.into(), field: field.into(), what: what.into() }
    }
}

impl Reference {
    /// The object of this kind beside the one with `meta`, or in the whole cloud; none for an empty name.
    pub fn kept(kind: KindInfo, meta: &ObjectMeta, name: &str, field: impl Into<String>) -> Option<Self> {
        let project = if kind.is_project_scoped() { meta.namespace.clone() } else { String::new() };
        let named = || Self { kind, project, name: name.into(), field: field.into(), hold: Hold::Kept };
        (!name.is_empty()).then(named)
    }

    /// The same of an object that may go.
    pub fn named(kind: KindInfo, meta: &ObjectMeta, name: &str, field: impl Into<String>) -> Option<Self> {
        Self::kept(kind, meta, name, field).map(|reference| Self { hold: Hold::Named, ..reference })
    }

    /// The store key of the object it names.
    pub fn key(&self) -> String {
        self.kind.key(&self.project, &self.name)
    }
}
