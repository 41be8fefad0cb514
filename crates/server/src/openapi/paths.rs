//! The paths of a document: every verb of every kind, with the parameters and extensions that kubectl looks for.

use model::{KindEntry, KindInfo};
use serde_json::{Map, Value, json};

use super::components::{gvk, has_status, list_name, meta_name, object_name};

const JSON: &str = "application/json";
const PATCHES: [&str; 3] =
    ["application/apply-patch+yaml", "application/merge-patch+json", "application/json-patch+json"];

/// All paths of one group and version.
pub(super) fn of(group: &str, version: &str) -> Map<String, Value> {
    let mut paths = Map::new();
    for kind in model::kinds().iter().filter(|k| k.info.group == group && k.info.version == version) {
        add(&mut paths, kind);
    }
    paths
}

fn add(paths: &mut Map<String, Value>, kind: &KindEntry) {
    let info = &kind.info;
    let project = info.is_project_scoped().then_some("{namespace}");
    let collection = info.path(project, None);
    let item = info.path(project, Some("{name}"));
    if project.is_some() {
        let everywhere = json!({ "get": list(info, "ForAllNamespaces"), "parameters": [] });
        paths.insert(info.path(None, None), everywhere);
    }
    let in_project: Vec<Value> =
        project.map(|_| path_parameter("namespace", "The project.")).into_iter().collect();
    let mut of_item = in_project.clone();
    of_item.insert(0, path_parameter("name", "The object's name."));
    paths.insert(
        collection,
        json!({
            "get": list(info, ""),
            "post": write(info, "create", "post", ""),
            "delete": delete(info, "deletecollection"),
            "parameters": in_project,
        }),
    );
    paths.insert(
        item.clone(),
        json!({
            "get": operation(info, "read", "get", "", &[], None, &object_name(info)),
            "put": write(info, "replace", "put", ""),
            "patch": patch(info, ""),
            "delete": delete(info, "delete"),
            "parameters": of_item,
        }),
    );
    if has_status(kind) {
        paths.insert(
            format!("{item}/status"),
            json!({
                "get": operation(info, "read", "get", "Status", &[], None, &object_name(info)),
                "put": write(info, "replace", "put", "Status"),
                "patch": patch(info, "Status"),
                "parameters": of_item,
            }),
        );
    }
}

fn list(info: &KindInfo, suffix: &str) -> Value {
    let parameters = [
        query("labelSelector", "string", "Only objects with these labels."),
        query("fieldSelector", "string", "Only objects with these fields."),
        query("limit", "integer", "Most items of one page."),
        query("continue", "string", "Where the page before ended."),
        query("resourceVersion", "string", "Where a watch begins."),
        query("resourceVersionMatch", "string", "How resourceVersion is meant."),
        query("watch", "boolean", "Stream changes instead of a list."),
        query("allowWatchBookmarks", "boolean", "Send bookmarks while nothing changes."),
        query("sendInitialEvents", "boolean", "Begin a watch with all that exists."),
        query("timeoutSeconds", "integer", "End a watch after so long."),
    ];
    operation(info, "list", "list", suffix, &parameters, None, &list_name(info))
}

fn write(info: &KindInfo, name: &str, action: &str, suffix: &str) -> Value {
    let body = body(&[JSON, "application/yaml"], &object_name(info));
    operation(info, name, action, suffix, &write_parameters(), Some(body), &object_name(info))
}

fn patch(info: &KindInfo, suffix: &str) -> Value {
    let mut parameters = write_parameters();
    parameters.push(query("force", "boolean", "Take over fields that others own (server-side apply)."));
    let body = body(&PATCHES, &object_name(info));
    operation(info, "patch", "patch", suffix, &parameters, Some(body), &object_name(info))
}

fn delete(info: &KindInfo, action: &str) -> Value {
    let parameters = [
        query("dryRun", "string", "All: check everything and change nothing."),
        query("gracePeriodSeconds", "integer", "How long the object may take to go."),
        query("propagationPolicy", "string", "What becomes of the objects this one owns."),
        query("labelSelector", "string", "Only objects with these labels (of a collection)."),
        query("fieldSelector", "string", "Only objects with these fields (of a collection)."),
    ];
    let body = body(&[JSON], &meta_name("DeleteOptions"));
    operation(info, action, action, "", &parameters, Some(body), &meta_name("Status"))
}

/// kubectl checks for `fieldValidation` and `dryRun` at the patch of a kind before it relies on the server.
fn write_parameters() -> Vec<Value> {
    vec![
        query("dryRun", "string", "All: check everything and change nothing."),
        query("fieldManager", "string", "Who sets the fields."),
        query("fieldValidation", "string", "What to do about unknown fields; they are always refused."),
    ]
}

fn operation(
    info: &KindInfo,
    name: &str,
    action: &str,
    suffix: &str,
    parameters: &[Value],
    body: Option<Value>,
    answer: &str,
) -> Value {
    let mut operation = json!({
        "operationId": operation_id(info, name, suffix),
        "tags": [tag(info)],
        "parameters": parameters,
        "responses": {
            "200": { "description": "OK", "content": content(&[JSON], answer) },
            "401": { "description": "Unauthorized" },
        },
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": gvk(info, info.kind),
    });
    if let Some(body) = body {
        operation["requestBody"] = body;
    }
    operation
}

/// Unique over all documents, in the style of Kubernetes: `listComputeCortenDevV1NamespacedInstance`.
fn operation_id(info: &KindInfo, name: &str, suffix: &str) -> String {
    let scope = if info.is_project_scoped() && suffix != "ForAllNamespaces" { "Namespaced" } else { "" };
    let kind = info.kind;
    format!("{name}{}{}{scope}{kind}{suffix}", words(group_word(info)), words(info.version))
}

fn tag(info: &KindInfo) -> String {
    format!("{}_{}", group_word(info).replace('.', "_"), info.version)
}

fn group_word(info: &KindInfo) -> &'static str {
    if info.group.is_empty() { "core" } else { info.group }
}

/// `ComputeCortenDev` for `compute.corten.dev`.
fn words(text: &str) -> String {
    let capital = |word: &str| {
        let (first, rest) = word.split_at(1.min(word.len()));
        first.to_ascii_uppercase() + rest
    };
    text.split('.').map(capital).collect()
}

fn query(name: &str, kind: &str, description: &str) -> Value {
    json!({ "name": name, "in": "query", "description": description, "schema": { "type": kind } })
}

fn path_parameter(name: &str, description: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "description": description, "schema": { "type": "string" } })
}

fn body(media_types: &[&str], name: &str) -> Value {
    json!({ "required": true, "content": content(media_types, name) })
}

fn content(media_types: &[&str], name: &str) -> Value {
    let schema = json!({ "schema": { "$ref": format!("#/components/schemas/{name}") } });
    media_types.iter().map(|media_type| ((*media_type).to_owned(), schema.clone())).collect()
}
