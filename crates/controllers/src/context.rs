//! What every controller is given.

use std::sync::Arc;

use client::{Client, Recorder};
use model::Timestamp;

/// The way to the server, and time. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    pub client: Client,
    /// For what people read; durations are measured on tokio's own clock.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Identifies this run of the control plane, where only one may act.
    pub incarnation: String,
    /// No other control plane can use this store (it is locked by this process): leases of earlier runs are
    /// taken over at once instead of after a silence.
    pub exclusive: bool,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("incarnation", &self.incarnation).finish_non_exhaustive()
    }
}

impl Context {
    pub(crate) fn recorder(&self, component: &str) -> Recorder {
        Recorder::new(self.client.clone(), component, "", Arc::clone(&self.now))
    }
}
