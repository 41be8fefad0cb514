//! The two entries: applying what a manager states, and noting what an ordinary write changed.

use std::fmt;

use model::{KindEntry, Timestamp};
use serde_json::{Value, json};

use super::fields::FieldSet;
use super::managers::{Manager, Managers, Operation};
use super::merge::{self, SYSTEM_METADATA, difference, overlay, stated, take_away, without_nulls};
use super::shape::Shape;

/// An applied object, and whose.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Apply<'a> {
    /// What is there; None creates.
    pub(crate) live: Option<&'a Value>,
    /// What the manager states, and all it states.
    pub(crate) applied: &'a Value,
    pub(crate) manager: &'a str,
    /// Empty for the object itself, or `status`.
    pub(crate) subresource: &'a str,
    /// Take over fields that others own with another value.
    pub(crate) force: bool,
    pub(crate) now: Timestamp,
    pub(crate) kind: &'a KindEntry,
}

/// An ordinary write, and whose.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Update<'a> {
    /// What was there; None for a creation.
    pub(crate) old: Option<&'a Value>,
    pub(crate) new: &'a Value,
    pub(crate) manager: &'a str,
    /// Empty for the object itself, or `status`.
    pub(crate) subresource: &'a str,
    pub(crate) now: Timestamp,
    pub(crate) kind: &'a KindEntry,
}

/// Fields that others own with another value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) struct Conflicts(Vec<Conflict>);

/// One such field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conflict {
    pub(crate) manager: String,
    /// The path as people read it: `.spec.replicas`.
    pub(crate) field: String,
    /// The manager with its operation, for the message.
    described: String,
}

impl Conflicts {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Conflict> {
        self.0.iter()
    }
}

/// The words of Kubernetes, which scripts know.
impl fmt::Display for Conflicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [Conflict { described, field, .. }] = self.0.as_slice() {
            return write!(f, "Apply failed with 1 conflict: conflict with {described}: {field}");
        }
        write!(f, "Apply failed with {} conflicts:", self.0.len())?;
        let mut last = "";
        for Conflict { described, field, .. } in &self.0 {
            if last != described {
                let separator = if last.is_empty() { " " } else { "\n" };
                write!(f, "{separator}conflicts with {described}:")?;
                last = described;
            }
            write!(f, "\n- {field}")?;
        }
        Ok(())
    }
}

/// Lays what the manager states over what is there, takes away what it no longer states and nobody else owns,
/// and returns the object with its `managedFields`. The caller decodes and validates the result.
pub(crate) fn apply(apply: &Apply<'_>) -> Result<Value, Conflicts> {
    let shape = Shape::of(apply.kind);
    let applied = statement(apply);
    let mut fields = stated(&applied, shape);
    merge::disown(&mut fields, apply.subresource);

    let nothing = json!({});
    let live = apply.live.unwrap_or(&nothing);
    let mut managers = Managers::of(live);
    let before = managers.take(apply.manager, Operation::Apply, apply.subresource);
    let mut object = overlay(live, &applied, shape);
    if let Some(before) = &before {
        let mut kept = fields.clone();
        managers.iter().for_each(|other| kept.union(&other.fields));
        take_away(&mut object, shape, &before.fields, &kept);
    }

    let change = difference(&normal(live, apply.kind), &normal(&object, apply.kind), shape);
    // A field set to its default is left out of what is stored, and so among the removed ones.
    let mut taken = change.removed.intersection(&fields);
    taken.union(&change.changed);
    if !apply.force {
        no_conflicts(&managers, &taken)?;
    }
    for other in managers.iter_mut() {
        other.fields.subtract(&taken);
    }
    let api_version = apply.kind.info.api_version();
    let time = match &before {
        Some(before) if before.fields == fields && change.is_empty() => before.time,
        _ => Some(to_the_second(apply.now)),
    };
    managers.put(Manager {
        name: apply.manager.to_owned(),
        operation: Operation::Apply,
        subresource: apply.subresource.to_owned(),
        api_version,
        time,
        fields,
    });
    set_managed_fields(&mut object, managers.encode());
    Ok(object)
}

