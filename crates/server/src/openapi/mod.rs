//! OpenAPI: descriptions of all kinds, made from the types themselves, in the forms that `kubectl explain`,
//! `kubectl apply` and Terraform read. Answers `/openapi/v3`, one document per group and version, and
//! `/openapi/v2` as JSON and, for kubectl up to 1.28, as protobuf. Pure; made once.

mod components;
mod paths;
mod protobuf;
mod simplify;
mod v2;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::discovery::Document;

pub(crate) use components::{has_status, schema_of};

/// In the media types of clients that read protobuf.
const PROTOBUF: &str = "+protobuf";
/// Clients ask with `@` before the version, which is no media type and none of them would take as an answer.
const PROTOBUF_V2: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// What `path` answers; None when it is no OpenAPI document. A query (`?hash=`) does not matter: a document
/// does not change while the server runs.
pub(crate) fn answer(path: &str, accept: &str) -> Option<Result<&'static Document, NotAcceptable>> {
    static DOCUMENTS: LazyLock<BTreeMap<String, Document>> = LazyLock::new(documents);
    let path = path.trim_end_matches('/');
    let document = DOCUMENTS.get(path)?;
    if !accept.split(',').next().is_some_and(|first| first.contains(PROTOBUF)) {
        return Some(Ok(document));
    }
    let binary = DOCUMENTS.get(&format!("{path}{PROTOBUF}"));
    let reads_json = accept.split(',').any(|item| !item.contains(PROTOBUF));
    Some(binary.or(reads_json.then_some(document)).ok_or(NotAcceptable))
}

/// The client reads only protobuf, and asks for what is there only as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this document is served as JSON only; send `Accept: application/json`")]
pub(crate) struct NotAcceptable;

/// Every group and version, in the order of discovery.
pub(crate) fn group_versions() -> Vec<(&'static str, &'static str)> {
    let mut all: Vec<_> = model::kinds().iter().map(|kind| (kind.info.group, kind.info.version)).collect();
    let mut seen = std::collections::HashSet::new();
    all.retain(|gv| seen.insert(*gv));
    all
}

fn documents() -> BTreeMap<String, Document> {
    let mut index = serde_json::Map::new();
    let mut answers = BTreeMap::new();
    let versions: Vec<Value> = group_versions().into_iter().map(|(g, v)| document(g, v)).collect();
    for ((group, version), body) in group_versions().into_iter().zip(&versions) {
        let name =
            if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
        let document = Document::json(body);
        let url = format!("/openapi/v3/{name}?hash={}", document.etag);
        index.insert(name.clone(), json!({ "serverRelativeURL": url }));
        answers.insert(format!("/openapi/v3/{name}"), document);
    }
    answers.insert("/openapi/v3".into(), Document::json(&json!({ "paths": index })));
    let swagger = v2::swagger(&versions);
    answers.insert("/openapi/v2".into(), Document::json(&swagger));
    let binary = Document::of_bytes(protobuf::document(&swagger), PROTOBUF_V2);
    answers.insert(format!("/openapi/v2{PROTOBUF}"), binary);
    answers
}

/// The version 3 document of one group and version; it refers to nothing outside itself.
fn document(group: &str, version: &str) -> Value {
    json!({
        "openapi": "3.0.0",
        "info": { "title": "Corten", "version": env!("CARGO_PKG_VERSION") },
        "paths": paths::of(group, version),
        "components": {
            "schemas": components::of(group, version),
            "securitySchemes": {
                "BearerToken": { "type": "http", "scheme": "bearer", "description": "A token of an AccessKey." }
            }
        },
        "security": [{ "BearerToken": [] }],
    })
}

#[cfg(test)]
mod tests;
