//! `corten create` and `corten apply`: objects out of files.

use std::io::Read;
use std::path::{Path, PathBuf};

use client::{PatchKind, Request, Verb};
use model::KindEntry;
use serde::Deserialize;
use serde_json::Value;

use super::api::{Cloud, write_options};
use super::cloud::read;
use super::{kind, output};
use crate::failure::{Failure, Failures};

/// Most bytes read of a file; one object has at most 1 MiB.
const FILE_MAX_BYTES: u64 = 64 << 20;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// File with one or more objects as YAML or JSON; - reads them from the input
    #[arg(short, long = "file", required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Check everything and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Take over fields that others set
    #[arg(long)]
    force: bool,
}

/// What is done with each object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Create,
    Apply,
}

/// Everything that can be applied is; the exit code is that of the first object that could not.
pub(crate) async fn run(cloud: Cloud, args: Args, how: How) -> Result<(), Failure> {
    let mut manifests = Vec::new();
    for file in &args.files {
        manifests.extend(parse(&text(file)?, &file.display().to_string())?);
    }
    if manifests.is_empty() {
        return Err(Failure::usage("there are no objects in the files given"));
    }
    let mut failures = Failures::default();
    for manifest in manifests {
        match send(&cloud, &manifest, &args, how).await {
            Ok(_) if cloud.global.quiet => {}
            Ok(line) => output::print(&line)?,
            Err(failure) => failures.note(failure),
        }
    }
    failures.end()
}

async fn send(cloud: &Cloud, manifest: &Manifest, args: &Args, how: How) -> Result<String, Failure> {
    let project = manifest.project.as_deref().unwrap_or(cloud.project());
    let mut request = match how {
        How::Create => Request::new(Verb::Create, manifest.kind, Some(project), ""),
        How::Apply => {
            let name = manifest.name.as_deref().ok_or_else(|| {
                Failure::usage(format!("{}: metadata.name must be set to apply", manifest.at))
                    .hint("`corten create` takes metadata.generateName")
            })?;
            model::Name::new(name).map_err(|e| Failure::usage(format!("{}: {e}", manifest.at)))?;
            Request::new(Verb::Patch(PatchKind::Apply), manifest.kind, Some(project), name)
        }
    };
    model::Name::new(project).map_err(|e| Failure::usage(format!("{}: project: {e}", manifest.at)))?;
    request.write = write_options(args.dry_run);
    request.write.force = args.force;
    let reply = cloud.client.transport().call(request.body(manifest.body.to_string())).await?;
    let object: Value = serde_json::from_slice(&reply.body)
        .map_err(|e| Failure::failed(format!("the server's answer cannot be read: {e}")))?;
    let done = if reply.created { "created" } else { "applied" };
    let note = if args.dry_run { " (dry run)" } else { "" };
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    Ok(format!("{} {done}{note}\n", kind::full_name(manifest.kind, name)))
}

/// One object of a file.
#[derive(Debug)]
struct Manifest {
    /// Where it stands, for errors.
    at: String,
    kind: &'static KindEntry,
    project: Option<String>,
    name: Option<String>,
    body: Value,
}

fn text(file: &Path) -> Result<String, Failure> {
    if file != Path::new("-") {
        return match std::fs::metadata(file) {
            Ok(meta) if meta.len() > FILE_MAX_BYTES => {
                Err(Failure::usage(format!("{} is larger than 64 MiB", file.display())))
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                Err(Failure::usage(format!("there is no file {}", file.display())))
            }
            _ => read(file),
        };
    }
    let mut text = String::new();
    let read = std::io::stdin().lock().take(FILE_MAX_BYTES).read_to_string(&mut text);
    read.map_err(Failure::io("cannot read the input"))?;
    Ok(text)
}

/// The objects of a file: YAML documents (JSON is YAML), `List`s taken apart.
fn parse(text: &str, file: &str) -> Result<Vec<Manifest>, Failure> {
    let mut manifests = Vec::new();
    for (index, document) in serde_yaml_ng::Deserializer::from_str(text).enumerate() {
        let at = format!("{file}, object {}", index + 1);
        let value = Value::deserialize(document)
            .map_err(|e| Failure::usage(format!("{at}: this is neither YAML nor JSON: {e}")))?;
        match value {
            Value::Null => {}
            Value::Object(mut list) if list.get("kind").is_some_and(|kind| kind == "List") => {
                let items = list.remove("items").and_then(|items| match items {
                    Value::Array(items) => Some(items),
                    _ => None,
                });
                for item in items.unwrap_or_default() {
                    manifests.push(manifest(item, &at)?);
                }
            }
            other => manifests.push(manifest(other, &at)?),
        }
    }
    Ok(manifests)
}

fn manifest(body: Value, at: &str) -> Result<Manifest, Failure> {
    let field = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let (Some(version), Some(word)) = (field(&body["apiVersion"]), field(&body["kind"])) else {
        return Err(Failure::usage(format!("{at}: apiVersion and kind must be set")));
    };
    let known = model::kinds().iter().find(|k| k.info.kind == word && k.info.api_version() == version);
    let kind = known.ok_or_else(|| {
        Failure::usage(format!("{at}: there is no kind {word:?} in {version:?}"))
            .hint("`corten explain` lists the kinds")
    })?;
    let (project, name) = (field(&body["metadata"]["namespace"]), field(&body["metadata"]["name"]));
    Ok(Manifest { at: at.into(), kind, project, name, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(text: &str) -> String {
        match parse(text, "f") {
            Ok(found) => {
                let names = found.iter().map(|m| kind::full_name(m.kind, m.name.as_deref().unwrap_or("?")));
                names.collect::<Vec<_>>().join(" ")
            }
            Err(failure) => failure.message,
        }
    }

    #[test]
    fn objects_of_a_file() {
        let check = |text: &str, expected: &str| assert_eq!(read_all(text), expected, "{text}");
        let key = "apiVersion: compute.corten.dev/v1\nkind: KeyPair\nmetadata: {name: a}\n";
        check(key, "keypair.compute.corten.dev/a");
        check(
            &format!("---\n{key}---\n---\n{key}"),
            "keypair.compute.corten.dev/a keypair.compute.corten.dev/a",
        );
        check(
            r#"{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"identity.corten.dev/v1","kind":"User"}]}"#,
            "user.identity.corten.dev/?",
        );
        check("", "");
        check("kind: KeyPair", "f, object 1: apiVersion and kind must be set");
        check("apiVersion: v1\nkind: Pod", "f, object 1: there is no kind \"Pod\" in \"v1\"");
        check("- a", "f, object 1: apiVersion and kind must be set");
        assert!(read_all("a: [").starts_with("f, object 1: this is neither YAML nor JSON"));
    }
}
