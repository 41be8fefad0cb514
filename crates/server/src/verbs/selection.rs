//! What a list or watch selects. Every agent watches the instances of its own host, so the test for that field
//! looks at the stored bytes first: most objects are told apart without being read.

use client::ListParams;
use memchr::memmem::Finder;
use model::{ApiError, FieldSelector, KindEntry, LabelSelector, Selector};
use store::Entry;

use crate::record;

/// The field by which agents select.
const HOST_FIELD: &str = "status.host";

pub(super) struct Selection {
    selector: Selector,
    /// Stands in the bytes of every object of the wanted host, and in few others.
    host: Option<Finder<'static>>,
}

impl Selection {
    pub(super) fn new(list: &ListParams) -> Result<Self, ApiError> {
        let invalid = |e: model::SelectorError| ApiError::bad_request(e.to_string());
        let selector = Selector {
            labels: LabelSelector::parse(&list.label_selector).map_err(invalid)?,
            fields: FieldSelector::parse(&list.field_selector).map_err(invalid)?,
        };
        // Names of hosts have nothing that JSON would escape; an empty host is not written at all.
        let host = selector.fields.required(HOST_FIELD).filter(|host| model::Name::new(host).is_ok());
        let host = host.map(|host| Finder::new(&format!("\"host\":\"{host}\"")).into_owned());
        Ok(Self { selector, host })
    }

    pub(super) fn is_everything(&self) -> bool {
        self.selector.is_empty()
    }

    pub(super) fn matches(&self, kind: &KindEntry, entry: &Entry) -> Result<bool, ApiError> {
        if self.is_everything() {
            return Ok(true);
        }
        if self.host.as_ref().is_some_and(|host| host.find(&entry.value).is_none()) {
            return Ok(false);
        }
        Ok(self.selector.matches(&*record::decode(kind, entry)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::compute::{Instance, InstanceSpec};
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
}