/// The `managedFields` after an ordinary create, update or patch: the manager owns what it changed, the others no
/// longer do. A new object whose `managedFields` are `[{}]` starts over without owners, as in Kubernetes.
///
/// Costs a walk over both values; callers may leave it out for the cloud's own components, whose changes then
/// belong to no one.
pub(crate) fn track_update(update: &Update<'_>) -> Vec<Value> {
    let shape = Shape::of(update.kind);
    let is_reset = update.new.pointer("/metadata/managedFields") == Some(&json!([{}]));
    let nothing = json!({});
    let old = update.old.unwrap_or(&nothing);
    let mut managers = if is_reset { Managers::default() } else { Managers::of(old) };

    let mut change = difference(old, update.new, shape);
    merge::disown(&mut change.changed, update.subresource);
    merge::disown(&mut change.removed, update.subresource);
    let own = managers.take(update.manager, Operation::Update, update.subresource);
    for other in managers.iter_mut() {
        other.fields.subtract(&change.changed);
        other.fields.subtract(&change.removed);
    }
    let (mut fields, before) = own.map_or((FieldSet::default(), None), |own| (own.fields, own.time));
    let is_untouched = change.is_empty();
    fields.union(&change.changed);
    fields.subtract(&change.removed);
    managers.put(Manager {
        name: update.manager.to_owned(),
        operation: Operation::Update,
        subresource: update.subresource.to_owned(),
        api_version: update.kind.info.api_version(),
        time: if is_untouched { before } else { Some(to_the_second(update.now)) },
        fields,
    });
    managers.encode()
}

/// What counts of an applied object: through `status` only the status, else everything but the status; and of an
/// object that exists nothing that the server decides.
fn statement(apply: &Apply<'_>) -> Value {
    let mut applied = without_nulls(apply.applied);
    let Some(map) = applied.as_object_mut() else { return json!({}) };
    if apply.subresource == "status" {
        map.retain(|name, _| name == "status");
    } else {
        map.remove("status");
    }
    if apply.live.is_some() {
        map.retain(|name, _| !matches!(name.as_str(), "apiVersion" | "kind"));
        if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.retain(|name, _| !SYSTEM_METADATA.contains(&name.as_str()));
        }
    }
    applied
}

/// The object as it will be stored: without what is left out because it is the default, amounts in their own
/// form. Otherwise a field stated as its default would count as changed for ever. An object that cannot be
/// decoded is compared as it is; its caller will refuse it.
fn normal(object: &Value, kind: &KindEntry) -> Value {
    let decoded = serde_json::to_vec(object).ok().and_then(|bytes| (kind.decode)(&bytes, false).ok());
    decoded.and_then(|object| serde_json::from_slice(&object.encode()).ok()).unwrap_or_else(|| object.clone())
}

fn no_conflicts(others: &Managers, changed: &FieldSet) -> Result<(), Conflicts> {
    let mut conflicts = Vec::new();
    for other in others.iter() {
        for field in other.fields.intersection(changed).paths() {
            conflicts.push(Conflict { manager: other.name.clone(), field, described: other.to_string() });
        }
    }
    conflicts.sort_by(|a, b| (&a.described, &a.field).cmp(&(&b.described, &b.field)));
    if conflicts.is_empty() { Ok(()) } else { Err(Conflicts(conflicts)) }
}

fn set_managed_fields(object: &mut Value, entries: Vec<Value>) {
    if let Some(metadata) =
        object.as_object_mut().and_then(|o| o.entry("metadata").or_insert_with(|| json!({})).as_object_mut())
    {
        metadata.insert("managedFields".into(), Value::Array(entries));
    }
}

/// Kubernetes' own times have no fraction, and some clients read no other.
fn to_the_second(now: Timestamp) -> Timestamp {
    Timestamp(now.0.div_euclid(1000) * 1000)
}
