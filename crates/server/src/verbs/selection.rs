//! What a list or watch selects. Every agent watches the instances of its own host, and events are asked for by their
//! reason, so the tests for these fields look at the stored bytes first: most objects are told apart without being read.

use client::ListParams;
use memchr::memmem::Finder;
use model::{ApiError, FieldSelector, KindEntry, LabelSelector, Selector};
use store::Entry;

use crate::record;

/// The fields by which most is selected, and how they are written.
const QUICK_FIELDS: [(&str, &str); 2] = [("status.host", "host"), ("reason", "reason")];

pub(super) struct Selection {
    selector: Selector,
    /// Each stands in the bytes of every wanted object, and in few others.
    quick: Vec<Finder<'static>>,
}

impl Selection {
    pub(super) fn new(list: &ListParams) -> Result<Self, ApiError> {
        let invalid = |e: model::SelectorError| ApiError::bad_request(e.to_string());
        let selector = Selector {
            labels: LabelSelector::parse(&list.label_selector).map_err(invalid)?,
            fields: FieldSelector::parse(&list.field_selector).map_err(invalid)?,
        };
        let finder = |(path, field): (&str, &str)| {
            // What looks like a name has nothing that JSON would escape; an empty text is not written at all.
            let is_plain = |value: &&str| model::Name::new(value.to_ascii_lowercase()).is_ok();
            let value = selector.fields.required(path).filter(is_plain)?;
            Some(Finder::new(&format!("\"{field}\":\"{value}\"")).into_owned())
        };
        let quick = QUICK_FIELDS.into_iter().filter_map(finder).collect();
        Ok(Self { selector, quick })
    }

    pub(super) fn is_everything(&self) -> bool {
        self.selector.is_empty()
    }

    pub(super) fn matches(&self, kind: &KindEntry, entry: &Entry) -> Result<bool, ApiError> {
        if self.is_everything() {
            return Ok(true);
        }
        if self.quick.iter().any(|finder| finder.find(&entry.value).is_none()) {
            return Ok(false);
        }
        Ok(self.selector.matches(&*record::decode(kind, entry)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::compute::{Instance, InstanceSpec};
    use model::event::Event;
    use model::{AnyObject, ObjectMeta};

    fn entry(host: &str) -> Entry {
        let mut instance = Instance::new(ObjectMeta::in_project("p", "i"), InstanceSpec::default());
        instance.status.host = host.into();
        Entry {
            key: "/k".into(),
            value: AnyObject::encode(&instance).into(),
            create_revision: 1,
            mod_revision: 1,
            lease: None,
        }
    }

    #[test]
    fn the_quick_test_for_a_host_agrees_with_the_slow_one() {
        let kind = model::kind_of("instance").expect("instances are a kind");
        for (selector, host, expected) in [
            ("status.host=a", "a", true),
            ("status.host=a", "ab", false),
            ("status.host=a", "", false),
            ("status.host=", "", true),
            ("status.host=", "a", false),
            ("status.host!=a", "b", true),
            ("status.host=a,status.phase=Running", "a", false),
        ] {
            let list = ListParams { field_selector: selector.into(), ..ListParams::default() };
            let selection = Selection::new(&list).expect("a selector");
            assert_eq!(selection.matches(kind, &entry(host)), Ok(expected), "{selector} on host {host:?}");
        }
    }

    #[test]
    fn the_quick_test_for_a_reason_agrees_with_the_slow_one() {
        let kind = model::kind_of("event").expect("events are a kind");
        let event = |reason: &str| {
            let metadata = ObjectMeta::in_project("p", "e");
            let event = Event { metadata, reason: reason.into(), ..Event::default() };
            Entry { value: AnyObject::encode(&event).into(), ..entry("") }
        };
        for (selector, reason, expected) in [
            ("reason=Removed", "Removed", true),
            ("reason=Removed", "Removed2", false),
            ("reason=Removed", "", false),
            ("reason!=Removed", "Started", true),
            ("reason=", "", true),
        ] {
            let list = ListParams { field_selector: selector.into(), ..ListParams::default() };
            let selection = Selection::new(&list).expect("a selector");
            assert_eq!(selection.matches(kind, &event(reason)), Ok(expected), "{selector} of {reason:?}");
        }
    }
}
