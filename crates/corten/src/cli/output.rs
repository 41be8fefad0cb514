//! What reaches the terminal: results on stdout, and the forms objects are printed in.

use std::io::Write;

use clap::ValueEnum;
use model::KindEntry;
use serde_json::{Value, json};

use super::api::Cloud;
use super::kind::full_name;
use crate::failure::Failure;

/// How objects are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Form {
    #[default]
    Table,
    Wide,
    Json,
    Yaml,
    Name,
}

/// Prints a result; `text` ends with a line break.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(Failure::io("cannot write the result"))
}

/// Says that a command has made something.
pub(crate) fn created(cloud: &Cloud, kind: &KindEntry, name: &str) -> Result<(), Failure> {
    if cloud.global.quiet {
        return Ok(());
    }
    print(&format!("{} created\n", full_name(kind, name)))
}

/// Objects as one document: a single object as it is, several as a `List`.
pub(crate) fn document(mut objects: Vec<Value>, form: Form, single: bool) -> Result<String, Failure> {
    for object in &mut objects {
        hide_bookkeeping(object);
    }
    let value = match objects.len() {
        1 if single => objects.remove(0),
        _ => json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": objects }),
    };
    let cannot = |e: &dyn std::fmt::Display| Failure::failed(format!("cannot print the object: {e}"));
    match form {
        Form::Yaml => serde_yaml_ng::to_string(&value).map_err(|e| cannot(&e)),
        _ => serde_json::to_string_pretty(&value).map(|text| text + "\n").map_err(|e| cannot(&e)),
    }
}

/// Text of strangers (guests, other users) without the characters that drive a terminal.
pub(crate) fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Every line with this ahead of it, and with a line break after it.
pub(crate) fn indented(text: &str, by: &str) -> String {
    text.lines().flat_map(|line| [by, line, "\n"]).collect()
}

/// Who set which field is for programs; they ask the API.
fn hide_bookkeeping(object: &mut Value) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(names: &[&str]) -> Vec<Value> {
        let object =
            |name: &&str| json!({ "kind": "X", "metadata": { "name": name, "managedFields": [{}] } });
        names.iter().map(object).collect()
    }

    #[test]
    fn one_object_is_itself_and_a_list_is_a_list() {
        let one = document(objects(&["a"]), Form::Yaml, true).unwrap();
        assert_eq!(one, "kind: X\nmetadata:\n  name: a\n");
        let list = document(objects(&["a"]), Form::Json, false).unwrap();
        let list: Value = serde_json::from_str(&list).unwrap();
        assert_eq!((list["kind"].as_str(), list["items"][0]["kind"].as_str()), (Some("List"), Some("X")));
        assert_eq!(list["items"][0]["metadata"], json!({ "name": "a" }));
    }

    #[test]
    fn strangers_cannot_drive_the_terminal() {
        assert_eq!(harmless("a\u{1b}[2Jb\rc\u{9b}"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}");
    }
}
