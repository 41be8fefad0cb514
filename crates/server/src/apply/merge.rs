//! The four operations on values that apply is made of: which fields a value states, what differs between two,
//! laying one over another, and taking fields away.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::fields::{FieldSet, Node, field, is_item};
use super::shape::{Part, Shape};

/// The fields a value states.
pub(super) fn stated(value: &Value, shape: &Shape) -> FieldSet {
    shape.parts(value).map(|parts| stated_parts(&parts)).unwrap_or_default()
}

fn stated_parts(parts: &[Part<'_>]) -> FieldSet {
    let mut set = FieldSet::default();
    for part in parts {
        set.put(part.element.clone(), stated_part(part));
    }
    set
}

/// One piece is a member; an object is its fields, and is itself a member when it has none or when its name was
/// the client's choice.
fn stated_part(part: &Part<'_>) -> Node {
    match part.shape.parts(part.value) {
        None => Node::member(),
        Some(parts) => {
            let is_empty_object = parts.is_empty() && part.value.is_object();
            Node { is_member: part.is_entry || is_empty_object, below: stated_parts(&parts) }
        }
    }
}

/// What differs between two values.
#[derive(Debug, Default)]
pub(super) struct Difference {
    /// Added, or of another value.
    pub(super) changed: FieldSet,
    pub(super) removed: FieldSet,
}

impl Difference {
    pub(super) fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.removed.is_empty()
    }
}

pub(super) fn difference(old: &Value, new: &Value, shape: &Shape) -> Difference {
    let mut difference = Difference::default();
    if let (Some(old), Some(new)) = (shape.parts(old), shape.parts(new)) {
        compare_parts(&old, &new, &mut difference);
    }
    difference
}

fn compare_parts(old: &[Part<'_>], new: &[Part<'_>], into: &mut Difference) {
    let before: HashMap<&str, &Part<'_>> = old.iter().map(|part| (part.element.as_str(), part)).collect();
    let after: HashMap<&str, &Part<'_>> = new.iter().map(|part| (part.element.as_str(), part)).collect();
    for part in old.iter().filter(|part| !after.contains_key(part.element.as_str())) {
        into.removed.put(part.element.clone(), stated_part(part));
    }
    for part in new {
        match before.get(part.element.as_str()) {
            None => into.changed.put(part.element.clone(), stated_part(part)),
            Some(old) => compare_part(old, part, into),
        }
    }
}

fn compare_part(old: &Part<'_>, new: &Part<'_>, into: &mut Difference) {
    if let (Some(old_parts), Some(new_parts)) = (old.shape.parts(old.value), new.shape.parts(new.value)) {
        let mut below = Difference::default();
        compare_parts(&old_parts, &new_parts, &mut below);
        into.changed.put(new.element.clone(), Node { is_member: false, below: below.changed });
        into.removed.put(new.element.clone(), Node { is_member: false, below: below.removed });
    } else if !new.shape.is_same(old.value, new.value) {
        into.changed.put(new.element.clone(), stated_part(new));
        let mut gone = FieldSet::default();
        gone.put(old.element.clone(), stated_part(old));
        gone.subtract(&into.changed);
        into.removed.union(&gone);
    }
}

/// `live` with what `applied` states laid over it.
pub(super) fn overlay(live: &Value, applied: &Value, shape: &Shape) -> Value {
    match (shape.parts(live), shape.parts(applied), live, applied) {
        (Some(_), Some(_), Value::Object(live), Value::Object(applied)) => {
            Value::Object(overlay_object(live, applied, shape))
        }
        (Some(live), Some(applied), ..) => Value::Array(overlay_list(&live, &applied)),
        // The same amount keeps the form it has.
        _ if shape.is_same(live, applied) => live.clone(),
        _ => applied.clone(),
    }
}

fn overlay_object(
    live: &Map<String, Value>,
    applied: &Map<String, Value>,
    shape: &Shape,
) -> Map<String, Value> {
    let mut merged = live.clone();
    for (name, value) in applied {
        let value = match live.get(name) {
            Some(old) => overlay(old, value, shape.field(name).0),
            None => value.clone(),
        };
        merged.insert(name.clone(), value);
    }
    merged
}

