//! Conditions of statements, and what a request says of the keys they name.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use model::Timestamp;
use serde_json::Value;

use super::pattern::{Expanded, Pattern};

/// Something, or that nobody here knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known<T> {
    Is(T),
    Not,
}

/// What a request says: values by key, and the keys of which it is known that it says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    values: BTreeMap<String, Vec<String>>,
    known: BTreeSet<String>,
    known_prefixes: BTreeSet<String>,
}

impl Facts {
    pub fn set(&mut self, key: &str, value: impl Into<String>) -> &mut Self {
        self.values.insert(key.to_ascii_lowercase(), vec![value.into()]);
        self
    }

    pub fn set_all(&mut self, key: &str, values: Vec<String>) -> &mut Self {
        self.values.insert(key.to_ascii_lowercase(), values);
        self
    }

    /// What is not said of this key is known not to be there.
    pub fn knows(&mut self, key: &str) -> &mut Self {
        self.known.insert(key.to_ascii_lowercase());
        self
    }

    /// The same of all keys that begin so, such as those of tags.
    pub fn knows_all(&mut self, prefix: &str) -> &mut Self {
        self.known_prefixes.insert(prefix.to_ascii_lowercase());
        self
    }

    /// Takes over everything that others say; what they say counts.
    pub fn include(&mut self, others: &Self) -> &mut Self {
        self.values.extend(others.values.clone());
        self.known.extend(others.known.iter().cloned());
        self.known_prefixes.extend(others.known_prefixes.iter().cloned());
        self
    }

    /// By a key in lower case.
    pub(super) fn get(&self, key: &str) -> Known<Option<&[String]>> {
        if let Some(values) = self.values.get(key) {
            return Known::Is(Some(values));
        }
        let known =
            self.known.contains(key) || self.known_prefixes.iter().any(|p| key.starts_with(p.as_str()));
        if known { Known::Is(None) } else { Known::Not }
    }
}

/// One operator on one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    set: Set,
    operator: Operator,
    if_exists: bool,
    pub(super) key: String,
    values: Vec<Pattern>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    /// Any value, as with `ForAnyValue`, but that a missing key satisfies a negation.
    Plain,
    Any,
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Operator {
    test: Test,
    is_negated: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Test {
    Text,
    TextCaseless,
    Like,
    Number(Order),
    Date(Order),
    Bool,
    Address,
    Arn,
    Null,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Equal,
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
}

impl Condition {
    /// Reads one operator with its key and values.
    pub(super) fn read(operator: &str, key: &str, values: &Value) -> Result<Self, String> {
        let (set, name) = match operator.split_once(':') {
            None => (Set::Plain, operator),
            Some(("ForAnyValue", name)) => (Set::Any, name),
            Some(("ForAllValues", name)) => (Set::All, name),
            Some((other, _)) => return Err(format!("{other} is not a set operator")),
        };
        let (name, if_exists) = match name.strip_suffix("IfExists") {
            Some(name) if name != "Null" => (name, true),
            _ => (name, false),
        };
        let operator = Operator::read(name).ok_or_else(|| format!("{name} is not a condition operator"))?;
        let listed = match values {
            Value::Array(values) => values.iter().collect(),
            value => vec![value],
        };
        let mut read = Vec::new();
        for value in listed {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Bool(_) | Value::Number(_) => value.to_string(),
                _ => return Err(format!("the values of {key} must be texts")),
            };
            read.push(
                Pattern::read(&text).ok_or_else(|| format!("{text:?} has a variable that does not end"))?,
            );
        }
        Ok(Self { set, operator, if_exists, key: key.to_ascii_lowercase(), values: read })
    }

    /// Whether it holds; unknown when it asks for what nobody knows.
    pub(super) fn holds(&self, facts: &Facts) -> Known<bool> {
        let Known::Is(found) = facts.get(&self.key) else { return Known::Not };
        let mut wanted = Vec::with_capacity(self.values.len());
        for pattern in &self.values {
            let Known::Is(expanded) = pattern.expand(facts) else { return Known::Not };
            wanted.extend(expanded);
        }
        if self.operator.test == Test::Null {
            let text = |value: &Pattern| match value.literal(facts) {
                Known::Is(Some(text)) => text.eq_ignore_ascii_case("true"),
                _ => false,
            };
            return Known::Is(self.values.iter().any(|value| text(value) == found.is_none()));
        }
        let Some(found) = found.filter(|found| !found.is_empty()) else {
            return Known::Is(
                self.if_exists
                    || match self.set {
                        Set::All => true,
                        Set::Any => false,
                        Set::Plain => self.operator.is_negated,
                    },
            );
        };
        let one = |value: &String| {
            wanted.iter().any(|pattern| self.operator.test.passes(value, pattern)) != self.operator.is_negated
        };
        Known::Is(if self.set == Set::All { found.iter().all(one) } else { found.iter().any(one) })
    }
}

