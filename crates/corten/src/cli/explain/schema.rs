//! What a kind's fields mean, from the API's own description (OpenAPI v3).

use std::fmt::Write;

use model::KindEntry;
use serde_json::{Map, Value};

use crate::cli::api::Cloud;
use crate::cli::output::{self, indented};
use crate::failure::Failure;

/// How deep references to other descriptions are followed.
const REFERENCES_MAX: usize = 16;

pub(super) async fn explain(cloud: &Cloud, kind: &'static KindEntry, path: &[&str]) -> Result<(), Failure> {
    let version = kind.info.api_version();
    let below = if kind.info.group.is_empty() { "api" } else { "apis" };
    let document = cloud.document(&format!("/openapi/v3/{below}/{version}")).await?;
    output::print(&describe(&document, kind, path)?)
}

fn describe(document: &Value, kind: &'static KindEntry, path: &[&str]) -> Result<String, Failure> {
    let schemas = &document["components"]["schemas"];
    let root = schemas.as_object().into_iter().flat_map(Map::values).find(|schema| is_of(schema, kind));
    let mut here =
        root.ok_or_else(|| Failure::failed(format!("the server does not describe {}", kind.info.kind)))?;
    let mut words = words_of(here);
    for (depth, step) in path.iter().enumerate() {
        let next = fields(schemas, here).and_then(|fields| fields.get(*step)).ok_or_else(|| {
            let above = std::iter::once(kind.info.singular).chain(path[..depth].iter().copied());
            let above = above.collect::<Vec<_>>().join(".");
            Failure::not_found(format!("{above} has no field {step:?}"))
                .hint(format!("`corten explain {above}` lists them"))
        })?;
        words = words_of(next).or_else(|| words_of(resolved(schemas, next)));
        here = next;
    }
    let mut out = String::new();
    let mut line = |text: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{text}");
    };
    line(format!("KIND:      {}", kind.info.kind));
    line(format!("VERSION:   {}", kind.info.api_version()));
    if path.is_empty() {
        line(format!("NAMES:     {}", names(kind)));
    } else {
        line(format!("FIELD:     {} <{}>", path.join("."), type_of(schemas, here)));
    }
    line(String::new());
    line(indented(words.unwrap_or("(no description)"), "  ").trim_end().into());
    if let Some(choices) = resolved(schemas, element(schemas, here))["enum"].as_array() {
        let choices: Vec<&str> = choices.iter().filter_map(Value::as_str).collect();
        line(format!("\n  one of: {}", choices.join(", ")));
    }
    if let Some(fields) = fields(schemas, here) {
        line("\nFIELDS:".into());
        let required = required(schemas, here);
        for (name, schema) in fields {
            let note = if required.contains(&name.as_str()) { " required" } else { "" };
            line(format!("  {name} <{}>{note}", type_of(schemas, schema)));
            if let Some(words) = words_of(schema).or_else(|| words_of(resolved(schemas, schema))) {
                line(format!("      {}", words.lines().next().unwrap_or_default()));
            }
        }
    }
    Ok(out)
}

fn is_of(schema: &Value, kind: &KindEntry) -> bool {
    let kinds = schema["x-kubernetes-group-version-kind"].as_array();
    kinds.is_some_and(|kinds| {
        kinds.len() == 1 && kinds[0]["kind"] == kind.info.kind && kinds[0]["group"] == kind.info.group
    })
}

/// The schema a reference leads to.
fn resolved<'a>(schemas: &'a Value, schema: &'a Value) -> &'a Value {
    let mut here = schema;
    for _ in 0..REFERENCES_MAX {
        let reference = here["$ref"].as_str().or_else(|| here["allOf"][0]["$ref"].as_str());
        let Some(name) = reference.and_then(|r| r.strip_prefix("#/components/schemas/")) else { break };
        here = &schemas[name];
    }
    here
}

/// What a list holds, or the schema itself.
fn element<'a>(schemas: &'a Value, schema: &'a Value) -> &'a Value {
    let schema = resolved(schemas, schema);
    if schema["items"].is_object() { resolved(schemas, &schema["items"]) } else { schema }
}

fn fields<'a>(schemas: &'a Value, schema: &'a Value) -> Option<&'a Map<String, Value>> {
    element(schemas, schema)["properties"].as_object()
}

fn required<'a>(schemas: &'a Value, schema: &'a Value) -> Vec<&'a str> {
    let names = element(schemas, schema)["required"].as_array();
    names.into_iter().flatten().filter_map(Value::as_str).collect()
}

fn type_of(schemas: &Value, schema: &Value) -> String {
    let schema = resolved(schemas, schema);
    if schema["x-kubernetes-int-or-string"] == true {
        return "quantity".into();
    }
    match schema["type"].as_str() {
        Some("array") => format!("list of {}", type_of(schemas, &schema["items"])),
        Some("object") if schema["additionalProperties"].is_object() => {
            format!("map of {}", type_of(schemas, &schema["additionalProperties"]))
        }
        Some(word) => word.into(),
        None => "any".into(),
    }
}

fn words_of(schema: &Value) -> Option<&str> {
    schema["description"].as_str().filter(|words| !words.is_empty())
}

fn names(kind: &KindEntry) -> String {
    let info = &kind.info;
    [info.plural, info.singular].iter().chain(info.short_names).copied().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Resource;
    use model::compute::Instance;
    use serde_json::json;

    fn described(path: &[&str]) -> String {
        let document = json!({ "components": { "schemas": {
            "x.Instance": {
                "description": "A sandbox.",
                "x-kubernetes-group-version-kind": [{ "group": "compute.corten.dev", "kind": "Instance" }],
                "properties": { "spec": { "$ref": "#/components/schemas/x.Spec" } },
            },
            "x.Spec": { "description": "What is wanted.", "type": "object", "required": ["power"], "properties": {
                "power": { "description": "Whether it runs.\nMore.", "type": "string", "enum": ["on", "off"] },
                "env": { "type": "array", "items": { "$ref": "#/components/schemas/x.Env" } },
                "labels": { "type": "object", "additionalProperties": { "type": "string" } },
            } },
            "x.Env": { "type": "object", "properties": { "name": { "type": "string", "description": "Its name." } } },
        } } });
        let kind = model::kind_by_resource(Instance::KIND.group, Instance::KIND.plural).unwrap();
        describe(&document, kind, path).unwrap_or_else(|failure| failure.to_string())
    }

    #[test]
    fn a_kind_lists_its_fields() {
        let text = described(&["spec"]);
        assert!(text.contains("FIELD:     spec <object>\n\n  What is wanted.\n\nFIELDS:\n"), "{text}");
        assert!(text.contains("  power <string> required\n      Whether it runs.\n"), "{text}");
        assert!(text.contains("  env <list of object>\n"), "{text}");
        assert!(text.contains("  labels <map of string>\n"), "{text}");
    }

    #[test]
    fn a_field_says_what_it_may_be() {
        assert!(
            described(&["spec", "power"]).ends_with("  Whether it runs.\n  More.\n\n  one of: on, off\n")
        );
        assert!(described(&["spec", "env", "name"]).ends_with("<string>\n\n  Its name.\n"));
    }

    #[test]
    fn an_unknown_field_names_its_parent() {
        assert_eq!(
            described(&["spec", "colour"]),
            "error: instance.spec has no field \"colour\"\nhint: `corten explain instance.spec` lists them"
        );
    }
}
