//! Events: what happened to an object, in a sentence, in the form of Kubernetes' core `v1` Event, so that
//! `kubectl get events` and `kubectl describe` show them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Column, FieldErrors, KindInfo, ObjectMeta, Resource, Resources, Scope, Timestamp, Uid};

/// The object an event is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectReference {
    pub api_version: String,
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub uid: Uid,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field_path: String,
}

/// Who reports an event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EventSource {
    pub component: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
}

/// Something that happened, `count` times since `first_timestamp`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Event {
    pub api_version: String,
    pub kind: String,
    pub metadata: ObjectMeta,
    pub involved_object: ObjectReference,
    /// One CamelCase word for programs.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    pub source: EventSource,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_timestamp: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_timestamp: Option<Timestamp>,
    pub count: u32,
    /// `Normal` or `Warning`.
    #[serde(rename = "type")]
    pub severity: String,
}

impl Resource for Event {
    const KIND: KindInfo = KindInfo {
        group: "",
        version: "v1",
        kind: "Event",
        plural: "events",
        singular: "event",
        short_names: &["ev"],
        scope: Scope::Project,
        summary: "Something that happened to an object.",
    };

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
    fn set_type(&mut self) {
        self.api_version = "v1".into();
        self.kind = "Event".into();
    }
    fn set_defaults(&mut self) {
        if self.severity.is_empty() {
            self.severity = "Normal".into();
        }
        self.count = self.count.max(1);
    }
    fn validate(&self, errors: &mut FieldErrors) {
        errors.require(
            matches!(self.severity.as_str(), "Normal" | "Warning"),
            "type",
            "must be Normal or Warning",
        );
        errors.require(!self.involved_object.name.is_empty(), "involvedObject.name", "must be set");
        errors.require(self.message.len() <= 4096, "message", "must be at most 4096 bytes");
    }
    fn validate_update(&self, _old: &Self, _errors: &mut FieldErrors) {}
    fn columns() -> &'static [Column<Self>] {
        const COLUMNS: &[Column<Event>] = &[
            Column::text("Last Seen", |e, now| {
                json!(e.last_timestamp.map_or_else(String::new, |t| t.age(now)))
            }),
            Column::text("Type", |e, _| json!(e.severity)),
            Column::text("Reason", |e, _| json!(e.reason)),
            Column::text("Object", |e, _| {
                json!(format!("{}/{}", e.involved_object.kind.to_lowercase(), e.involved_object.name))
            }),
            Column::wide_integer("Count", |e, _| json!(e.count)),
            Column::wide_text("Source", |e, _| json!(e.source.component)),
            Column::text("Message", |e, _| json!(e.message)),
        ];
        COLUMNS
    }
    fn field(&self, path: &str) -> Option<String> {
        let object = &self.involved_object;
        Some(match path {
            "involvedObject.name" => object.name.clone(),
            "involvedObject.namespace" => object.namespace.clone(),
            "involvedObject.kind" => object.kind.clone(),
            "involvedObject.uid" => object.uid.to_string(),
            "involvedObject.apiVersion" => object.api_version.clone(),
            "reason" => self.reason.clone(),
            "type" => self.severity.clone(),
            _ => return None,
        })
    }
    fn charge(&self) -> Resources {
        Resources::ZERO
    }
    fn keep_status_of(&mut self, _old: &Self) {}
    fn keep_spec_of(&mut self, _old: &Self) {}
    fn clear_status(&mut self) {}
    fn same_spec(&self, old: &Self) -> bool {
        self == old
    }
}
