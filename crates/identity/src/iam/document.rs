//! A policy document, read strictly: what cannot be understood is refused when it is written.

use serde_json::{Map, Value};

use super::condition::{Condition, Facts, Known};
use super::pattern::{Expanded, Pattern};

const STATEMENTS_MAX: usize = 100;
const ITEMS_MAX: usize = 500;

/// Why a text is no policy document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DocumentError(String);

/// What a document is of, and so what its statements say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Identity,
    Trust,
    Resource,
}

/// A policy of an identity or of a resource, or who may take a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    pub(super) statements: Vec<Statement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) is_denial: bool,
    actions: Listed,
    resources: Option<Listed>,
    principals: Vec<(String, Pattern)>,
    conditions: Vec<Condition>,
}

/// A list, or all that is not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listed {
    is_negated: bool,
    patterns: Vec<Pattern>,
}

impl Document {
    /// The policy of a user, group or role.
    pub fn policy(text: &str) -> Result<Self, DocumentError> {
        Self::read(text, Form::Identity)
    }

    /// Who may take a role.
    pub fn trust(text: &str) -> Result<Self, DocumentError> {
        Self::read(text, Form::Trust)
    }

    /// Who may do what with a resource; it stands with the resource itself, such as a bucket.
    pub fn of_resource(text: &str) -> Result<Self, DocumentError> {
        Self::read(text, Form::Resource)
    }

    /// What stands for a document that cannot be read any more: nothing is allowed with it.
    pub(super) fn refusing() -> Self {
        let all = || Listed { is_negated: false, patterns: Pattern::read("*").into_iter().collect() };
        Self {
            statements: vec![Statement {
                is_denial: true,
                actions: all(),
                resources: Some(all()),
                principals: Vec::new(),
                conditions: Vec::new(),
            }],
        }
    }

    /// What its statements speak of, as it is written; without what has a variable in it.
    pub fn resources(&self) -> Vec<String> {
        let listed = self.statements.iter().filter_map(|s| s.resources.as_ref());
        let literal = |pattern: &Pattern| match pattern.literal(&Facts::default()) {
            Known::Is(text) => text,
            Known::Not => None,
        };
        listed.flat_map(|listed| listed.patterns.iter().filter_map(literal)).collect()
    }

    fn read(text: &str, form: Form) -> Result<Self, DocumentError> {
        let value: Value =
            serde_json::from_str(text).map_err(|e| DocumentError(format!("it is not JSON: {e}")))?;
        let Value::Object(document) = value else { return Err(wrong("it must be an object")) };
        only(&document, &["Version", "Id", "Statement"])?;
        match document.get("Version") {
            None => {}
            Some(Value::String(version)) if version == "2012-10-17" || version == "2008-10-17" => {}
            Some(_) => return Err(wrong("Version must be 2012-10-17")),
        }
        let statements = match document.get("Statement") {
            None => return Err(wrong("Statement is missing")),
            Some(Value::Array(statements)) => statements.iter().collect(),
            Some(one) => vec![one],
        };
        if statements.is_empty() || statements.len() > STATEMENTS_MAX {
            return Err(wrong("there must be 1 to 100 statements"));
        }
        let read = statements.into_iter().map(|statement| Statement::read(statement, form));
        Ok(Self { statements: read.collect::<Result<_, _>>()? })
    }

    /// Whether a condition or variable of it asks for a key that begins so.
    pub fn asks_for(&self, prefix: &str) -> bool {
        self.statements.iter().flat_map(|s| &s.conditions).any(|c| c.key.starts_with(prefix))
    }
}

impl Statement {
    fn read(value: &Value, form: Form) -> Result<Self, DocumentError> {
        let Value::Object(map) = value else { return Err(wrong("a statement must be an object")) };
        let mut known = vec!["Sid", "Effect", "Action", "NotAction", "Condition"];
        if form != Form::Identity {
            known.push("Principal");
        }
        if form != Form::Trust {
            known.extend(["Resource", "NotResource"]);
        }
        only(map, &known)?;
        let is_denial = match map.get("Effect").and_then(Value::as_str) {
            Some("Allow") => false,
            Some("Deny") => true,
            _ => return Err(wrong("Effect must be Allow or Deny")),
        };
        let actions = Listed::read(map, "Action")?.ok_or_else(|| wrong("a statement needs Action"))?;
        for text in texts(map.get("Action").or_else(|| map.get("NotAction")))? {
            if text != "*" && !text.split_once(':').is_some_and(|(s, a)| !s.is_empty() && !a.is_empty()) {
                return Err(wrong(&format!("{text:?} is no action: it must look like ec2:RunInstances")));
            }
        }
        let resources = Listed::read(map, "Resource")?;
        if resources.is_none() && form != Form::Trust {
            return Err(wrong("a statement needs Resource"));
        }
        for text in texts(map.get("Resource").or_else(|| map.get("NotResource")))? {
            if text != "*" && (!text.starts_with("arn:") || text.splitn(6, ':').count() < 6) {
                return Err(wrong(&format!("{text:?} must be an ARN or *")));
            }
        }
        let principals = match map.get("Principal") {
            Some(principal) => principals(principal)?,
            None if form != Form::Identity => return Err(wrong("a statement needs Principal")),
            None => Vec::new(),
        };
        let conditions = conditions(map.get("Condition"))?;
        Ok(Self { is_denial, actions, resources, principals, conditions })
    }

