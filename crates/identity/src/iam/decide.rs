//! The decision: what all documents that hold for a caller say of one action on one resource.

use std::sync::Arc;

use super::condition::{Facts, Known};
use super::document::{Document, Statement};

/// What an action is done to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// This one; `*` where an action knows no single resources.
    One(String),
    /// One of these, the request does not say which: allowed only where all are, denied where one may be meant.
    SomeOf(String),
}

/// A document and what it is called.
pub(super) type Named = (String, Arc<Document>);

/// All documents that hold for a caller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions {
    pub(super) own: Vec<Named>,
    /// What bounds the own ones, each by itself: a boundary, and the policies of a session.
    pub(super) bounds: Vec<Vec<Named>>,
}

/// What came out, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Allowed {
        by: String,
    },
    /// By a statement that denies.
    Denied {
        by: String,
    },
    /// Nothing allows it.
    NotAllowed,
    /// It is beyond the boundary or the session.
    BeyondBounds,
}

impl Verdict {
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed { .. })
    }
}

impl Resource {
    pub fn text(&self) -> &str {
        match self {
            Self::One(arn) | Self::SomeOf(arn) => arn,
        }
    }
}

impl Permissions {
    /// Those of documents that are not stored, for simulations.
    pub fn of(documents: Vec<(String, Document)>) -> Self {
        let own = documents.into_iter().map(|(name, document)| (name, Arc::new(document))).collect();
        Self { own, bounds: Vec::new() }
    }

    /// The same, with one more bound.
    #[must_use]
    pub fn bounded(mut self, name: &str, bound: Document) -> Self {
        self.bounds.push(vec![(name.to_owned(), Arc::new(bound))]);
        self
    }

    #[must_use]
    pub fn and(mut self, name: &str, document: Document) -> Self {
        self.own.push((name.to_owned(), Arc::new(document)));
        self
    }

    /// Whether a condition asks for a key that begins so: only then is it looked up.
    pub fn asks_for(&self, prefix: &str) -> bool {
        self.all().any(|(_, document)| document.asks_for(prefix))
    }

    /// A denial anywhere wins; what nothing allows, or one of the bounds does not, is denied.
    pub fn decide(&self, action: &str, resource: &Resource, facts: &Facts) -> Verdict {
        let denies = |(_, document): &&Named| {
            document.statements.iter().filter(|s| s.is_denial).any(|s| may_speak(s, action, resource, facts))
        };
        if let Some((by, _)) = self.all().find(denies) {
            return Verdict::Denied { by: by.clone() };
        }
        let Some(by) = allowing(&self.own, action, resource, facts) else { return Verdict::NotAllowed };
        if self.is_within_bounds(action, resource, facts) {
            Verdict::Allowed { by: by.to_owned() }
        } else {
            Verdict::BeyondBounds
        }
    }

    /// Whether nothing that bounds the caller keeps him from it.
    pub fn is_within_bounds(&self, action: &str, resource: &Resource, facts: &Facts) -> bool {
        self.bounds.iter().all(|bound| allowing(bound, action, resource, facts).is_some())
    }

    fn all(&self) -> impl Iterator<Item = &Named> {
        self.own.iter().chain(self.bounds.iter().flatten())
    }
}

impl Document {
    /// Whether a trust document lets one of these principals, each with its type, do this.
    pub fn trusts(&self, principals: &[(&str, &str)], action: &str, facts: &Facts) -> bool {
        let names = |s: &&Statement| s.names(principals, facts);
        let about = |s: &Statement| s.is_about(action, facts) != Known::Is(false);
        let denied = |s: &Statement| s.is_denial && about(s) && s.applies(facts) != Known::Is(false);
        let allowed = |s: &Statement| {
            !s.is_denial
                && s.is_about(action, facts) == Known::Is(true)
                && s.applies(facts) == Known::Is(true)
        };
        !self.statements.iter().filter(names).any(denied) && self.statements.iter().filter(names).any(allowed)
    }
}

/// The callers that a document of a resource may name, each with its type.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// Those whom an allowance has to name.
    pub allowed: &'a [(&'a str, &'a str)],
    /// Those whom a denial has to name.
    pub denied: &'a [(&'a str, &'a str)],
}

impl Document {
    /// What the document of a resource says to a caller; alone it is not the whole decision.
    pub fn decide_for(&self, names: Names<'_>, action: &str, resource: &Resource, facts: &Facts) -> Verdict {
        let denies = |s: &&Statement| {
            s.is_denial && s.names(names.denied, facts) && may_speak(s, action, resource, facts)
        };
        let allows = |s: &&Statement| {
            !s.is_denial && s.names(names.allowed, facts) && speaks(s, action, resource, facts)
        };
        let by = "the resource's policy".to_owned();
        if self.statements.iter().any(|s| denies(&s)) {
            Verdict::Denied { by }
        } else if self.statements.iter().any(|s| allows(&s)) {
            Verdict::Allowed { by }
        } else {
            Verdict::NotAllowed
        }
    }

    /// Whether anybody at all is allowed something without a condition that could exclude him.
    pub fn is_public(&self) -> bool {
        self.statements.iter().any(|s| !s.is_denial && s.is_for_everyone())
    }
}

fn allowing<'a>(documents: &'a [Named], action: &str, resource: &Resource, facts: &Facts) -> Option<&'a str> {
    let allows = |s: &Statement| !s.is_denial && speaks(s, action, resource, facts);
    let found = documents.iter().find(|(_, document)| document.statements.iter().any(allows));
    found.map(|(name, _)| name.as_str())
}

/// Whether a statement surely speaks of it.
fn speaks(s: &Statement, action: &str, resource: &Resource, facts: &Facts) -> bool {
    let on = match resource {
        // With a star a resource of many stands for each of them.
        Resource::SomeOf(arn) if s.excludes_resources() => s.is_on(facts, |p| p.meets_arn(arn)),
        Resource::SomeOf(arn) => s.is_on(facts, |p| p.includes_arn(arn)),
        Resource::One(arn) => s.is_on(facts, |p| p.covers_arn(arn)),
    };
    [s.is_about(action, facts), on, s.applies(facts)].iter().all(|known| *known == Known::Is(true))
}

/// Whether a statement speaks of it as far as anybody knows.
fn may_speak(s: &Statement, action: &str, resource: &Resource, facts: &Facts) -> bool {
    let on = match resource {
        Resource::SomeOf(arn) if !s.excludes_resources() => s.is_on(facts, |p| p.meets_arn(arn)),
        Resource::SomeOf(arn) => s.is_on(facts, |p| p.includes_arn(arn)),
        Resource::One(arn) => s.is_on(facts, |p| p.covers_arn(arn)),
    };
    [s.is_about(action, facts), on, s.applies(facts)].iter().all(|known| *known != Known::Is(false))
}
