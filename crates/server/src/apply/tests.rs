//! What users of server-side apply see, case by case. The words of conflicts are those of Kubernetes.

use model::{KindEntry, Timestamp};
use serde_json::{Value, json};

use super::server_side::Conflicts;
use super::*;

fn instance() -> &'static KindEntry {
    model::kind_of("instance").expect("a kind")
}

/// Applies as `manager`; panics on a conflict.
fn apply_as(manager: &str, live: Option<&Value>, applied: &Value) -> Value {
    try_apply(manager, live, applied, false).unwrap_or_else(|conflicts| panic!("{conflicts}"))
}

fn try_apply(manager: &str, live: Option<&Value>, applied: &Value, force: bool) -> Result<Value, Conflicts> {
    let now = Timestamp(60_123);
    apply(&Apply { live, applied, manager, subresource: "", force, now, kind: instance() })
}

/// What an ordinary write of `new` over `old` leaves.
fn write_as(manager: &str, old: Option<&Value>, new: &Value) -> Value {
    let update = Update { old, new, manager, subresource: "", now: Timestamp(60_123), kind: instance() };
    let mut new = new.clone();
    new["metadata"]["managedFields"] = Value::Array(track_update(&update));
    new
}

fn web(spec: Value) -> Value {
    json!({
        "apiVersion": "compute.corten.dev/v1",
        "kind": "Instance",
        "metadata": { "name": "web", "namespace": "p" },
        "spec": spec,
    })
}

fn fields_of(object: &Value, manager: &str) -> Value {
    let entries = object["metadata"]["managedFields"].as_array().expect("entries");
    entries.iter().find(|entry| entry["manager"] == manager).map_or(Value::Null, |e| e["fieldsV1"].clone())
}

#[test]
fn creation_notes_every_stated_field_in_kubernetes_encoding() {
    let mut stated = web(json!({
        "payload": { "containers": { "containers": [{ "name": "a", "image": "i", "args": ["x"] }] } },
        "keyPair": null,
    }));
    stated["metadata"]["labels"] = json!({ "app": "web" });
    stated["metadata"]["finalizers"] = json!(["x.example.org/y"]);
    let created = apply_as("kubectl", None, &stated);
    assert_eq!(
        created["metadata"]["managedFields"],
        json!([{
            "manager": "kubectl",
            "operation": "Apply",
            "apiVersion": "compute.corten.dev/v1",
            "time": "1970-01-01T00:01:00Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {
                    "f:labels": { "f:app": {} },
                    "f:finalizers": { "v:\"x.example.org/y\"": {} },
                },
                "f:spec": { "f:payload": { "f:containers": { "f:containers": {
                    "k:{\"name\":\"a\"}": { ".": {}, "f:name": {}, "f:image": {}, "f:args": {} },
                } } } },
            },
        }])
    );
    assert_eq!(created["spec"].get("keyPair"), None, "a null is not stated");
}

#[test]
fn fields_of_others_stay_and_fields_no_longer_stated_go() {
    let live =
        apply_as("a", None, &web(json!({ "keyPair": "k", "userData": "u", "placement": { "zone": "z" } })));
    let live = apply_as("b", Some(&live), &web(json!({ "protected": true, "userData": "u" })));
    assert_eq!(
        live["spec"],
        json!({ "keyPair": "k", "userData": "u", "placement": { "zone": "z" }, "protected": true })
    );
    let live = apply_as("a", Some(&live), &web(json!({ "keyPair": "k" })));
    assert_eq!(
        live["spec"],
        json!({ "keyPair": "k", "userData": "u", "protected": true }),
        "b also stated userData; the placement that a leaves empty goes"
    );
    assert_eq!(fields_of(&live, "a"), json!({ "f:spec": { "f:keyPair": {} } }));
}

#[test]
fn a_conflict_names_manager_and_field() {
    let live = write_as("kubectl-create", None, &web(json!({ "keyPair": "k", "userData": "u" })));
    let wish = web(json!({ "keyPair": "mine", "userData": "u" }));
    let conflicts = try_apply("kubectl", Some(&live), &wish, false).unwrap_err();
    assert_eq!(
        conflicts.to_string(),
        "Apply failed with 1 conflict: conflict with \"kubectl-create\" using compute.corten.dev/v1: .spec.keyPair"
    );
    let all: Vec<_> = conflicts.iter().map(|c| (c.manager.as_str(), c.field.as_str())).collect();
    assert_eq!(all, [("kubectl-create", ".spec.keyPair")]);

    let forced = try_apply("kubectl", Some(&live), &wish, true).expect("forced");
    assert_eq!(forced["spec"]["keyPair"], "mine");
    assert_eq!(fields_of(&forced, "kubectl-create"), json!({ "f:spec": { "f:userData": {} } }));
}