impl Operator {
    fn read(name: &str) -> Option<Self> {
        use Order::{Equal, Less, LessOrEqual, More, MoreOrEqual};
        let (test, is_negated) = match name {
            "StringEquals" | "BinaryEquals" => (Test::Text, false),
            "StringNotEquals" => (Test::Text, true),
            "StringEqualsIgnoreCase" => (Test::TextCaseless, false),
            "StringNotEqualsIgnoreCase" => (Test::TextCaseless, true),
            "StringLike" => (Test::Like, false),
            "StringNotLike" => (Test::Like, true),
            "NumericEquals" => (Test::Number(Equal), false),
            "NumericNotEquals" => (Test::Number(Equal), true),
            "NumericLessThan" => (Test::Number(Less), false),
            "NumericLessThanEquals" => (Test::Number(LessOrEqual), false),
            "NumericGreaterThan" => (Test::Number(More), false),
            "NumericGreaterThanEquals" => (Test::Number(MoreOrEqual), false),
            "DateEquals" => (Test::Date(Equal), false),
            "DateNotEquals" => (Test::Date(Equal), true),
            "DateLessThan" => (Test::Date(Less), false),
            "DateLessThanEquals" => (Test::Date(LessOrEqual), false),
            "DateGreaterThan" => (Test::Date(More), false),
            "DateGreaterThanEquals" => (Test::Date(MoreOrEqual), false),
            "Bool" => (Test::Bool, false),
            "IpAddress" => (Test::Address, false),
            "NotIpAddress" => (Test::Address, true),
            "ArnEquals" | "ArnLike" => (Test::Arn, false),
            "ArnNotEquals" | "ArnNotLike" => (Test::Arn, true),
            "Null" => (Test::Null, false),
            _ => return None,
        };
        Some(Self { test, is_negated })
    }
}

impl Test {
    fn passes(self, value: &str, pattern: &Expanded) -> bool {
        let text = || pattern.text();
        match self {
            Self::Text => text() == value,
            Self::TextCaseless | Self::Bool => text().eq_ignore_ascii_case(value),
            Self::Like => pattern.covers(value),
            Self::Arn => pattern.covers_arn(value),
            Self::Number(order) => {
                let number = |text: &str| text.trim().parse::<f64>().ok();
                number(value).zip(number(&text())).is_some_and(|(a, b)| order.holds(a.partial_cmp(&b)))
            }
            Self::Date(order) => {
                instant(value).zip(instant(&text())).is_some_and(|(a, b)| order.holds(Some(a.cmp(&b))))
            }
            Self::Address => is_in(value, &text()).unwrap_or(false),
            Self::Null => false,
        }
    }
}

impl Order {
    fn holds(self, found: Option<std::cmp::Ordering>) -> bool {
        use std::cmp::Ordering::{Equal, Greater, Less};
        match self {
            Self::Equal => found == Some(Equal),
            Self::Less => found == Some(Less),
            Self::LessOrEqual => matches!(found, Some(Less | Equal)),
            Self::More => found == Some(Greater),
            Self::MoreOrEqual => matches!(found, Some(Greater | Equal)),
        }
    }
}

/// Milliseconds since the epoch of a date, or of seconds since it.
fn instant(text: &str) -> Option<i64> {
    let seconds = || text.parse::<i64>().ok()?.checked_mul(1000);
    Timestamp::parse(text).map(|at| at.0).or_else(seconds)
}

/// Whether an address is in a network, or is the one address that is given.
fn is_in(address: &str, network: &str) -> Option<bool> {
    let address: IpAddr = address.parse().ok()?;
    let (base, bits) = match network.split_once('/') {
        Some((base, bits)) => (base, Some(bits.parse::<u32>().ok()?)),
        None => (network, None),
    };
    let (a, b, width) = match (address, base.parse::<IpAddr>().ok()?) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(u32::from(a)), u128::from(u32::from(b)), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (u128::from(a), u128::from(b), 128),
        _ => return Some(false),
    };
    let bits = bits.unwrap_or(width);
    let shift = width.checked_sub(bits)?;
    let cut = |n: u128| n.checked_shr(shift).unwrap_or(0);
    Some(cut(a) == cut(b))
}