/// Items in the applied order; those that only live has keep their place before the item they preceded.
fn overlay_list(live: &[Part<'_>], applied: &[Part<'_>]) -> Vec<Value> {
    let stated: HashMap<&str, &Part<'_>> = applied.iter().map(|part| (part.element.as_str(), part)).collect();
    let places: HashMap<&str, usize> =
        live.iter().enumerate().map(|(i, part)| (part.element.as_str(), i)).collect();
    let mut merged = Vec::new();
    let mut next = 0;
    let mut keep_up_to = |end: usize, merged: &mut Vec<Value>| {
        for part in live.get(next..end).unwrap_or_default() {
            if !stated.contains_key(part.element.as_str()) {
                merged.push(part.value.clone());
            }
        }
        next = next.max(end);
    };
    for part in applied {
        match places.get(part.element.as_str()) {
            Some(&place) => {
                keep_up_to(place, &mut merged);
                merged.push(overlay(live[place].value, part.value, part.shape));
            }
            None => merged.push(part.value.clone()),
        }
    }
    keep_up_to(live.len(), &mut merged);
    merged
}

/// Takes away the fields in `doomed` that nobody in `kept` holds. What is left empty by it goes too; an item of a
/// list goes whole, with what nobody owned of it.
pub(super) fn take_away(value: &mut Value, shape: &Shape, doomed: &FieldSet, kept: &FieldSet) {
    let Some(parts) = shape.parts(value) else { return };
    let mut fates: Vec<Fate> = parts.iter().map(|part| fate(part, doomed, kept)).collect();
    drop(parts);
    match value {
        Value::Object(map) => {
            let names: Vec<String> = map.keys().cloned().collect();
            for (name, fate) in names.into_iter().zip(fates) {
                match fate {
                    Fate::Stays => {}
                    Fate::Goes => drop(map.remove(&name)),
                    Fate::Becomes(value) => drop(map.insert(name, value)),
                }
            }
        }
        Value::Array(items) => {
            let left =
                std::mem::take(items).into_iter().zip(fates.drain(..)).filter_map(
                    |(item, fate)| match fate {
                        Fate::Stays => Some(item),
                        Fate::Goes => None,
                        Fate::Becomes(value) => Some(value),
                    },
                );
            *items = left.collect();
        }
        _ => {}
    }
}

enum Fate {
    Stays,
    Goes,
    Becomes(Value),
}

fn fate(part: &Part<'_>, doomed: &FieldSet, kept: &FieldSet) -> Fate {
    let Some(node) = doomed.get(&part.element) else { return Fate::Stays };
    let keeper = kept.get(&part.element);
    let in_pieces = part.shape.parts(part.value).is_some_and(|parts| !parts.is_empty());
    let goes_whole = node.is_member && keeper.is_none() && (!in_pieces || is_item(&part.element));
    if goes_whole {
        return Fate::Goes;
    }
    if !in_pieces || node.below.is_empty() {
        return Fate::Stays;
    }
    let nobody = FieldSet::default();
    let mut rest = part.value.clone();
    take_away(&mut rest, part.shape, &node.below, keeper.map_or(&nobody, |node| &node.below));
    let is_left_empty = match &rest {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    if is_left_empty && keeper.is_none() { Fate::Goes } else { Fate::Becomes(rest) }
}

/// The value without nulls: a client's way of not stating a field.
pub(super) fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let stated = map.iter().filter(|(_, value)| !value.is_null());
            Value::Object(stated.map(|(name, value)| (name.clone(), without_nulls(value))).collect())
        }
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

/// Fields that the server alone decides, or that only name the object: nobody owns them.
pub(super) fn disown(set: &mut FieldSet, subresource: &str) {
    if subresource == "status" {
        set.only(&field("status"));
        return;
    }
    for name in ["apiVersion", "kind", "status"] {
        set.remove(&field(name));
    }
    set.edit(&field("metadata"), |metadata| {
        metadata.is_member = false;
        for name in SYSTEM_METADATA {
            metadata.below.remove(&field(name));
        }
    });
}

/// What of an object's metadata only the server writes, or names the object.
pub(super) const SYSTEM_METADATA: [&str; 11] = [
    "name",
    "namespace",
    "generateName",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
    "managedFields",
];
