//! The schemas of a document: every kind with its list, the types they use, and what Kubernetes itself defines.

use std::collections::BTreeMap;

use model::{KindEntry, KindInfo};
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::simplify::simplify;

/// Where Kubernetes' own types lie; clients look some of them up by name.
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// The component's name of a kind's object.
pub(super) fn object_name(info: &KindInfo) -> String {
    format!("{}.{}", prefix(info.group, info.version), info.kind)
}

/// The component's name of a kind's list.
pub(super) fn list_name(info: &KindInfo) -> String {
    format!("{}List", object_name(info))
}

/// The component's name of one of Kubernetes' own types.
pub(super) fn meta_name(name: &str) -> String {
    format!("{META}.{name}")
}

pub(super) fn gvk(info: &KindInfo, kind: &str) -> Value {
    json!({ "group": info.group, "version": info.version, "kind": kind })
}

/// All schemas of one group and version, by name.
pub(super) fn of(group: &str, version: &str) -> Map<String, Value> {
    let mut generator = generator();
    let rename = |name: &str| match name {
        "ObjectMeta" | "OwnerReference" => meta_name(name),
        other => format!("{}.{other}", prefix(group, version)),
    };
    let mut schemas = meta_schemas();
    for kind in model::kinds().iter().filter(|k| k.info.group == group && k.info.version == version) {
        let object = simplify((kind.schema)(&mut generator).to_value(), &rename);
        schemas.insert(object_name(&kind.info), described(object, &kind.info));
        schemas.insert(list_name(&kind.info), list(&kind.info));
    }
    for (name, definition) in generator.take_definitions(true) {
        let mut schema = simplify(definition, &rename);
        if name == "ObjectMeta" {
            schema["properties"]["managedFields"]["items"] = reference(&meta_name("ManagedFieldsEntry"));
        }
        schemas.insert(rename(&name), schema);
    }
    schemas
}

/// The schema of one kind's objects with every reference resolved, in the same simplified form.
pub(crate) fn schema_of(kind: &KindEntry) -> Value {
    let mut generator = generator();
    let root = simplify((kind.schema)(&mut generator).to_value(), &str::to_owned);
    let definitions: BTreeMap<String, Value> = generator
        .take_definitions(true)
        .into_iter()
        .map(|(name, definition)| (name, simplify(definition, &str::to_owned)))
        .collect();
    resolve(root, &definitions, &mut Vec::new())
}

/// Whether there is anything in the kind's status, and so a subresource for it.
pub(crate) fn has_status(kind: &KindEntry) -> bool {
    schema_of(kind).pointer("/properties/status/properties").is_some_and(|p| p != &json!({}))
}

fn generator() -> SchemaGenerator {
    SchemaSettings::openapi3().with(|settings| settings.meta_schema = None).into_generator()
}

/// `dev.corten.compute.v1` for `compute.corten.dev/v1`.
fn prefix(group: &str, version: &str) -> String {
    if group.is_empty() {
        return format!("dev.corten.core.{version}");
    }
    let reversed: Vec<&str> = group.rsplit('.').collect();
    format!("{}.{version}", reversed.join("."))
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn described(mut object: Value, info: &KindInfo) -> Value {
    object["description"] = json!(info.summary);
    object["x-kubernetes-group-version-kind"] = json!([gvk(info, info.kind)]);
    object["properties"]["apiVersion"] = api_version();
    object["properties"]["kind"] = kind_field();
    object
}

fn api_version() -> Value {
    json!({ "type": "string", "description": "The group and version of this object's kind." })
}

fn kind_field() -> Value {
    json!({ "type": "string", "description": "The kind of this object." })
}

fn list(info: &KindInfo) -> Value {
    let kind = format!("{}List", info.kind);
    json!({
        "description": format!("{} is a list of {}.", kind, info.plural),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": api_version(),
            "kind": kind_field(),
            "metadata": reference(&meta_name("ListMeta")),
            "items": { "type": "array", "items": reference(&object_name(info)) },
        },
        "x-kubernetes-group-version-kind": [gvk(info, &kind)],
    })
}

