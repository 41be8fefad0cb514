//! Instances of which few are shown: what is asked of all of them is answered without working out the rest.

use std::borrow::Cow;
use std::cell::OnceCell;

use model::compute::Instance;

use super::shown::{Shown, instance_tags, state};
use super::world::World;
use crate::describe::Item;
use crate::ids;
use crate::tags::{self, Tags};
use crate::xml::Xml;

/// An instance that may be one of those asked for. Most are told apart by what is at hand; what is shown is worked out
/// for those that are.
pub(super) struct Candidate<'a> {
    pub(super) id: String,
    source: Source<'a>,
    tags: OnceCell<Tags>,
    shown: OnceCell<Shown>,
}

enum Source<'a> {
    There(&'a World, &'a Instance),
    Gone(Box<Shown>),
}

impl<'a> Candidate<'a> {
    pub(super) fn there(world: &'a World, instance: &'a Instance) -> Self {
        Self::new(ids::id(instance), Source::There(world, instance))
    }

    pub(super) fn gone(shown: Shown) -> Self {
        Self::new(shown.id.clone(), Source::Gone(Box::new(shown)))
    }

    fn new(id: String, source: Source<'a>) -> Self {
        Self { id, source, tags: OnceCell::new(), shown: OnceCell::new() }
    }

    pub(super) fn shown(&self) -> &Shown {
        match &self.source {
            Source::There(world, instance) => self.shown.get_or_init(|| Shown::of(world, instance)),
            Source::Gone(shown) => shown,
        }
    }
}

impl Item for Candidate<'_> {
    const FILTERS: &'static [&'static str] = Shown::FILTERS;

    fn id(&self) -> &str {
        &self.id
    }
    fn tags(&self) -> Option<&Tags> {
        Some(match &self.source {
            Source::There(_, instance) => self.tags.get_or_init(|| instance_tags(instance)),
            Source::Gone(shown) => &shown.tags,
        })
    }
    fn tag(&self, key: &str) -> Option<Cow<'_, str>> {
        match &self.source {
            // Those of launch templates are not kept as tags.
            Source::There(_, instance) if !key.starts_with("aws:") => tags::one(&instance.metadata, key),
            _ => self.tags().and_then(|tags| tags.get(key)).map(|value| Cow::Borrowed(value.as_str())),
        }
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        match (filter, &self.source) {
            ("instance-id", _) => vec![self.id.clone()],
            ("instance-state-name", Source::There(_, instance)) => vec![state(instance).0.to_owned()],
            ("instance-type", Source::There(_, instance)) => vec![instance.spec.instance_type.clone()],
            _ => self.shown().facts(filter),
        }
    }
    fn write(&self, x: &mut Xml) {
        self.shown().write(x);
    }
}
