//! Sets of fields, in the tree form and the encoding of Kubernetes' `FieldsV1`: `f:name` is a field,
//! `k:{"name":"x"}` a list's item by key, `v:"x"` a set's item, `.` the place itself.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A set of places in an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FieldSet(BTreeMap<String, Node>);

/// One place: whether it is itself in the set, and what below it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) is_member: bool,
    pub(super) below: FieldSet,
}

impl FieldSet {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, element: &str) -> Option<&Node> {
        self.0.get(element)
    }

    /// Puts a place into the set; an empty node is left out.
    pub(super) fn put(&mut self, element: impl Into<String>, node: Node) {
        if !node.is_void() {
            self.0.insert(element.into(), node);
        }
    }

    pub(super) fn remove(&mut self, element: &str) {
        self.0.remove(element);
    }

    /// Keeps only the places at and below `element`.
    pub(super) fn only(&mut self, element: &str) {
        self.0.retain(|e, _| e == element);
    }

    /// Edits the node at `element`, if there is one.
    pub(super) fn edit(&mut self, element: &str, edit: impl FnOnce(&mut Node)) {
        if let Some(node) = self.0.get_mut(element) {
            edit(node);
            if node.is_void() {
                self.0.remove(element);
            }
        }
    }

    pub(super) fn union(&mut self, other: &FieldSet) {
        for (element, theirs) in &other.0 {
            let node = self.0.entry(element.clone()).or_default();
            node.is_member |= theirs.is_member;
            node.below.union(&theirs.below);
        }
    }

    pub(super) fn subtract(&mut self, other: &FieldSet) {
        self.0.retain(|element, node| {
            if let Some(theirs) = other.0.get(element) {
                node.is_member &= !theirs.is_member;
                node.below.subtract(&theirs.below);
            }
            !node.is_void()
        });
    }

    pub(super) fn intersection(&self, other: &FieldSet) -> FieldSet {
        let mut common = FieldSet::default();
        for (element, node) in &self.0 {
            if let Some(theirs) = other.0.get(element) {
                let is_member = node.is_member && theirs.is_member;
                common
                    .put(element.clone(), Node { is_member, below: node.below.intersection(&theirs.below) });
            }
        }
        common
    }

    /// Every member as a path people read: `.spec.containers[name="web"].image`.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect_paths("", &mut paths);
        paths
    }

    fn collect_paths(&self, at: &str, paths: &mut Vec<String>) {
        for (element, node) in &self.0 {
            let path = format!("{at}{}", readable(element));
            node.below.collect_paths(&path, paths);
            if node.is_member {
                paths.push(path);
            }
        }
    }

    pub(super) fn encode(&self) -> Value {
        Value::Object(self.0.iter().map(|(element, node)| (element.clone(), node.encode())).collect())
    }

    pub(super) fn decode(encoded: &Value) -> Self {
        let mut set = Self::default();
        for (element, node) in encoded.as_object().into_iter().flatten().filter(|(e, _)| *e != ".") {
            set.put(element.clone(), Node::decode(node));
        }
        set
    }
}

impl Node {
    pub(super) fn member() -> Self {
        Self { is_member: true, below: FieldSet::default() }
    }

    fn is_void(&self) -> bool {
        !self.is_member && self.below.is_empty()
    }

    fn encode(&self) -> Value {
        let mut encoded = self.below.encode();
        if let (true, false, Some(map)) = (self.is_member, self.below.is_empty(), encoded.as_object_mut()) {
            map.insert(".".into(), Value::Object(Map::new()));
        }
        encoded
    }

    fn decode(encoded: &Value) -> Self {
        let below = FieldSet::decode(encoded);
        Self { is_member: below.is_empty() || encoded.get(".").is_some(), below }
    }
}

/// The element of an object's field.
pub(super) fn field(name: &str) -> String {
    format!("f:{name}")
}

/// The element of a set's item.
pub(super) fn item(value: &Value) -> String {
    format!("v:{value}")
}

/// The element of a list's item with keys; None when it lacks one.
pub(super) fn keyed(item: &Value, keys: &[String]) -> Option<String> {
    let sorted: BTreeMap<&String, &Value> =
        keys.iter().map(|key| item.get(key).map(|value| (key, value))).collect::<Option<_>>()?;
    let pairs: Vec<String> =
        sorted.into_iter().map(|(key, value)| format!("{}:{value}", Value::from(key.as_str()))).collect();
    Some(format!("k:{{{}}}", pairs.join(",")))
}

/// Whether the element is a list's or a set's item.
pub(super) fn is_item(element: &str) -> bool {
    element.starts_with("k:") || element.starts_with("v:")
}

fn readable(element: &str) -> String {
    match element.split_once(':') {
        Some(("f", name)) => format!(".{name}"),
        Some(("v", value)) => format!("[={value}]"),
        Some(("k", keys)) => {
            let keys: BTreeMap<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let pairs: Vec<String> = keys.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("[{}]", pairs.join(","))
        }
        _ => format!("[{element}]"),
    }
}
