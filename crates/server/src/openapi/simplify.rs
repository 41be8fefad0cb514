//! From the JSON Schema that schemars derives to the part of OpenAPI 3.0 that Kubernetes clients read: one type
//! per schema, no alternatives, references alone or inside `allOf`.

use std::fmt::Write;

use serde_json::{Map, Value, json};

/// Rewrites a schema; `rename` gives a referred type's name its place among the components.
pub(super) fn simplify(schema: Value, rename: &dyn Fn(&str) -> String) -> Value {
    let Value::Object(schema) = schema else { return json!({}) };
    let mut schema = merge_alternatives(schema);
    let mut out = Map::new();
    if let Some(reference) = schema.remove("$ref").as_ref().and_then(Value::as_str) {
        let name = rename(reference.rsplit('/').next().unwrap_or(reference));
        out.insert("allOf".into(), json!([{ "$ref": format!("#/components/schemas/{name}") }]));
    }
    for (key, value) in schema {
        if let Some(value) = keyword(&key, value, rename) {
            out.insert(key, value);
        }
    }
    if out.get("x-kubernetes-int-or-string") == Some(&json!(true)) {
        out.insert("type".into(), json!("string"));
        out.insert("format".into(), json!("int-or-string"));
    }
    match out.remove("allOf") {
        // A reference that says no more than itself stands alone.
        Some(all_of) if out.is_empty() => all_of.get(0).cloned().unwrap_or_default(),
        Some(all_of) => {
            out.insert("allOf".into(), all_of);
            Value::Object(out)
        }
        None => Value::Object(out),
    }
}

/// What becomes of one keyword; None drops it.
fn keyword(key: &str, value: Value, rename: &dyn Fn(&str) -> String) -> Option<Value> {
    let each = |value: Value| simplify(value, rename);
    Some(match (key, value) {
        ("properties", Value::Object(fields)) => {
            Value::Object(fields.into_iter().map(|(name, field)| (name, each(field))).collect())
        }
        ("type", Value::Array(types)) => types.into_iter().find(|t| t != "null")?,
        ("items", value) | ("additionalProperties", value @ Value::Object(_)) => each(value),
        ("allOf", Value::Array(all)) => Value::Array(all.into_iter().map(each).collect()),
        ("enum", Value::Array(words)) => words.into_iter().filter(|word| !word.is_null()).collect(),
        ("format", Value::String(format)) => json!(match format.as_str() {
            "uint8" | "uint16" | "int8" | "int16" => "int32",
            "uint32" | "uint64" | "uint" | "int" => "int64",
            other => other,
        }),
        // Only what a person would write: an absent text or list says the same as an empty one.
        ("default", value) if is_telling(&value) => value,
        (
            "type" | "description" | "required" | "minimum" | "maximum" | "minLength" | "maxLength"
            | "pattern" | "minItems" | "maxItems",
            value,
        ) => value,
        (key, value) if key.starts_with("x-kubernetes-") => value,
        _ => return None,
    })
}

fn is_telling(default: &Value) -> bool {
    match default {
        Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => !text.is_empty() && text != "0",
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

/// Rust enums come as alternatives. Words become one enumeration, variants with data one object of which the
/// client sets one field, and an optional type the type itself.
fn merge_alternatives(mut schema: Map<String, Value>) -> Map<String, Value> {
    let Some(Value::Array(alternatives)) = schema.remove("oneOf").or_else(|| schema.remove("anyOf")) else {
        return schema;
    };
    let mut alternatives: Vec<Map<String, Value>> = alternatives
        .into_iter()
        .filter_map(|alternative| match alternative {
            Value::Object(map) if !is_null(&map) => Some(map),
            _ => None,
        })
        .collect();
    if alternatives.len() == 1 {
        let mut only = alternatives.remove(0);
        only.extend(schema);
        return only;
    }
    if alternatives.iter().all(|a| a.contains_key("enum")) {
        merge_words(&mut schema, &alternatives);
    } else {
        merge_variants(&mut schema, alternatives);
    }
    schema
}

fn is_null(schema: &Map<String, Value>) -> bool {
    schema.get("type") == Some(&json!("null")) || schema.get("enum") == Some(&json!([null]))
}

fn merge_words(schema: &mut Map<String, Value>, alternatives: &[Map<String, Value>]) {
    let mut description = schema.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut words = Vec::new();
    for alternative in alternatives {
        let own = alternative.get("enum").and_then(Value::as_array).cloned().unwrap_or_default();
        if let (Some(text), Some(word)) =
            (alternative.get("description").and_then(Value::as_str), own.first().and_then(Value::as_str))
        {
            // Writing into a String cannot fail.
            let _ = write!(description, "\n- `{word}`: {text}");
        }
        words.extend(own);
    }
    schema.insert("type".into(), json!("string"));
    schema.insert("enum".into(), Value::Array(words));
    if !description.is_empty() {
        schema.insert("description".into(), json!(description.trim_start()));
    }
}

fn merge_variants(schema: &mut Map<String, Value>, alternatives: Vec<Map<String, Value>>) {
    let mut fields = Map::new();
    for mut alternative in alternatives {
        let description = alternative.remove("description");
        let Some(Value::Object(own)) = alternative.remove("properties") else { continue };
        for (name, mut field) in own {
            if let (Some(text), Value::Object(field)) = (&description, &mut field) {
                field.entry("description").or_insert_with(|| text.clone());
            }
            fields.insert(name, field);
        }
    }
    schema.insert("type".into(), json!("object"));
    schema.insert("properties".into(), Value::Object(fields));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: Value, expected: Value) {
        assert_eq!(simplify(given, &|name| format!("x.{name}")), expected);
    }

    #[test]
    fn references_stand_alone_or_in_all_of() {
        check(json!({ "$ref": "#/$defs/A", "default": {} }), json!({ "$ref": "#/components/schemas/x.A" }));
        check(
            json!({ "$ref": "#/$defs/A", "description": "why" }),
            json!({ "description": "why", "allOf": [{ "$ref": "#/components/schemas/x.A" }] }),
        );
        check(
            json!({ "anyOf": [{ "$ref": "#/$defs/A" }, { "type": "null" }] }),
            json!({ "$ref": "#/components/schemas/x.A" }),
        );
    }

    #[test]
    fn words_become_one_enumeration() {
        check(
            json!({ "description": "How.", "oneOf": [
                { "type": "string", "enum": ["a", "b"] },
                { "type": "string", "enum": ["c"], "description": "the third" },
            ] }),
            json!({ "type": "string", "enum": ["a", "b", "c"], "description": "How.\n- `c`: the third" }),
        );
        check(json!({ "type": "string", "enum": ["a", null] }), json!({ "type": "string", "enum": ["a"] }));
    }

    #[test]
    fn variants_become_fields() {
        check(
            json!({ "oneOf": [
                { "type": "object", "properties": { "disk": { "type": "object" } }, "required": ["disk"],
                  "additionalProperties": false },
                { "description": "second", "properties": { "kernel": { "type": "object" } } },
            ] }),
            json!({ "type": "object", "properties": {
                "disk": { "type": "object" },
                "kernel": { "type": "object", "description": "second" },
            } }),
        );
    }

    #[test]
    fn numbers_quantities_and_defaults() {
        check(
            json!({ "type": ["integer", "null"], "format": "uint32", "default": 3 }),
            json!({ "type": "integer", "format": "int64", "default": 3 }),
        );
        check(
            json!({ "x-kubernetes-int-or-string": true, "default": "0" }),
            json!({ "type": "string", "format": "int-or-string", "x-kubernetes-int-or-string": true }),
        );
    }
}
