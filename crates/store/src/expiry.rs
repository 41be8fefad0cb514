//! The task that ends leases when their time is over. Owns the waiting; ending one is the backend's.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use crate::mirror::Mirror;
use crate::{LeaseId, StoreError};

/// How long to wait before trying again to end a lease when the store could not.
const RETRY: Duration = Duration::from_millis(200);

/// What can end a lease that ran out.
#[async_trait]
pub(crate) trait Revoke: Send + Sync + 'static {
    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError>;
}

/// The running task; dropping this stops it.
#[derive(Debug)]
pub(crate) struct Expiry(JoinHandle<()>);

impl Expiry {
    /// The task ends with the last reference to `backend`.
    pub(crate) fn spawn<R: Revoke>(mirror: Arc<Mirror>, backend: &Arc<R>) -> Self {
        Self(tokio::spawn(run(mirror, Arc::downgrade(backend))))
    }
}

impl Drop for Expiry {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn run<R: Revoke>(mirror: Arc<Mirror>, backend: Weak<R>) {
    loop {
        let next = mirror.read().leases.next_deadline();
        match next {
            None => mirror.lease_granted.notified().await,
            Some(deadline) => {
                if timeout_at(deadline, mirror.lease_granted.notified()).await.is_ok() {
                    continue;
                }
            }
        }
        let expired = mirror.read().leases.expired(Instant::now());
        let Some(backend) = backend.upgrade() else { return };
        let ended = futures::future::join_all(expired.iter().map(|lease| backend.revoke(*lease))).await;
        drop(backend);
        match ended.into_iter().find_map(retriable) {
            None => {}
            Some(StoreError::Failed(reason)) => {
                tracing::error!(reason, "leases no longer run out");
                return;
            }
            Some(error) => {
                tracing::warn!(%error, "a lease that ran out could not be ended yet");
                sleep(RETRY).await;
            }
        }
    }
}

fn retriable(ended: Result<(), StoreError>) -> Option<StoreError> {
    ended.err().filter(|error| !matches!(error, StoreError::LeaseNotFound(_)))
}
