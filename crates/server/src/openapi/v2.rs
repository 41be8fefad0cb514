//! OpenAPI version 2 (Swagger), derived from the version 3 documents, all groups in one. Terraform's kubernetes
//! provider reads it.

use serde_json::{Map, Value, json};

/// One document of all version 3 documents.
pub(super) fn swagger(documents: &[Value]) -> Value {
    let mut definitions = Map::new();
    let mut paths = Map::new();
    for document in documents {
        let merge = |into: &mut Map<String, Value>, from: Option<&Value>, edit: &dyn Fn(&Value) -> Value| {
            for (key, value) in from.and_then(Value::as_object).into_iter().flatten() {
                into.insert(key.clone(), relocate(edit(value)));
            }
        };
        merge(&mut definitions, document.pointer("/components/schemas"), &Value::clone);
        merge(&mut paths, document.get("paths"), &path);
    }
    json!({
        "swagger": "2.0",
        "info": { "title": "Corten", "version": env!("CARGO_PKG_VERSION") },
        "paths": paths,
        "definitions": definitions,
        "securityDefinitions": {
            "BearerToken": { "type": "apiKey", "name": "authorization", "in": "header" }
        },
        "security": [{ "BearerToken": [] }],
    })
}

fn path(path: &Value) -> Value {
    let mut path = path.clone();
    for (verb, part) in path.as_object_mut().into_iter().flatten() {
        if verb == "parameters" {
            *part = parameters(part);
        } else {
            *part = operation(part);
        }
    }
    path
}

fn operation(operation: &Value) -> Value {
    let mut operation = operation.clone();
    let mut all = parameters(&operation["parameters"]);
    let body = operation.as_object_mut().and_then(|o| o.remove("requestBody"));
    if let (Some(list), Some((media_types, schema))) = (all.as_array_mut(), body.as_ref().and_then(content)) {
        operation["consumes"] = media_types;
        list.push(json!({ "name": "body", "in": "body", "required": true, "schema": schema }));
    }
    operation["parameters"] = all;
    operation["produces"] = json!(["application/json"]);
    for (_, response) in operation["responses"].as_object_mut().into_iter().flatten() {
        if let Some((_, schema)) = content(response) {
            *response = json!({ "description": response["description"], "schema": schema });
        }
    }
    operation
}

/// Version 2 has the type beside the name.
fn parameters(list: &Value) -> Value {
    let each = |parameter: &Value| {
        let mut parameter = parameter.clone();
        let kind = parameter.as_object_mut().and_then(|p| p.remove("schema"));
        parameter["type"] = kind.map_or(json!("string"), |schema| schema["type"].clone());
        parameter
    };
    list.as_array().into_iter().flatten().map(each).collect()
}

/// The media types of a body, and the schema they share.
fn content(holder: &Value) -> Option<(Value, Value)> {
    let content = holder.get("content")?.as_object()?;
    let schema = content.values().next()?.get("schema")?;
    Some((content.keys().map(String::as_str).collect(), schema.clone()))
}

/// Puts references where version 2 has them, and beside their descriptions: old clients know no `allOf`.
fn relocate(value: Value) -> Value {
    match value {
        Value::Object(mut map) if map.contains_key("allOf") => {
            let referred = map.remove("allOf").and_then(|all| all.get(0).cloned());
            map.extend(referred.and_then(|r| r.as_object().cloned()).into_iter().flatten());
            relocate(Value::Object(map))
        }
        Value::String(text) => json!(text.replace("#/components/schemas/", "#/definitions/")),
        Value::Array(items) => items.into_iter().map(relocate).collect(),
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, relocate(value))).collect(),
        other => other,
    }
}