#[test]
fn several_conflicts_are_listed_by_manager() {
    let live = apply_as("a", None, &web(json!({ "keyPair": "a", "userData": "a" })));
    let live = apply_as("b", Some(&live), &web(json!({ "placement": { "hostLabels": { "disk": "ssd" } } })));
    let wish =
        web(json!({ "keyPair": "c", "userData": "c", "placement": { "hostLabels": { "disk": "hdd" } } }));
    assert_eq!(
        try_apply("c", Some(&live), &wish, false).unwrap_err().to_string(),
        "Apply failed with 3 conflicts: conflicts with \"a\":\n- .spec.keyPair\n- .spec.userData\n\
         conflicts with \"b\":\n- .spec.placement.hostLabels.disk"
    );
}

#[test]
fn items_of_keyed_lists_have_owners_of_their_own() {
    let containers = |items: Value| web(json!({ "payload": { "containers": { "containers": items } } }));
    let images = |object: &Value| -> Vec<String> {
        let items = object.pointer("/spec/payload/containers/containers").and_then(Value::as_array).cloned();
        items
            .unwrap_or_default()
            .iter()
            .map(|c| format!("{}={}", c["name"], c["image"]).replace('"', ""))
            .collect()
    };
    let live = apply_as(
        "a",
        None,
        &containers(json!([{ "name": "x", "image": "1" }, { "name": "y", "image": "1" }])),
    );
    let live = apply_as(
        "b",
        Some(&live),
        &containers(json!([{ "name": "z", "image": "1" }, { "name": "y", "tty": true }])),
    );
    assert_eq!(images(&live), ["z=1", "x=1", "y=1"], "the applied order; x stays before y");
    let conflicts = try_apply("b", Some(&live), &containers(json!([{ "name": "y", "image": "2" }])), false);
    assert!(conflicts.unwrap_err().to_string().ends_with("containers[name=\"y\"].image"));
    let live = apply_as("a", Some(&live), &containers(json!([])));
    assert_eq!(images(&live), ["z=1", "y=null"], "x goes whole; of y what b holds stays");
}

#[test]
fn lists_without_keys_are_one_value() {
    let argv = |words: Value| web(json!({ "payload": { "command": { "argv": words } } }));
    let live = apply_as("a", None, &argv(json!(["ls", "-l"])));
    let conflicts = try_apply("b", Some(&live), &argv(json!(["ls"])), false).unwrap_err();
    assert!(
        conflicts.to_string().ends_with("conflict with \"a\": .spec.payload.command.argv"),
        "{conflicts}"
    );
    let live = apply_as("a", Some(&live), &argv(json!(["ls"])));
    assert_eq!(live["spec"]["payload"]["command"]["argv"], json!(["ls"]));
}

#[test]
fn a_payload_can_change_its_variant() {
    let live = apply_as("a", None, &web(json!({ "payload": { "disk": { "image": "i" } } })));
    let live = apply_as("a", Some(&live), &web(json!({ "payload": { "kernel": { "image": "k" } } })));
    assert_eq!(live["spec"]["payload"], json!({ "kernel": { "image": "k" } }));
}

#[test]
fn the_same_amount_in_another_form_is_no_conflict() {
    let live = apply_as("a", None, &web(json!({ "resources": { "cpu": "1", "memory": "1Gi" } })));
    let live = apply_as("b", Some(&live), &web(json!({ "resources": { "cpu": 1, "memory": "1024Mi" } })));
    assert_eq!(live["spec"]["resources"], json!({ "cpu": "1", "memory": "1Gi" }));
    assert!(try_apply("b", Some(&live), &web(json!({ "resources": { "cpu": 2 } })), false).is_err());
}

#[test]
fn a_field_stated_as_its_default_is_not_changed_by_stating_it_again() {
    let stated = web(json!({ "protected": false }));
    let mut live = apply_as("a", None, &stated);
    // The stored form leaves the default out.
    live["spec"].as_object_mut().expect("a spec").remove("protected");
    let later = Apply {
        live: Some(&live),
        applied: &stated,
        manager: "a",
        subresource: "",
        force: false,
        now: Timestamp(99_000),
        kind: instance(),
    };
    let again = apply(&later).expect("no conflict");
    assert_eq!(again["metadata"], live["metadata"]);
    apply_as("b", Some(&live), &stated);
}

