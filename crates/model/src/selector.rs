//! Label and field selectors, in kubectl's syntax (Kubernetes docs, "Labels and Selectors").

use std::collections::BTreeMap;

use crate::AnyObject;

/// Most requirements in one selector.
const REQUIREMENTS_MAX: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "selector {selector:?} cannot be read at {at:?}: write key=value, key!=value, key in (a,b), key or !key"
)]
pub struct SelectorError {
    selector: String,
    at: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Missing,
}

/// Requirements on labels; all must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<(String, Test)>);

impl LabelSelector {
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let error = |at: &str| SelectorError { selector: text.into(), at: at.into() };
        let parts = split_outside_parentheses(text);
        if parts.len() > REQUIREMENTS_MAX {
            return Err(error("more than 64 requirements"));
        }
        parts
            .into_iter()
            .map(|part| requirement(part).ok_or_else(|| error(part)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// A selector that asks for exactly these labels.
    pub fn exactly(labels: &BTreeMap<String, String>) -> Self {
        Self(labels.iter().map(|(k, v)| (k.clone(), Test::In(vec![v.clone()]))).collect())
    }

    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|(key, test)| {
            let value = labels.get(key);
            match test {
                Test::In(values) => value.is_some_and(|v| values.contains(v)),
                Test::NotIn(values) => value.is_none_or(|v| !values.contains(v)),
                Test::Exists => value.is_some(),
                Test::Missing => value.is_none(),
            }
        })
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Requirements on fields: `path=value` and `path!=value`; all must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<(String, String, bool)>);

impl FieldSelector {
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        text.split(',')
            .filter(|part| !part.trim().is_empty())
            .map(|part| {
                let error = || SelectorError { selector: text.into(), at: part.into() };
                let (path, value, equal) = part
                    .split_once("!=")
                    .map(|(p, v)| (p, v, false))
                    .or_else(|| part.split_once("==").map(|(p, v)| (p, v, true)))
                    .or_else(|| part.split_once('=').map(|(p, v)| (p, v, true)))
                    .filter(|(path, ..)| !path.trim().is_empty())
                    .ok_or_else(error)?;
                Ok((path.trim().into(), value.trim().into(), equal))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// A selector for one field.
    pub fn equals(path: &str, value: &str) -> Self {
        Self(vec![(path.into(), value.into(), true)])
    }

    pub fn matches(&self, object: &dyn AnyObject) -> bool {
        self.0.iter().all(|(path, value, equal)| (object.field(path).unwrap_or_default() == *value) == *equal)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value a field is required to equal, for lookups by index.
    pub fn required(&self, path: &str) -> Option<&str> {
        self.0.iter().find(|(p, _, equal)| *equal && p == path).map(|(_, value, _)| value.as_str())
    }
}

/// Labels and fields together, as a list or watch carries them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    pub labels: LabelSelector,
    pub fields: FieldSelector,
}

impl Selector {
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub fn matches(&self, object: &dyn AnyObject) -> bool {
        self.labels.matches(&object.metadata().labels) && self.fields.matches(object)
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0_u32, 0, Vec::new());
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(text[start..i].trim());
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

fn requirement(part: &str) -> Option<(String, Test)> {
    let word = |text: &str| {
        let text = text.trim();
        let ok = !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/'));
        ok.then(|| text.to_owned())
    };
    let value = |text: &str| if text.trim().is_empty() { Some(String::new()) } else { word(text) };
    if let Some(key) = part.strip_prefix('!') {
        return Some((word(key)?, Test::Missing));
    }
    if let Some((key, v)) = part.split_once("!=") {
        return Some((word(key)?, Test::NotIn(vec![value(v)?])));
    }
    if let Some((key, v)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Some((word(key)?, Test::In(vec![value(v)?])));
    }
    if let Some(list) = part.strip_suffix(')') {
        let (head, values) = list.split_once('(')?;
        let values = values.split(',').map(value).collect::<Option<Vec<_>>>()?;
        let mut words = head.split_whitespace();
        return match (words.next(), words.next(), words.next()) {
            (Some(key), Some("in"), None) => Some((word(key)?, Test::In(values))),
            (Some(key), Some("notin"), None) => Some((word(key)?, Test::NotIn(values))),
            _ => None,
        };
    }
    Some((word(part)?, Test::Exists))
}
