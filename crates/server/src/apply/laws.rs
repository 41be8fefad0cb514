//! Laws of server-side apply, for any objects: repeating changes nothing, letting go undoes, and a conflict is
//! another's field with another value, no more and no less.

use std::collections::BTreeSet;

use model::Timestamp;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::fields::FieldSet;
use super::server_side::Conflicts;
use super::*;

/// A value or its absence, from few enough that managers meet.
fn maybe(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Option<Value>> {
    prop_oneof![1 => Just(None), 2 => value.prop_map(Some)]
}

fn word() -> impl Strategy<Value = Value> {
    prop::sample::select(vec!["a", "b"]).prop_map(Value::from)
}

fn object(fields: Vec<(&'static str, BoxedStrategy<Option<Value>>)>) -> impl Strategy<Value = Value> {
    let (names, values): (Vec<&'static str>, Vec<_>) = fields.into_iter().unzip();
    values.prop_map(move |values| {
        let stated = names.iter().zip(values).filter_map(|(name, value)| Some(((*name).to_owned(), value?)));
        Value::Object(stated.collect::<Map<String, Value>>())
    })
}

fn items(key: &'static str, field: &'static str) -> impl Strategy<Value = Value> {
    let item = move |name: &'static str| {
        maybe(word()).prop_map(move |value| {
            let mut item = json!({ key: name });
            if let Some(value) = value {
                item[field] = value;
            }
            item
        })
    };
    prop::collection::vec(prop_oneof![item("x"), item("y"), item("z")], 0..4).prop_map(move |items| {
        let mut seen = BTreeSet::new();
        items.into_iter().filter(|item| seen.insert(item[key].to_string())).collect()
    })
}

/// An instance that states some of its fields: scalars, a map, a set, a keyed list in a keyed list, one whole list.
fn statement() -> impl Strategy<Value = Value> {
    let set = prop::sample::subsequence(vec!["e.org/1", "e.org/2"], 0..=2).prop_map(|words| json!(words));
    let labels = object(vec![("l", maybe(word()).boxed()), ("m", maybe(word()).boxed())]);
    let metadata = object(vec![("labels", maybe(labels).boxed()), ("finalizers", maybe(set).boxed())]);
    let containers =
        items("name", "image").prop_map(|items| json!({ "containers": { "containers": items } }));
    let placement = object(vec![("zone", maybe(word()).boxed()), ("host", maybe(word()).boxed())]);
    let tolerations = prop::collection::vec(word(), 1..3).prop_map(
        |keys| json!({ "tolerations": keys.iter().map(|k| json!({ "key": k })).collect::<Vec<_>>() }),
    );
    let spec = object(vec![
        ("keyPair", maybe(word()).boxed()),
        ("protected", maybe(any::<bool>().prop_map(Value::from)).boxed()),
        ("payload", maybe(containers).boxed()),
        ("placement", maybe(prop_oneof![placement.boxed(), tolerations.boxed()]).boxed()),
    ]);
    let both = object(vec![("metadata", maybe(metadata).boxed()), ("spec", maybe(spec).boxed())]);
    both.prop_map(|mut object| {
        object["metadata"]["name"] = json!("web");
        object
    })
}

fn run(manager: &str, live: Option<&Value>, applied: &Value, force: bool) -> Result<Value, Conflicts> {
    let kind = model::kind_of("instance").expect("a kind");
    apply(&Apply { live, applied, manager, subresource: "", force, now: Timestamp(5000), kind })
}

/// The object without its managed fields.
fn bare(object: &Value) -> Value {
    let mut object = object.clone();
    object["metadata"].as_object_mut().expect("metadata").remove("managedFields");
    object
}

/// Every single field with its value, by path: an obvious reading, apart from the code under test.
fn leaves(at: &str, value: &Value, found: &mut BTreeSet<(String, String)>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            map.iter().for_each(|(name, value)| leaves(&format!("{at}.{name}"), value, found));
        }
        Value::Array(items) if at == ".metadata.finalizers" => {
            found.extend(items.iter().map(|item| (format!("{at}[={item}]"), String::new())));
        }
        Value::Array(items) if at.ends_with(".containers") => {
            for item in items {
                let at = format!("{at}[name={}]", item["name"]);
                found.insert((at.clone(), String::new()));
                leaves(&at, item, found);
            }
        }
        other => drop(found.insert((at.to_owned(), other.to_string()))),
    }
}

