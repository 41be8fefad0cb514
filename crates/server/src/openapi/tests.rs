//! Every kind is described, in words that Kubernetes clients know, and every reference leads somewhere.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

const KEYWORDS: [&str; 16] = [
    "type",
    "format",
    "description",
    "default",
    "enum",
    "items",
    "properties",
    "required",
    "additionalProperties",
    "allOf",
    "$ref",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
];

fn fetch(path: &str) -> Value {
    let document = answer(path, "application/json").expect("a document").expect("as JSON");
    serde_json::from_slice(&document.body).expect("JSON")
}

/// All documents by their address in the index.
fn all() -> Vec<(String, Value)> {
    let index = fetch("/openapi/v3");
    let paths = index["paths"].as_object().expect("paths").clone();
    paths
        .into_iter()
        .map(|(name, entry)| {
            let url = entry["serverRelativeURL"].as_str().expect("an address").to_owned();
            let path = url.split('?').next().expect("a path");
            assert_eq!(path, format!("/openapi/v3/{name}"));
            (name, fetch(path))
        })
        .collect()
}

fn schemas(document: &Value) -> impl Iterator<Item = (&String, &Value)> {
    document["components"]["schemas"].as_object().expect("schemas").iter()
}

#[test]
fn every_kind_and_its_list_is_described_once() {
    let all = all();
    for kind in model::kinds() {
        for name in [kind.info.kind.to_owned(), format!("{}List", kind.info.kind)] {
            let wanted =
                serde_json::json!([{ "group": kind.info.group, "version": kind.info.version, "kind": name }]);
            let count = all
                .iter()
                .flat_map(|(_, document)| schemas(document))
                .filter(|(_, schema)| schema["x-kubernetes-group-version-kind"] == wanted)
                .count();
            assert_eq!(count, 1, "{name}");
        }
    }
}

#[test]
fn every_field_of_every_schema_uses_known_words_and_names_its_type() {
    for (name, document) in all() {
        for (schema_name, schema) in schemas(&document) {
            check_schema(&format!("{name}: {schema_name}"), schema);
        }
    }
}

fn check_schema(at: &str, schema: &Value) {
    let map = schema.as_object().unwrap_or_else(|| panic!("{at} is no object"));
    for (key, value) in map {
        assert!(KEYWORDS.contains(&key.as_str()) || key.starts_with("x-kubernetes-"), "{at}: {key}");
        match key.as_str() {
            "properties" => {
                for (field, schema) in value.as_object().expect("fields") {
                    check_schema(&format!("{at}.{field}"), schema);
                }
            }
            "items" | "additionalProperties" => check_schema(&format!("{at}[]"), value),
            "allOf" => {
                let all = value.as_array().expect("a list");
                assert_eq!(all.len(), 1, "{at}");
                check_schema(at, &all[0]);
            }
            "$ref" => assert_eq!(map.len(), 1, "{at}: a reference stands alone"),
            "type" => assert!(value.is_string(), "{at}: one type"),
            _ => {}
        }
    }
    let is_typed = ["type", "$ref", "allOf"].iter().any(|key| map.contains_key(*key));
    assert!(is_typed, "{at} has no type: {schema}");
}

#[test]
fn every_reference_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str));
                map.values().for_each(|v| references(v, found));
            }
            Value::Array(items) => items.iter().for_each(|v| references(v, found)),
            _ => {}
        }
    }
    let mut documents = all();
    documents.push(("v2".into(), fetch("/openapi/v2")));
    for (name, document) in &documents {
        let mut found = BTreeSet::new();
        references(document, &mut found);
        assert!(!found.is_empty(), "{name}");
        for reference in found {
            let pointer = reference.trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{name}: {reference}");
        }
    }
}

#[test]
fn kubectl_finds_the_parameters_it_checks_for() {
    for (name, document) in all() {
        for kind in
            model::kinds().iter().filter(|k| k.info.path(None, None).starts_with(&format!("/{name}/")))
        {
            let project = kind.info.is_project_scoped().then_some("{namespace}");
            let patch = &document["paths"][kind.info.path(project, Some("{name}"))]["patch"];
            assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], kind.info.kind);
            let parameters = patch["parameters"].as_array().expect("parameters");
            for wanted in ["fieldValidation", "dryRun", "fieldManager", "force"] {
                assert!(parameters.iter().any(|p| p["name"] == wanted), "{}: {wanted}", kind.info.kind);
            }
        }
    }
}

#[test]
fn operations_have_names_of_their_own() {
    let mut seen = BTreeSet::new();
    for (_, document) in all() {
        for (path, item) in document["paths"].as_object().expect("paths") {
            for (verb, operation) in
                item.as_object().expect("verbs").iter().filter(|(k, _)| *k != "parameters")
            {
                let id = operation["operationId"].as_str().expect("a name").to_owned();
                assert!(seen.insert(id.clone()), "{verb} {path}: {id} is taken");
            }
        }
    }
}

#[test]
fn a_payload_is_explained_as_its_variants() {
    let kind = model::kind_of("instance").expect("instance");
    let schema = schema_of(kind);
    let payload = schema.pointer("/properties/spec/properties/payload/properties").expect("fields");
    let variants: Vec<&String> = payload.as_object().expect("fields").keys().collect();
    assert_eq!(variants, ["command", "containers", "disk", "kernel", "rootfs"]);
    assert!(has_status(kind));
    assert!(!has_status(model::kind_of("role").expect("role")));
    assert!(!has_status(model::kind_of("event").expect("event")));
}

#[test]
fn version_2_is_for_terraform_as_json_and_for_old_kubectl_as_protobuf() {
    let old = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let binary = answer("/openapi/v2", old).expect("a document").expect("as protobuf");
    assert_eq!(binary.content_type, old.replace('@', "."));
    assert_eq!(binary.body[..5], *b"\x0a\x032.0", "it begins with the version");
    let document = fetch("/openapi/v2");
    let list = &document["paths"]["/apis/topology.corten.dev/v1/hosts"]["get"];
    assert_eq!(list["responses"]["200"]["schema"]["$ref"], "#/definitions/dev.corten.topology.v1.HostList");
    assert_eq!(list["parameters"][0]["type"], "string");
    assert!(!document["definitions"].to_string().contains("allOf"));
}

#[test]
fn a_client_that_reads_only_protobuf_is_told_what_there_is() {
    let accept = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf";
    assert_eq!(answer("/openapi/v3", accept).and_then(Result::err), Some(NotAcceptable));
    assert!(answer("/openapi/v3", &format!("{accept},*/*")).is_some_and(|a| a.is_ok()));
    assert!(answer("/openapi/v4", "").is_none());
}
