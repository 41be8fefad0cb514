//! Documents of every kind: nothing gets lost on the way in and out, and what does not belong is named.

use model::{DecodeError, KindEntry, kind_of, kinds};
use serde_json::{Value, json};

use crate::samples::sample;

#[test]
fn every_kind_keeps_every_field() {
    for entry in kinds() {
        let mut document = sample(entry.info.kind);
        let object = (entry.decode)(document.to_string().as_bytes(), true)
            .unwrap_or_else(|e| panic!("{}: {e}", entry.info.kind));
        document["apiVersion"] = entry.info.api_version().into();
        document["kind"] = entry.info.kind.into();
        let written: Value = serde_json::from_slice(&object.encode()).unwrap();
        assert_eq!(written, document, "{}", entry.info.kind);
    }
}

#[test]
fn every_kind_survives_being_written_and_read_strictly_and_leniently() {
    for entry in kinds() {
        for document in [json!({}), sample(entry.info.kind)] {
            let object = (entry.decode)(document.to_string().as_bytes(), true).unwrap();
            for strict in [true, false] {
                let again = (entry.decode)(&object.encode(), strict).unwrap();
                assert_eq!(again.encode(), object.encode(), "{}", entry.info.kind);
            }
        }
    }
}

#[test]
fn unknown_fields_are_refused_with_their_path_at_every_depth() {
    for entry in kinds() {
        let document = sample(entry.info.kind);
        for (pointer, path) in objects_in(&document) {
            if is_free_form(&path) {
                continue;
            }
            let mut wrong = document.clone();
            wrong.pointer_mut(&pointer).unwrap()["bogus"] = json!(1);
            let expected = if path.is_empty() { "bogus".into() } else { format!("{path}.bogus") };
            match refuse(entry, &wrong) {
                DecodeError::Unknown { field, kind } => {
                    assert_eq!((field, kind), (expected, entry.info.singular));
                }
                // Exactly one payload is allowed: a second one is not unknown, but one too many.
                DecodeError::Field { field, .. } if path.ends_with("spec.payload") => assert_eq!(field, path),
                other => panic!("{expected}: {other}"),
            }
            assert!((entry.decode)(wrong.to_string().as_bytes(), false).is_ok() || path.ends_with("payload"));
        }
    }
}

#[test]
fn values_of_the_wrong_type_are_refused_with_their_path() {
    for entry in kinds() {
        let document = sample(entry.info.kind);
        for (pointer, path) in leaves_of(&document) {
            if is_free_form(&path) {
                continue;
            }
            let mut wrong = document.clone();
            *wrong.pointer_mut(&pointer).unwrap() = json!([[]]);
            match refuse(entry, &wrong) {
                DecodeError::Field { field, message } => {
                    assert_eq!(field, path, "{message}");
                    assert!(!message.contains(" at line "), "{message}");
                }
                other => panic!("{path}: {other}"),
            }
        }
    }
}

#[test]
fn what_is_wrong_is_said_in_words() {
    let check = |body: &str, expected: &str| {
        let error = (kind_of("instance").unwrap().decode)(body.as_bytes(), true).unwrap_err();
        assert_eq!(error.to_string(), expected, "{body}");
    };
    check(
        r#"{"spec":{"payload":{"containers":{"containers":[{"nome":"web"}]}}}}"#,
        "unknown field \"spec.payload.containers.containers[0].nome\": remove it, or see the kind's fields \
         with `corten explain instance`",
    );
    check(
        r#"{"spec":{"resources":{"memory":"lots"}}}"#,
        r#"spec.resources.memory: "lots" is not an amount of bytes: write for example "256Mi" or "10Gi""#,
    );
    check(
        r#"{"metadata":{"creationTimestamp":"yesterday"}}"#,
        r#"metadata.creationTimestamp: "yesterday" is not an RFC 3339 time such as 2026-01-31T12:00:00Z"#,
    );
    check(
        r#"{"metadata":{"uid":"../../etc/passwd"}}"#,
        r#"metadata.uid: "../../etc/passwd" is not a uid: use 1 to 64 hexadecimal digits and '-'"#,
    );
    check(
        r#"{"apiVersion":"v1","kind":"Instance"}"#,
        r#"apiVersion is "v1", but this is "compute.corten.dev/v1""#,
    );
    check(
        r#"{"spec":{"stopGraceSeconds":-1}}"#,
        "spec.stopGraceSeconds: invalid value: integer `-1`, expected u32",
    );
    for broken in ["", "{", "nonsense", "{}{}", "{} x"] {
        let error = (kind_of("instance").unwrap().decode)(broken.as_bytes(), true).unwrap_err();
        assert!(matches!(error, DecodeError::Syntax(_)), "{broken:?}: {error}");
    }
}

#[test]
fn what_go_clients_send_for_unset_times_is_accepted() {
    let body = br#"{"metadata":{"name":"a","creationTimestamp":null},"spec":{},"status":{}}"#;
    for entry in kinds().iter().filter(|entry| !entry.info.group.is_empty()) {
        (entry.decode)(body, true).unwrap_or_else(|e| panic!("{}: {e}", entry.info.kind));
    }
}

#[test]
fn a_kind_is_found_by_any_of_its_names() {
    for entry in kinds() {
        let info = entry.info;
        let names = [info.plural.to_owned(), info.singular.into(), info.kind.into(), info.resource()];
        let short = info.short_names.iter().map(ToString::to_string);
        for name in names.into_iter().chain(short) {
            assert_eq!(kind_of(&name).unwrap().info.kind, info.kind, "{name} means two kinds");
        }
    }
    assert!(kind_of("nonsense").is_none());
}

fn refuse(entry: &KindEntry, document: &Value) -> DecodeError {
    match (entry.decode)(document.to_string().as_bytes(), true) {
        Err(error) => error,
        Ok(_) => panic!("{} was accepted: {document}", entry.info.kind),
    }
}

/// Fields whose content is the client's own.
fn is_free_form(path: &str) -> bool {
    let free = [
        "labels",
        "annotations",
        "managedFields",
        "counts",
        "hostLabels",
        "instanceLabels",
        "policies",
        "parameters",
        "tags",
    ];
    path.split(['.', '[']).any(|part| free.contains(&part)) || path == "data" || path.starts_with("data.")
}

/// JSON pointer and field path of every object in a document.
fn objects_in(document: &Value) -> Vec<(String, String)> {
    walk(document).into_iter().filter(|(pointer, _)| document.pointer(pointer).unwrap().is_object()).collect()
}

/// The same of every value that is neither object nor list.
fn leaves_of(document: &Value) -> Vec<(String, String)> {
    let is_leaf = |value: &Value| !value.is_object() && !value.is_array();
    walk(document).into_iter().filter(|(pointer, _)| is_leaf(document.pointer(pointer).unwrap())).collect()
}

fn walk(value: &Value) -> Vec<(String, String)> {
    let mut found = vec![(String::new(), String::new())];
    let mut next = 0;
    while next < found.len() {
        let (pointer, path) = found[next].clone();
        match value.pointer(&pointer).unwrap() {
            Value::Object(fields) => found.extend(fields.keys().map(|key| {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                (format!("{pointer}/{}", key.replace('/', "~1")), path)
            })),
            Value::Array(items) => {
                found.extend((0..items.len()).map(|i| (format!("{pointer}/{i}"), format!("{path}[{i}]"))));
            }
            _ => {}
        }
        next += 1;
    }
    found
}