/// Kubernetes' own types, as far as the API uses them (`ObjectMeta` comes from the model).
fn meta_schemas() -> Map<String, Value> {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let integer =
        |description: &str| json!({ "type": "integer", "format": "int64", "description": description });
    let object = |description: &str, fields: Value| json!({ "type": "object", "description": description, "properties": fields });
    let mut schemas = Map::new();
    let mut add = |name: &str, schema: Value| schemas.insert(meta_name(name), schema);
    add(
        "ListMeta",
        object(
            "What a list carries beside its items.",
            json!({
                "resourceVersion": text("The store's revision at which the list is true; a watch may begin there."),
                "continue": text("Where the next page begins; empty on the last one."),
                "remainingItemCount": integer("How many items follow after this page."),
            }),
        ),
    );
    add(
        "FieldsV1",
        json!({ "type": "object", "description": "A set of fields, as `f:`, `k:` and `v:` keys." }),
    );
    add(
        "ManagedFieldsEntry",
        object(
            "The fields that one manager has set.",
            json!({
                "manager": text("Who set them."),
                "operation": text("`Apply` or `Update`."),
                "apiVersion": text("The version in which the fields are named."),
                "time": { "type": "string", "format": "date-time", "description": "When they last changed." },
                "fieldsType": text("`FieldsV1`."),
                "fieldsV1": reference(&meta_name("FieldsV1")),
                "subresource": text("The subresource by which they were set."),
            }),
        ),
    );
    add(
        "DeleteOptions",
        object(
            "What a deletion may carry.",
            json!({
                "apiVersion": api_version(),
                "kind": kind_field(),
                "gracePeriodSeconds": integer("How long the object may take to go."),
                "propagationPolicy": text("`Background`, `Foreground` or `Orphan`."),
                "dryRun": { "type": "array", "items": { "type": "string" }, "description": "`All`: change nothing." },
                "preconditions": object("What must hold.", json!({
                    "uid": text("The object's uid."),
                    "resourceVersion": text("The object's version."),
                })),
            }),
        ),
    );
    add(
        "Status",
        object(
            "A refused or failed call, or the end of a deletion.",
            json!({
                "apiVersion": api_version(),
                "kind": kind_field(),
                "metadata": reference(&meta_name("ListMeta")),
                "status": text("`Success` or `Failure`."),
                "message": text("A sentence for people."),
                "reason": text("One CamelCase word for programs."),
                "details": { "type": "object", "description": "The object, and the fields at fault." },
                "code": integer("The HTTP status code."),
            }),
        ),
    );
    schemas
}

/// Replaces references by what they refer to. A type inside itself becomes an object without known fields.
fn resolve(schema: Value, definitions: &BTreeMap<String, Value>, open: &mut Vec<String>) -> Value {
    match schema {
        Value::Array(items) => items.into_iter().map(|item| resolve(item, definitions, open)).collect(),
        Value::Object(mut map) => {
            let all_of = map.remove("allOf").and_then(|all| all.get(0).cloned());
            let target = all_of.as_ref().unwrap_or(&Value::Null);
            let reference = map.get("$ref").or_else(|| target.get("$ref")).and_then(Value::as_str);
            if let Some(name) = reference.and_then(|r| r.rsplit('/').next()).map(str::to_owned) {
                return resolve_named(&name, definitions, open);
            }
            map.into_iter().map(|(key, value)| (key, resolve(value, definitions, open))).collect()
        }
        other => other,
    }
}

fn resolve_named(name: &str, definitions: &BTreeMap<String, Value>, open: &mut Vec<String>) -> Value {
    match definitions.get(name) {
        Some(definition) if !open.iter().any(|n| n == name) => {
            open.push(name.to_owned());
            let resolved = resolve(definition.clone(), definitions, open);
            open.pop();
            resolved
        }
        _ => json!({ "type": "object" }),
    }
}
