//! Shape: what of a kind's schema decides how its values are merged. Objects are merged field by field, lists
//! replaced whole, unless the schema says otherwise (`x-kubernetes-list-type`, `-list-map-keys`, `-map-type`).

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use model::KindEntry;
use serde_json::Value;

use super::fields;
use crate::openapi;

/// How a value is merged.
#[derive(Debug)]
pub(super) enum Shape {
    /// A scalar, or a list or object that is replaced whole.
    Leaf,
    /// An amount: `1` and `"1"` are the same.
    Amount,
    /// Merged field by field; `rest` is the shape of fields that are not named.
    Object { fields: BTreeMap<String, Shape>, rest: Option<Box<Shape>> },
    /// A list whose items are told apart by keys.
    Keyed { keys: Vec<String>, item: Box<Shape> },
    /// A list of distinct scalars.
    Set,
}

/// Of what no schema speaks: objects are merged, everything else is replaced.
static UNKNOWN: Shape = Shape::Object { fields: BTreeMap::new(), rest: None };
static LEAF: Shape = Shape::Leaf;

/// One part of a value that is merged on its own.
#[derive(Debug, Clone)]
pub(super) struct Part<'a> {
    pub(super) element: String,
    pub(super) value: &'a Value,
    pub(super) shape: &'a Shape,
    /// Whether the part is there by the client's choice of its name: a map's entry or a list's item.
    pub(super) is_entry: bool,
}

impl Shape {
    pub(super) fn of(kind: &KindEntry) -> &'static Self {
        static SHAPES: LazyLock<HashMap<(&'static str, &'static str), Shape>> = LazyLock::new(|| {
            let shape =
                |k: &KindEntry| ((k.info.group, k.info.plural), Shape::from_schema(&openapi::schema_of(k)));
            model::kinds().iter().map(shape).collect()
        });
        SHAPES.get(&(kind.info.group, kind.info.plural)).unwrap_or(&UNKNOWN)
    }

    pub(super) fn from_schema(schema: &Value) -> Self {
        let word = |key: &str| schema.get(key).and_then(Value::as_str);
        if schema.get("x-kubernetes-int-or-string").is_some() {
            return Self::Amount;
        }
        match (word("type"), word("x-kubernetes-list-type"), word("x-kubernetes-map-type")) {
            (_, _, Some("atomic")) => Self::Leaf,
            (_, Some("set"), _) => Self::Set,
            (_, Some("map"), _) => Self::Keyed {
                keys: schema
                    .get("x-kubernetes-list-map-keys")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                    .filter_map(|key| key.as_str().map(str::to_owned))
                    .collect(),
                item: Box::new(schema.get("items").map_or(Self::Leaf, Self::from_schema)),
            },
            (Some("object"), ..) => {
                let fields = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
                Self::Object {
                    fields: fields.map(|(name, field)| (name.clone(), Self::from_schema(field))).collect(),
                    rest: schema
                        .get("additionalProperties")
                        .filter(|rest| rest.is_object())
                        .map(|rest| Box::new(Self::from_schema(rest))),
                }
            }
            _ => Self::Leaf,
        }
    }

    /// The parts of a value; None when it is one piece. A list with a missing or doubled key is one piece: its
    /// items cannot be told apart.
    pub(super) fn parts<'a>(&'a self, value: &'a Value) -> Option<Vec<Part<'a>>> {
        match (self, value) {
            (Self::Object { .. }, Value::Object(map)) => {
                let part = |(name, value): (&'a String, &'a Value)| {
                    let (shape, is_entry) = self.field(name);
                    Part { element: fields::field(name), value, shape, is_entry }
                };
                Some(map.iter().map(part).collect())
            }
            (Self::Keyed { keys, item }, Value::Array(items)) => {
                let part = |value| {
                    let element = fields::keyed(value, keys)?;
                    Some(Part { element, value, shape: item, is_entry: true })
                };
                distinct(items.iter().map(part).collect::<Option<_>>()?)
            }
            (Self::Set, Value::Array(items)) => {
                let part = |value| Part { element: fields::item(value), value, shape: &LEAF, is_entry: true };
                distinct(items.iter().map(part).collect())
            }
            _ => None,
        }
    }

    /// The shape of an object's field, and whether the schema does not name it.
    pub(super) fn field(&self, name: &str) -> (&Self, bool) {
        match self {
            Self::Object { fields, rest } => match fields.get(name) {
                Some(shape) => (shape, false),
                None => (rest.as_deref().unwrap_or(&UNKNOWN), true),
            },
            _ => (&LEAF, true),
        }
    }

    /// Whether two values in one piece say the same.
    pub(super) fn is_same(&self, a: &Value, b: &Value) -> bool {
        a == b || (matches!(self, Self::Amount) && is_same_amount(a, b))
    }
}

fn distinct(parts: Vec<Part<'_>>) -> Option<Vec<Part<'_>>> {
    let mut elements: Vec<&str> = parts.iter().map(|part| part.element.as_str()).collect();
    elements.sort_unstable();
    elements.windows(2).all(|pair| pair[0] != pair[1]).then_some(parts)
}

fn is_same_amount(a: &Value, b: &Value) -> bool {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let (a, b) = (text(a), text(b));
    let bytes = (model::Bytes::parse(&a), model::Bytes::parse(&b));
    let cpu = (model::CpuMillis::parse(&a), model::CpuMillis::parse(&b));
    matches!(bytes, (Ok(a), Ok(b)) if a == b) || matches!(cpu, (Ok(a), Ok(b)) if a == b)
}