fn leaves_of(object: &Value) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    leaves("", &bare(object), &mut found);
    found.retain(|(path, value)| path != ".metadata.name" && value != "{}");
    found
}

proptest! {
    #[test]
    fn applying_again_changes_nothing(first in statement(), second in statement()) {
        let live = run("a", None, &first, false).expect("nobody else");
        let once = run("b", Some(&live), &second, true).expect("forced");
        let twice = run("b", Some(&once), &second, false).expect("its own fields");
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn letting_go_of_what_one_added_gives_the_original(first in statement(), second in statement()) {
        let live = run("a", None, &first, false).expect("nobody else");
        if let Ok(both) = run("b", Some(&live), &second, false) {
            let left = run("b", Some(&both), &json!({ "metadata": { "name": "web" } }), false).expect("no field");
            prop_assert_eq!(leaves_of(&left), leaves_of(&live));
        }
    }

    #[test]
    fn a_conflict_is_anothers_field_with_another_value(first in statement(), second in statement()) {
        let live = run("a", None, &first, false).expect("nobody else");
        let (theirs, mine) = (leaves_of(&first), leaves_of(&second));
        let expected: BTreeSet<String> = mine
            .iter()
            .filter(|(path, value)| theirs.iter().any(|(p, v)| p == path && v != value))
            .map(|(path, _)| path.clone())
            .collect();
        let found: BTreeSet<String> = match run("b", Some(&live), &second, false) {
            Ok(_) => BTreeSet::new(),
            Err(conflicts) => conflicts.iter().map(|c| c.field.clone()).collect(),
        };
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn the_result_states_what_was_applied_and_keeps_the_rest(first in statement(), second in statement()) {
        let live = run("a", None, &first, false).expect("nobody else");
        let merged = leaves_of(&run("b", Some(&live), &second, true).expect("forced"));
        let mine = leaves_of(&second);
        prop_assert!(mine.is_subset(&merged));
        let is_mine = |path: &String| mine.iter().any(|(p, _)| p == path);
        let rest: Vec<_> = leaves_of(&live).into_iter().filter(|(path, _)| !is_mine(path)).collect();
        prop_assert!(rest.iter().all(|leaf| merged.contains(leaf)));
        prop_assert_eq!(merged.len(), mine.len() + rest.len());
    }

    #[test]
    fn writes_leave_every_field_with_at_most_one_writer(first in statement(), second in statement()) {
        let kind = model::kind_of("instance").expect("a kind");
        let track = |old: Option<&Value>, new: &Value, manager: &str| {
            let mut written = new.clone();
            let update = Update { old, new, manager, subresource: "", now: Timestamp(0), kind };
            written["metadata"]["managedFields"] = Value::Array(track_update(&update));
            written
        };
        let old = track(None, &first, "a");
        let new = track(Some(&old), &second, "b");
        let entries = new["metadata"]["managedFields"].as_array().expect("entries").clone();
        let sets: Vec<FieldSet> = entries.iter().map(|e| FieldSet::decode(&e["fieldsV1"])).collect();
        let mut owned: Vec<String> = sets.iter().flat_map(FieldSet::paths).collect();
        owned.retain(|path| leaves_of(&second).iter().any(|(p, _)| p == path));
        owned.sort();
        let all: Vec<String> = leaves_of(&second).into_iter().map(|(path, _)| path).collect();
        prop_assert_eq!(owned, all);
    }

    #[test]
    fn field_sets_survive_their_encoding(first in statement()) {
        let created = run("a", None, &first, false).expect("nobody else");
        for entry in created["metadata"]["managedFields"].as_array().expect("entries") {
            prop_assert_eq!(&FieldSet::decode(&entry["fieldsV1"]).encode(), &entry["fieldsV1"]);
        }
    }
}
