//! Tables for `kubectl get`: columns and rows made by the server (`meta.k8s.io/v1` Table).

use bytes::Bytes;
use client::{ChangeKind, Reply, Request, Verb, WatchEvent};
use http::header::{ACCEPT, HeaderMap};
use model::{AnyObject, ApiError, ColumnType, KindEntry, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Whether the caller prefers a table.
pub(crate) fn wanted(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("");
    accept
        .split(',')
        .next()
        .is_some_and(|first| first.contains("as=Table") && first.contains("g=meta.k8s.io"))
}

/// The answer to a get or list, as a table.
pub(crate) fn from_reply(
    request: &Request,
    reply: &Reply,
    include: &str,
    now: Timestamp,
) -> Result<Bytes, ApiError> {
    let (metadata, rows) = if request.verb == Verb::List {
        #[derive(Deserialize)]
        struct List<'a> {
            metadata: Value,
            #[serde(borrow)]
            items: Vec<&'a RawValue>,
        }
        let list: List =
            serde_json::from_slice(&reply.body).map_err(|e| ApiError::internal(e.to_string()))?;
        let rows: Result<Vec<Value>, ApiError> =
            list.items.iter().map(|item| row(request.kind, item.get().as_bytes(), include, now)).collect();
        (list.metadata, rows?)
    } else {
        let object = decode(request.kind, &reply.body)?;
        let metadata = json!({ "resourceVersion": object.metadata().resource_version });
        (metadata, vec![row(request.kind, &reply.body, include, now)?])
    };
    Ok(table(request.kind, metadata, rows, true))
}

/// A watch event as a table of one row.
pub(crate) fn from_event(
    kind: &KindEntry,
    event: &WatchEvent,
    include: &str,
    first: bool,
    now: Timestamp,
) -> Result<Bytes, ApiError> {
    if event.kind == ChangeKind::Bookmark {
        let value: Value =
            serde_json::from_slice(&event.object).map_err(|e| ApiError::internal(e.to_string()))?;
        return Ok(table(kind, value["metadata"].clone(), Vec::new(), first));
    }
    let object = decode(kind, &event.object)?;
    let metadata = json!({ "resourceVersion": object.metadata().resource_version });
    Ok(table(kind, metadata, vec![row(kind, &event.object, include, now)?], first))
}

fn table(kind: &KindEntry, metadata: Value, rows: Vec<Value>, with_columns: bool) -> Bytes {
    // An event's name says nothing: as in Kubernetes, only wide tables show it.
    let priority = i32::from(has_own_age(kind));
    let mut definitions = vec![
        json!({ "name": "Name", "type": "string", "format": "name", "priority": priority, "description": "name" }),
    ];
    for (name, column_type, wide) in (kind.columns)() {
        let word = match column_type {
            ColumnType::Text => "string",
            ColumnType::Integer => "integer",
        };
        let priority = i32::from(wide);
        definitions.push(
            json!({ "name": name, "type": word, "format": "", "priority": priority, "description": name }),
        );
    }
    if !has_own_age(kind) {
        definitions.push(
            json!({ "name": "Age", "type": "string", "format": "", "priority": 0, "description": "age" }),
        );
    }
    let definitions = if with_columns { Value::Array(definitions) } else { Value::Null };
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": definitions, "rows": rows,
    })
    .to_string()
    .into()
}

fn row(kind: &KindEntry, body: &[u8], include: &str, now: Timestamp) -> Result<Value, ApiError> {
    let object = decode(kind, body)?;
    let meta = object.metadata();
    let mut cells = vec![json!(meta.name)];
    cells.extend(object.row(now));
    if !has_own_age(kind) {
        cells.push(json!(meta.creation_timestamp.map_or_else(|| "<unknown>".into(), |t| t.age(now))));
    }
    let object: Value = match include {
        "None" => Value::Null,
        "Object" => serde_json::from_slice(body).map_err(|e| ApiError::internal(e.to_string()))?,
        _ => json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta }),
    };
    Ok(json!({ "cells": cells, "object": object }))
}

/// Events say when they were last seen instead of how old they are.
fn has_own_age(kind: &KindEntry) -> bool {
    kind.info.plural == "events"
}

fn decode(kind: &KindEntry, body: &[u8]) -> Result<Box<dyn AnyObject>, ApiError> {
    (kind.decode)(body, false).map_err(|e| ApiError::internal(e.to_string()))
}
