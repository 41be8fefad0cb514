//! Audit: one line per call that changes something or is refused, as JSON, with how the caller proved who it is.

use std::io::Write;
use std::sync::Arc;

use client::Request;
use identity::Principal;
use model::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;

/// Where audit lines go. Cheap to clone.
#[derive(Clone)]
pub struct Audit {
    sink: Option<Arc<Sink>>,
}

struct Sink {
    out: Mutex<Box<dyn Write + Send>>,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
}

/// A call under way.
pub(crate) struct Line {
    sink: Arc<Sink>,
    record: Record,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    time: Timestamp,
    user: String,
    how: String,
    verb: &'static str,
    resource: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    project: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    code: u16,
}

impl std::fmt::Debug for Audit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Audit").field("on", &self.sink.is_some()).finish()
    }
}

impl Audit {
    /// No audit: for simulations.
    pub fn off() -> Self {
        Self { sink: None }
    }

    /// Appends to `out`, which buffers no more than one line.
    pub fn to(out: Box<dyn Write + Send>, now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { sink: Some(Arc::new(Sink { out: Mutex::new(out), now: Box::new(now) })) }
    }

    /// Begins a line, for calls worth one: all that people do, and what hosts change. The control plane's own
    /// calls, hosts' reads and their signs of life are not.
    pub(crate) fn begin(&self, caller: &Principal, request: &Request) -> Option<Line> {
        let sink = self.sink.as_ref()?;
        let is_sign_of_life = request.kind.info.plural == "leases";
        if caller.is_component() || caller.host().is_some() && (is_sign_of_life || !request.verb.is_write()) {
            return None;
        }
        let mut resource = request.kind.info.resource();
        if !request.subresource.is_empty() {
            resource = format!("{resource}/{}", request.subresource);
        }
        let record = Record {
            time: (sink.now)(),
            user: caller.user.clone(),
            how: caller.how.to_string(),
            verb: request.verb.as_str(),
            resource,
            project: request.project.clone().unwrap_or_default(),
            name: request.name.clone(),
            dry_run: request.write.dry_run,
            code: 0,
        };
        Some(Line { sink: Arc::clone(sink), record })
    }
}

impl Line {
    pub(crate) fn end(mut self, code: u16) {
        self.record.code = code;
        let Ok(mut line) = serde_json::to_vec(&self.record) else { return };
        line.push(b'\n');
        if let Err(e) = self.sink.out.lock().write_all(&line) {
            tracing::warn!(error = %e, "cannot write the audit log");
        }
    }
}