    /// Whether it speaks of an action.
    pub(super) fn is_about(&self, action: &str, facts: &Facts) -> Known<bool> {
        self.actions.holds(facts, |pattern| pattern.covers_caseless(action))
    }

    /// Whether it speaks of what a test finds among its resources.
    pub(super) fn is_on(&self, facts: &Facts, test: impl Fn(&Expanded) -> bool) -> Known<bool> {
        self.resources.as_ref().map_or(Known::Is(true), |resources| resources.holds(facts, test))
    }

    /// Whether it excludes resources instead of listing them.
    pub(super) fn excludes_resources(&self) -> bool {
        self.resources.as_ref().is_some_and(|resources| resources.is_negated)
    }

    /// Whether it names one of these principals, each with its type.
    pub(super) fn names(&self, principals: &[(&str, &str)], facts: &Facts) -> bool {
        self.principals.iter().any(|(kind, pattern)| {
            let Known::Is(Some(text)) = pattern.literal(facts) else { return false };
            principals.iter().any(|(k, p)| text == "*" || kind == k && text == *p)
        })
    }

    /// Whether it names everyone and asks for nothing more.
    pub(super) fn is_for_everyone(&self) -> bool {
        let any = |(_, pattern): &(String, Pattern)| matches!(pattern.literal(&Facts::default()), Known::Is(Some(text)) if text == "*");
        self.conditions.is_empty() && self.principals.iter().any(any)
    }

    /// Whether all its conditions hold; unknown if one is and none fails.
    pub(super) fn applies(&self, facts: &Facts) -> Known<bool> {
        let mut all = Known::Is(true);
        for condition in &self.conditions {
            match condition.holds(facts) {
                Known::Is(false) => return Known::Is(false),
                Known::Is(true) => {}
                Known::Not => all = Known::Not,
            }
        }
        all
    }
}

impl Listed {
    fn read(map: &Map<String, Value>, name: &str) -> Result<Option<Self>, DocumentError> {
        let negated = format!("Not{name}");
        let (value, is_negated) = match (map.get(name), map.get(&negated)) {
            (None, None) => return Ok(None),
            (Some(value), None) => (value, false),
            (None, Some(value)) => (value, true),
            (Some(_), Some(_)) => return Err(wrong(&format!("{name} and {negated} exclude each other"))),
        };
        let patterns = texts(Some(value))?.into_iter().map(pattern).collect::<Result<Vec<_>, _>>()?;
        if patterns.is_empty() || patterns.len() > ITEMS_MAX {
            return Err(wrong(&format!("{name} must have 1 to {ITEMS_MAX} entries")));
        }
        Ok(Some(Self { is_negated, patterns }))
    }

    fn holds(&self, facts: &Facts, test: impl Fn(&Expanded) -> bool) -> Known<bool> {
        let mut is_unknown = false;
        for pattern in &self.patterns {
            match pattern.expand(facts) {
                Known::Is(Some(expanded)) if test(&expanded) => return Known::Is(!self.is_negated),
                Known::Is(_) => {}
                Known::Not => is_unknown = true,
            }
        }
        if is_unknown { Known::Not } else { Known::Is(self.is_negated) }
    }
}

fn principals(value: &Value) -> Result<Vec<(String, Pattern)>, DocumentError> {
    let mut found = Vec::new();
    match value {
        Value::String(text) if text == "*" => found.push(("AWS".to_owned(), pattern("*")?)),
        Value::Object(map) => {
            only(map, &["AWS", "Service", "Federated", "CanonicalUser"])?;
            for (kind, value) in map {
                for text in texts(Some(value))? {
                    found.push((kind.clone(), pattern(text)?));
                }
            }
        }
        _ => return Err(wrong("Principal must be * or an object")),
    }
    if found.is_empty() { Err(wrong("Principal names nobody")) } else { Ok(found) }
}

fn conditions(value: Option<&Value>) -> Result<Vec<Condition>, DocumentError> {
    let map = match value {
        None => return Ok(Vec::new()),
        Some(Value::Object(map)) => map,
        Some(_) => return Err(wrong("Condition must be an object")),
    };
    let mut conditions = Vec::new();
    for (operator, keys) in map {
        let Value::Object(keys) = keys else {
            return Err(wrong(&format!("Condition {operator} must be an object")));
        };
        for (key, values) in keys {
            conditions.push(Condition::read(operator, key, values).map_err(|e| wrong(&e))?);
        }
    }
    Ok(conditions)
}

fn pattern(text: &str) -> Result<Pattern, DocumentError> {
    Pattern::read(text).ok_or_else(|| wrong(&format!("{text:?} has a variable that does not end")))
}

fn texts(value: Option<&Value>) -> Result<Vec<&str>, DocumentError> {
    let text = |value: &'_ Value| value.as_str().is_some();
    match value {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text]),
        Some(Value::Array(values)) if values.iter().all(text) => {
            Ok(values.iter().filter_map(Value::as_str).collect())
        }
        Some(_) => Err(wrong("a text or a list of texts was expected")),
    }
}

fn only(map: &Map<String, Value>, known: &[&str]) -> Result<(), DocumentError> {
    match map.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(wrong(&format!("{key} is not known here"))),
    }
}

fn wrong(why: &str) -> DocumentError {
    DocumentError(why.to_owned())
}
