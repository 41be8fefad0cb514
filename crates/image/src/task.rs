//! What a caller holds of long work: a way to see its progress and a way to stop it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that stops the work it was given to. Clones are one flag.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How far work has come, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub done: u64,
    /// When it is known.
    pub total: Option<u64>,
}

/// Passed into blocking work. [`Task::default`] neither reports nor stops.
#[derive(Clone, Default)]
pub struct Task {
    pub cancel: Cancel,
    progress: Option<Arc<dyn Fn(Progress) + Send + Sync>>,
}

impl Task {
    pub fn new(progress: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        Self { cancel: Cancel::default(), progress: Some(Arc::new(progress)) }
    }

    pub(crate) fn report(&self, done: u64, total: Option<u64>) {
        if let Some(progress) = &self.progress {
            progress(Progress { done, total });
        }
    }
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task").field("cancel", &self.cancel).finish_non_exhaustive()
    }
}
