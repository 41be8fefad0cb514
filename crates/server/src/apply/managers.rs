//! The `managedFields` of an object: who owns which fields, by which operation. Reads and writes the wire form,
//! and bounds its growth.

use model::Timestamp;
use serde_json::{Value, json};

use super::fields::FieldSet;

/// Most entries of operation Update; older ones are merged into one (the Kubernetes limit).
const UPDATES_MAX: usize = 10;
/// The manager in whose name old updates are merged (the Kubernetes name).
const ANCIENT: &str = "ancient-changes";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

/// One manager's fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manager {
    pub(super) name: String,
    pub(super) operation: Operation,
    pub(super) subresource: String,
    pub(super) api_version: String,
    pub(super) time: Option<Timestamp>,
    pub(super) fields: FieldSet,
}

/// All managers of one object.
#[derive(Debug, Clone, Default)]
pub(super) struct Managers(Vec<Manager>);

impl Managers {
    /// Those of an object; entries that cannot be read are dropped.
    pub(super) fn of(object: &Value) -> Self {
        let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
        Self(entries.into_iter().flatten().filter_map(Manager::decode).collect())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Manager> {
        self.0.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Manager> {
        self.0.iter_mut()
    }

    /// Takes out the entry of one manager, operation and subresource.
    pub(super) fn take(&mut self, name: &str, operation: Operation, subresource: &str) -> Option<Manager> {
        let is_wanted =
            |m: &Manager| m.name == name && m.operation == operation && m.subresource == subresource;
        self.0.iter().position(is_wanted).map(|at| self.0.remove(at))
    }

    pub(super) fn put(&mut self, manager: Manager) {
        self.0.push(manager);
    }

    /// The wire form: no empty entries, a bounded number of updates, in a fixed order.
    pub(super) fn encode(mut self) -> Vec<Value> {
        self.0.retain(|manager| !manager.fields.is_empty());
        self.merge_old_updates();
        self.0.sort_by(|a, b| {
            (a.operation, a.time, &a.name, &a.subresource).cmp(&(
                b.operation,
                b.time,
                &b.name,
                &b.subresource,
            ))
        });
        self.0.iter().map(Manager::encode).collect()
    }

    fn merge_old_updates(&mut self) {
        let (mut updates, applies): (Vec<Manager>, Vec<Manager>) =
            std::mem::take(&mut self.0).into_iter().partition(|m| m.operation == Operation::Update);
        self.0 = applies;
        if updates.len() > UPDATES_MAX {
            updates.sort_by(|a, b| {
                (a.name != ANCIENT, a.time, &a.name).cmp(&(b.name != ANCIENT, b.time, &b.name))
            });
            let young = updates.split_off(updates.len() + 1 - UPDATES_MAX);
            let mut ancient = updates.pop();
            for old in updates {
                if let Some(ancient) = &mut ancient {
                    ancient.fields.union(&old.fields);
                }
            }
            self.0.extend(ancient.map(|m| Manager { name: ANCIENT.into(), subresource: String::new(), ..m }));
            updates = young;
        }
        self.0.extend(updates);
    }
}

impl Manager {
    fn decode(entry: &Value) -> Option<Self> {
        let text = |key: &str| entry.get(key).and_then(Value::as_str);
        Some(Self {
            name: text("manager").unwrap_or_default().to_owned(),
            operation: match text("operation")? {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return None,
            },
            subresource: text("subresource").unwrap_or_default().to_owned(),
            api_version: text("apiVersion").unwrap_or_default().to_owned(),
            time: text("time").and_then(Timestamp::parse),
            fields: FieldSet::decode(entry.get("fieldsV1")?),
        })
    }

    fn encode(&self) -> Value {
        let operation = match self.operation {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        };
        let mut entry = json!({
            "manager": self.name,
            "operation": operation,
            "apiVersion": self.api_version,
            "fieldsType": "FieldsV1",
            "fieldsV1": self.fields.encode(),
        });
        if let Some(time) = self.time {
            entry["time"] = json!(time);
        }
        if !self.subresource.is_empty() {
            entry["subresource"] = json!(self.subresource);
        }
        entry
    }
}

/// A manager as Kubernetes names it in a conflict.
impl std::fmt::Display for Manager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.name)?;
        if !self.subresource.is_empty() {
            write!(f, " with subresource {:?}", self.subresource)?;
        }
        match self.operation {
            Operation::Apply => Ok(()),
            Operation::Update => write!(f, " using {}", self.api_version),
        }
    }
}