#[test]
fn a_default_stated_over_anothers_value_is_a_conflict() {
    let live = apply_as("a", None, &web(json!({ "protected": true })));
    let wish = web(json!({ "protected": false }));
    let conflicts = try_apply("b", Some(&live), &wish, false).unwrap_err();
    assert!(conflicts.to_string().ends_with("conflict with \"a\": .spec.protected"), "{conflicts}");
    let forced = try_apply("b", Some(&live), &wish, true).expect("forced");
    assert_eq!(fields_of(&forced, "a"), Value::Null);
}

#[test]
fn what_the_server_decides_is_neither_merged_nor_owned() {
    let mut live = apply_as("a", None, &web(json!({ "keyPair": "k" })));
    live["metadata"]["uid"] = json!("11");
    live["metadata"]["resourceVersion"] = json!("7");
    live["status"] = json!({ "phase": "Running" });
    let mut wish = web(json!({ "keyPair": "k" }));
    wish["metadata"]["uid"] = json!("22");
    wish["metadata"]["resourceVersion"] = json!("6");
    wish["metadata"]["creationTimestamp"] = Value::Null;
    wish["status"] = json!({ "phase": "Failed" });
    let merged = apply_as("b", Some(&live), &wish);
    assert_eq!(merged["metadata"]["uid"], "11");
    assert_eq!(merged["metadata"]["resourceVersion"], "7");
    assert_eq!(merged["status"], json!({ "phase": "Running" }));
    assert_eq!(fields_of(&merged, "b"), json!({ "f:spec": { "f:keyPair": {} } }));
}

#[test]
fn the_status_is_kept_apart() {
    let live = write_as("a", None, &web(json!({ "keyPair": "k" })));
    let mut wish = web(json!({ "keyPair": "other" }));
    wish["status"] = json!({ "conditions": [{ "type": "Ready", "status": "True" }] });
    let call = Apply {
        live: Some(&live),
        applied: &wish,
        manager: "a",
        subresource: "status",
        force: false,
        now: Timestamp(0),
        kind: instance(),
    };
    let merged = apply(&call).expect("no conflict");
    assert_eq!(merged["spec"]["keyPair"], "k");
    let entries = merged["metadata"]["managedFields"].as_array().expect("entries");
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0]["subresource"], "status");
    assert_eq!(
        entries[0]["fieldsV1"],
        json!({ "f:status": { "f:conditions": { "k:{\"type\":\"Ready\"}": { ".": {}, "f:type": {}, "f:status": {} } } } })
    );
}

#[test]
fn an_ordinary_write_owns_what_it_changed() {
    let live = apply_as("a", None, &web(json!({ "keyPair": "k", "userData": "u" })));
    let mut new = live.clone();
    new["spec"]["keyPair"] = json!("edited");
    new["spec"].as_object_mut().expect("a spec").remove("userData");
    let live = write_as("kubectl-edit", Some(&live), &new);
    assert_eq!(fields_of(&live, "kubectl-edit"), json!({ "f:spec": { "f:keyPair": {} } }));
    assert_eq!(fields_of(&live, "a"), Value::Null, "an owner of nothing is not listed");
    let same = write_as("someone", Some(&live), &live);
    assert_eq!(same, live);
    let mut new = live.clone();
    new["spec"].as_object_mut().expect("a spec").remove("keyPair");
    assert_eq!(fields_of(&write_as("kubectl-edit", Some(&live), &new), "kubectl-edit"), Value::Null);
}

#[test]
fn owners_can_be_forgotten() {
    let live = apply_as("a", None, &web(json!({ "keyPair": "k" })));
    let mut new = live.clone();
    new["metadata"]["managedFields"] = json!([{}]);
    assert_eq!(write_as("b", Some(&live), &new)["metadata"]["managedFields"], json!([]));
}

#[test]
fn the_list_of_writers_is_bounded() {
    let mut live = write_as("first", None, &web(json!({ "keyPair": "k" })));
    for i in 0..15 {
        let mut new = live.clone();
        new["metadata"]["labels"][format!("l{i}")] = json!("x");
        let now = Timestamp(100_000 + i * 1000);
        let manager = format!("m{i}");
        let update =
            Update { old: Some(&live), new: &new, manager: &manager, subresource: "", now, kind: instance() };
        let entries = track_update(&update);
        new["metadata"]["managedFields"] = Value::Array(entries);
        live = new;
    }
    let entries = live["metadata"]["managedFields"].as_array().expect("entries");
    assert_eq!(entries.len(), 10);
    assert_eq!(entries[0]["manager"], "ancient-changes");
    assert_eq!(entries[0]["fieldsV1"]["f:spec"], json!({ "f:keyPair": {} }));
    assert_eq!(entries[0]["fieldsV1"]["f:metadata"]["f:labels"]["f:l5"], json!({}));
    assert_eq!(entries[9]["manager"], "m14");
}
