//! Writes events: what happened to an object, in a sentence. The same event again only counts up.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use model::event::{Event, EventSource, ObjectReference};
use model::{ObjectMeta, Reason, Resource, Timestamp};
use parking_lot::Mutex;

use crate::Client;

/// Events remembered to be counted up; beyond this the memory starts anew and events repeat.
const REMEMBERED_MAX: usize = 4_096;

/// Records events in the name of one part of the cloud. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    client: Client,
    source: EventSource,
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    known: Arc<Mutex<HashMap<String, u32>>>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("source", &self.source).finish_non_exhaustive()
    }
}

/// How serious an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Normal,
    Warning,
}

impl Recorder {
    pub fn new(
        client: Client,
        component: &str,
        host: &str,
        now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    ) -> Self {
        let source = EventSource { component: component.into(), host: host.into() };
        Self { client, source, now, known: Arc::default() }
    }

    /// Records that something happened to `object`. Losing an event is no failure of what happened, so
    /// errors are only logged.
    pub async fn record<R: Resource>(&self, object: &R, severity: Severity, reason: &str, message: &str) {
        let meta = object.metadata();
        let name = self.name(meta, reason, message);
        let count = {
            let mut known = self.known.lock();
            if known.len() >= REMEMBERED_MAX {
                known.clear();
            }
            let count = known.entry(name.clone()).or_insert(0);
            *count += 1;
            *count
        };
        let project = if meta.namespace.is_empty() { "default" } else { &meta.namespace };
        let events = self.client.project::<Event>(project);
        let now = (self.now)();
        if count > 1 {
            let patch = serde_json::json!({ "count": count, "lastTimestamp": now });
            match events.merge(&name, &patch).await {
                Err(e) if e.is_not_found() => {}
                Err(e) => return tracing::debug!(error = %e, "an event was lost"),
                Ok(_) => return,
            }
        }
        let event = Event {
            metadata: ObjectMeta::in_project(project, name),
            involved_object: ObjectReference {
                api_version: R::KIND.api_version(),
                kind: R::KIND.kind.into(),
                namespace: meta.namespace.clone(),
                name: meta.name.clone(),
                uid: meta.uid.clone(),
                resource_version: meta.resource_version.clone(),
                field_path: String::new(),
            },
            reason: reason.into(),
            message: message.chars().take(1024).collect(),
            source: self.source.clone(),
            first_timestamp: Some(now),
            last_timestamp: Some(now),
            count: 1,
            severity: format!("{severity:?}"),
            ..Event::default()
        };
        match events.create(&event).await {
            Err(e) if e.reason != Reason::AlreadyExists => tracing::debug!(error = %e, "an event was lost"),
            _ => {}
        }
    }

    /// The same thing happening to the same object has the same name.
    fn name(&self, meta: &ObjectMeta, reason: &str, message: &str) -> String {
        let mut hasher = DefaultHasher::new();
        (&meta.uid, reason, message, &self.source.component, &self.source.host).hash(&mut hasher);
        let prefix: String = meta.name.chars().take(200).collect();
        format!("{}.{:016x}", prefix.trim_end_matches(['.', '-']), hasher.finish())
    }
}
