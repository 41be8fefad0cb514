//! Tags. One that can be a label is a label, which selectors and other clients see; the rest, whose keys or values have
//! other characters, stand together in one annotation. Either way they are kept exactly.

use std::borrow::Cow;
use std::collections::BTreeMap;

use model::ObjectMeta;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::params::Params;
use crate::xml::Xml;

/// Where tags stand that cannot be labels, as a JSON object.
const ANNOTATION: &str = "aws.corten.dev/tags";
/// Labels of the cloud's own parts are no tags.
const OWN: &str = "corten.dev/";
const TAGS_MAX: usize = 50;
const KEY_MAX: usize = 127;
const VALUE_MAX: usize = 255;

pub(crate) type Tags = BTreeMap<String, String>;

/// The tags of an object.
pub(crate) fn of(meta: &ObjectMeta) -> Tags {
    let mut tags = annotated(meta);
    let labels = meta.labels.iter().filter(|(key, _)| !is_own(key));
    tags.extend(labels.map(|(key, value)| (key.clone(), value.clone())));
    tags
}

/// One of an object's tags.
pub(crate) fn one<'a>(meta: &'a ObjectMeta, key: &str) -> Option<Cow<'a, str>> {
    let label = meta.labels.get(key).filter(|_| !is_own(key));
    match label {
        Some(value) => Some(Cow::Borrowed(value)),
        None if meta.annotations.contains_key(ANNOTATION) => annotated(meta).remove(key).map(Cow::Owned),
        None => None,
    }
}

fn annotated(meta: &ObjectMeta) -> Tags {
    let text = meta.annotations.get(ANNOTATION);
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

fn is_own(key: &str) -> bool {
    key.split_once('/').is_some_and(|(prefix, _)| format!("{prefix}/").ends_with(OWN))
}

/// Gives a new object its tags.
pub(crate) fn give(meta: &mut ObjectMeta, tags: Tags) {
    let (labels, rest): (Tags, Tags) = tags.into_iter().partition(|(key, value)| is_label(key, value));
    meta.labels.extend(labels);
    if !rest.is_empty() {
        meta.annotations.insert(ANNOTATION.into(), json!(rest).to_string());
    }
}

/// Gives an object these tags instead of those it has.
pub(crate) fn replace(meta: &mut ObjectMeta, wanted: Tags) {
    meta.labels.retain(|key, _| is_own(key));
    meta.annotations.remove(ANNOTATION);
    give(meta, wanted);
}

/// The patch that gives an object these tags instead of those it has.
pub(crate) fn patch(meta: &ObjectMeta, wanted: Tags) -> Value {
    let mut new = ObjectMeta::default();
    give(&mut new, wanted);
    let mut labels: BTreeMap<&str, Value> =
        meta.labels.keys().filter(|key| !is_own(key)).map(|key| (key.as_str(), Value::Null)).collect();
    labels.extend(new.labels.iter().map(|(key, value)| (key.as_str(), json!(value))));
    let annotation = new.annotations.get(ANNOTATION).map_or(Value::Null, |text| json!(text));
    json!({ "metadata": {
        "resourceVersion": meta.resource_version,
        "labels": labels,
        "annotations": { ANNOTATION: annotation },
    }})
}

/// Whether a tag may stand among the labels: the rules of `model`, asked of `model` itself.
fn is_label(key: &str, value: &str) -> bool {
    if is_own(key) {
        return false;
    }
    let mut meta = ObjectMeta::named("x");
    meta.labels.insert(key.into(), value.into());
    let mut errors = model::FieldErrors::default();
    meta.validate(&mut errors);
    errors.is_empty()
}

/// Tags that a request names: `Tag.1.Key`, `Tag.1.Value`.
pub(crate) fn named(params: &Params, name: &str) -> Result<Tags, Failure> {
    let mut tags = Tags::new();
    for tag in params.structs(name) {
        let (key, value) = (tag.require("Key")?, tag.text("Value"));
        check(key, value)?;
        if tags.insert(key.into(), value.into()).is_some() {
            return Err(Failure::value(format!("Tag key '{key}' is given twice")));
        }
    }
    check_count(&tags)?;
    Ok(tags)
}

pub(crate) fn check_count(tags: &Tags) -> Result<(), Failure> {
    if tags.len() <= TAGS_MAX {
        return Ok(());
    }
    Err(Failure::new("TagLimitExceeded", format!("A resource has at most {TAGS_MAX} tags")))
}

fn check(key: &str, value: &str) -> Result<(), Failure> {
    if key.starts_with("aws:") {
        return Err(Failure::value("Tag keys starting with 'aws:' are reserved for internal use"));
    }
    if key.chars().count() > KEY_MAX || value.chars().count() > VALUE_MAX {
        let message = format!("Tag keys have at most {KEY_MAX} characters, values {VALUE_MAX}");
        return Err(Failure::value(message));
    }
    Ok(())
}

/// The tags that a creation gives to what is made, of this type. Tags for what is not made are refused.
pub(crate) fn for_new(params: &Params, resource_type: &str) -> Result<Tags, Failure> {
    for_one_of(params, resource_type, &[resource_type])
}

/// The same where things of several types are made.
pub(crate) fn for_one_of(params: &Params, resource_type: &str, made: &[&str]) -> Result<Tags, Failure> {
    let mut tags = Tags::new();
    for spec in params.structs("TagSpecification") {
        let given = spec.text("ResourceType");
        if !made.contains(&given) {
            let message = format!("'{given}' is not a valid taggable resource type for this operation.");
            return Err(Failure::value(message));
        }
        if given == resource_type {
            tags.extend(named(&spec, "Tag")?);
        }
    }
    check_count(&tags)?;
    Ok(tags)
}

pub(crate) fn write(x: &mut Xml, tags: &Tags) {
    x.list("tagSet", tags, |x, (key, value)| {
        x.text("key", key).text("value", value);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_can_be_a_label_is_one() {
        let mut meta = ObjectMeta::named("x");
        let tags =
            [("Name", "web"), ("a key", "v"), ("note", "two words"), ("kubernetes.io/cluster/c", "owned")];
        give(&mut meta, tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect());
        assert_eq!(meta.labels.keys().collect::<Vec<_>>(), ["Name"]);
        assert_eq!(of(&meta).len(), 4);
        meta.labels.insert("compute.corten.dev/set".into(), "s".into());
        assert_eq!(of(&meta).len(), 4, "the cloud's own labels are no tags");
    }

    proptest! {
        #[test]
        fn tags_are_kept_exactly(tags in proptest::collection::btree_map(any::<String>(), any::<String>(), 0..6)) {
            let mut meta = ObjectMeta::named("x");
            give(&mut meta, tags.clone());
            let mut errors = model::FieldErrors::default();
            meta.validate(&mut errors);
            prop_assert!(errors.is_empty(), "{}", errors);
            prop_assert!(tags.iter().all(|(key, value)| one(&meta, key).as_deref() == Some(value.as_str())));
            prop_assert_eq!(one(&meta, "\u{1}none"), None);
            prop_assert_eq!(of(&meta), tags);
        }
    }
}
