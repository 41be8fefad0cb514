//! Selectors, in kubectl's syntax.

use std::collections::BTreeMap;

use model::compute::{Instance, InstanceSpec};
use model::{FieldSelector, LabelSelector, ObjectMeta, Selector};
use proptest::prelude::*;

fn labels(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(k, v)| (k.into(), v.into())).collect()
}

#[test]
fn labels_are_selected_as_kubectl_does() {
    let check = |selector: &str, matching: &[&str], others: &[&str]| {
        let parsed = LabelSelector::parse(selector).unwrap();
        for text in matching {
            assert!(parsed.matches(&labels(text)), "{selector} should match {text:?}");
        }
        for text in others {
            assert!(!parsed.matches(&labels(text)), "{selector} should not match {text:?}");
        }
    };
    check("", &["", "a=1"], &[]);
    check("a=1", &["a=1", "a=1,b=2"], &["", "a=2", "b=1"]);
    check("a==1", &["a=1"], &["a=2"]);
    check("a=", &["a="], &["", "a=1"]);
    check("a!=1", &["", "a=2", "b=1"], &["a=1"]);
    check("a", &["a=1", "a="], &["", "b=1"]);
    check("!a", &["", "b=1"], &["a=1"]);
    check("a in (1,2)", &["a=1", "a=2"], &["", "a=3"]);
    check("a notin (1, 2)", &["", "a=3"], &["a=1", "a=2"]);
    check(" a = 1 , b ", &["a=1,b=2"], &["a=1", "b=2"]);
    check("a in (1,2),!b,example.org/c=x", &["a=2,example.org/c=x"], &["a=2", "a=2,b=1,example.org/c=x"]);
}

#[test]
fn a_selector_that_cannot_be_read_is_shown_where_it_fails() {
    let check = |selector: &str, at: &str| {
        let error = LabelSelector::parse(selector).unwrap_err().to_string();
        let expected = format!("selector {selector:?} cannot be read at {at:?}: ");
        assert!(error.starts_with(&expected), "{error}");
    };
    check("a=1,=2", "=2");
    check("a>1", "a>1");
    check("a in 1", "a in 1");
    check("a in (1", "a in (1");
    check("a inside (1)", "a inside (1)");
    check("a=b=c", "a=b=c");
    check("!", "!");
    check("a b", "a b");
    check("a=ä", "a=ä");
    let many = vec!["a=1"; 65].join(",");
    assert!(LabelSelector::parse(&many).is_err(), "more requirements than anyone needs");
    assert!(LabelSelector::parse(&vec!["a=1"; 64].join(",")).is_ok());
}

#[test]
fn fields_are_selected_by_value() {
    let mut instance = Instance::new(ObjectMeta::in_project("p", "vm"), InstanceSpec::default());
    instance.status.host = "host-1".into();
    instance.metadata.labels = labels("app=web");
    let check = |selector: &str, expected: bool| {
        assert_eq!(FieldSelector::parse(selector).unwrap().matches(&instance), expected, "{selector}");
    };
    check("", true);
    check("metadata.name=vm", true);
    check("metadata.name==vm,metadata.namespace=p", true);
    check("metadata.name!=vm", false);
    check("status.host=host-1,status.phase=Pending", true);
    check("status.host=host-2", false);
    check("no.such.field=", true);
    check("no.such.field=x", false);
    for bad in ["vm", "a=1,b", "=x", "!=x"] {
        assert!(FieldSelector::parse(bad).is_err(), "{bad}");
    }
    let fields = FieldSelector::parse("status.host=host-1,spec.type!=small").unwrap();
    assert_eq!((fields.required("status.host"), fields.required("spec.type")), (Some("host-1"), None));
    let both = Selector { labels: LabelSelector::parse("app=db").unwrap(), fields };
    assert!(!both.matches(&instance) && !both.is_empty());
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[a-z=!,() ä]{0,40}") {
        let _ = (LabelSelector::parse(&text), FieldSelector::parse(&text));
    }

    /// A selector made from labels selects what has them, and stops when one is taken away.
    #[test]
    fn exactly_these_labels(all in proptest::collection::btree_map("[a-z]{1,4}", "[a-z]{0,4}", 1..6)) {
        let selector = LabelSelector::exactly(&all);
        prop_assert!(selector.matches(&all));
        let mut fewer = all.clone();
        fewer.pop_first();
        prop_assert!(!selector.matches(&fewer));
        let text: Vec<String> = all.iter().map(|(k, v)| format!("{k}={v}")).collect();
        prop_assert_eq!(LabelSelector::parse(&text.join(",")).unwrap(), selector);
    }
}
