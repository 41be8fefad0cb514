//! The scheduler's loop: every instance without a host gets one, or a condition that says why not.
//!
//! Only one scheduler may bind: it holds a lease, and every binding carries the lease's epoch, which the
//! server checks in the transaction that binds. So what this process has promised in memory is all there is
//! to promise, and the binding itself is the claim.

mod leadership;
mod pending;
mod volumes;

use std::sync::Arc;
use std::time::Duration;

use client::{Api, Fence, ListParams, Recorder, Severity, Verb, WriteOptions};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use model::compute::{Image, Instance};
use model::storage::{Pool, Volume};
use model::topology::Host;
use model::{ApiError, Condition, ConditionStatus, set_condition};
use parking_lot::Mutex;
use reconcile::{Cache, Change};
use scheduler::{HostView, Index, Placement, Request};
use tokio::sync::Notify;

use crate::Context;
use crate::caches::Caches;
use leadership::Leadership;
use pending::Pending;

/// Bindings under way at the same time: enough to fill the store's group commits.
const BINDINGS_MAX: usize = 512;

/// Between two attempts for the same instance after the first could not be written down.
const RETRY: Duration = Duration::from_millis(10);

struct Scheduler {
    context: Context,
    recorder: Recorder,
    index: Arc<Mutex<Index>>,
    pending: Arc<Mutex<Pending>>,
    wake: Arc<Notify>,
    instances: Cache<Instance>,
    images: Cache<Image>,
    volumes: Cache<Volume>,
    pools: Cache<Pool>,
    leadership: Leadership,
}

/// What became of one attempt.
enum Attempt {
    /// Bound, or refused with the reason written down.
    Settled,
    /// The instance changed meanwhile, or the server could not be reached.
    Again { key: String },
}

pub(crate) async fn run(context: Context, caches: Caches) {
    let Caches { hosts, instances, volumes, pools } = caches.clone();
    let index = Arc::new(Mutex::new(Index::new()));
    let pending: Arc<Mutex<Pending>> = Arc::default();
    let wake = Arc::new(Notify::new());
    follow_hosts(&hosts, &index, &pending, &wake);
    follow_instances(&instances, &index, &pending, &wake);
    let images = Cache::start(context.client.all::<Image>(), ListParams::default(), Vec::new());
    follow_volumes(&volumes, &pending, &wake);
    tokio::join!(caches.synced(), images.synced());
    let recorder = context.recorder("scheduler");
    let leadership = Leadership::start(context.clone());
    let scheduler =
        Scheduler { context, recorder, index, pending, wake, instances, images, volumes, pools, leadership };
    scheduler.run().await;
}

fn follow_hosts(
    hosts: &Cache<Host>,
    index: &Arc<Mutex<Index>>,
    pending: &Arc<Mutex<Pending>>,
    wake: &Arc<Notify>,
) {
    let (index, pending, wake) = (Arc::clone(index), Arc::clone(pending), Arc::clone(wake));
    hosts.listen(move |change| {
        match change {
            Change::Applied { new, .. } => {
                index.lock().upsert_host(HostView::from(&**new));
            }
            Change::Deleted(old) => {
                index.lock().remove_host(&old.metadata.name);
            }
        }
        pending.lock().retry_refused();
        wake.notify_one();
    });
}

/// A volume that has got its host, or that is gone, may be what an instance waits for.
fn follow_volumes(volumes: &Cache<Volume>, pending: &Arc<Mutex<Pending>>, wake: &Arc<Notify>) {
    let (pending, wake) = (Arc::clone(pending), Arc::clone(wake));
    volumes.listen(move |change: &Change<Volume>| {
        let moved = match change {
            Change::Applied { old, new } => old.as_ref().is_none_or(|old| old.home() != new.home()),
            Change::Deleted(_) => true,
        };
        if moved {
            pending.lock().retry_refused();
            wake.notify_one();
        }
    });
}

fn follow_instances(
    instances: &Cache<Instance>,
    index: &Arc<Mutex<Index>>,
    pending: &Arc<Mutex<Pending>>,
    wake: &Arc<Notify>,
) {
    let (index, pending, wake) = (Arc::clone(index), Arc::clone(pending), Arc::clone(wake));
    instances.listen(move |change| match change {
        Change::Applied { old, new } if new.status.host.is_empty() => {
            if old.as_ref().is_some_and(|old| !old.status.host.is_empty()) {
                // Its host was lost.
                index.lock().unbind(&new.metadata.key());
            }
            let mut pending = pending.lock();
            if new.metadata.is_deleting() {
                pending.remove(&new.metadata.key());
            } else {
                pending.add(new.metadata.key(), new.spec.placement.priority);
            }
            drop(pending);
            wake.notify_one();
        }
        Change::Applied { old, new } => {
            let key = new.metadata.key();
            pending.lock().remove(&key);
            let known = old.as_ref().is_some_and(|old| {
                old.status.host == new.status.host
                    && old.spec.resources == new.spec.resources
                    && old.metadata.labels == new.metadata.labels
                    && old.metadata.uid == new.metadata.uid
            });
            if !known {
                // What the store says is so, whatever was thought before.
                index.lock().adopt(&Request::new(new, Vec::new()), &new.status.host);
            }
        }
        Change::Deleted(old) => {
            let key = old.metadata.key();
            pending.lock().remove(&key);
            index.lock().unbind(&key);
            pending.lock().retry_refused();
            wake.notify_one();
        }
    });
}

impl Scheduler {
    async fn run(&self) {
        let mut under_way = FuturesUnordered::new();
        let mut leadership = self.leadership.news();
        loop {
            leadership.mark_unchanged();
            while under_way.len() < BINDINGS_MAX {
                let Some(fence) = self.leadership.fence() else { break };
                let Some(key) = self.pending.lock().pop() else { break };
                if let Some(attempt) = self.attempt(key, fence) {
                    under_way.push(attempt);
                }
            }
            tokio::select! {
                biased;
                Some(done) = under_way.next(), if !under_way.is_empty() => self.settle(done),
                () = self.wake.notified() => {}
                Ok(()) = leadership.changed() => {}
            }
        }
    }

    fn settle(&self, attempt: Attempt) {
        match attempt {
            Attempt::Settled => {}
            Attempt::Again { key } => {
                let instance = self.instances.get(&key);
                let bound = instance.as_ref().map_or("", |i| i.status.host.as_str());
                if bound.is_empty() {
                    self.index.lock().unbind(&key);
                }
                if let Some(instance) =
                    instance.filter(|i| i.status.host.is_empty() && !i.metadata.is_deleting())
                {
                    self.pending.lock().add(key, instance.spec.placement.priority);
                }
            }
        }
    }

    /// Decides for one instance and, when there is a host, returns the work of writing it down.
    fn attempt(&self, key: String, fence: Fence) -> Option<impl Future<Output = Attempt> + use<'_>> {
        let instance = self.instances.get(&key)?;
        if !instance.status.host.is_empty() || instance.metadata.is_deleting() {
            return None;
        }
        let mut request = Request::new(&instance, self.image_digests(&instance));
        let decision = match volumes::place(&instance, &self.volumes, &self.pools) {
            Err(why) => Err(why),
            Ok(volumes::Place { host, pools }) => {
                if let Some(host) = host {
                    request.placement.host = host;
                }
                request.pools = pools;
                Ok(())
            }
        };
        let decision = if let Err(why) = decision {
            Err(why)
        } else {
            let mut index = self.index.lock();
            let decision = index.place(&request);
            if let Ok(placement) = &decision {
                // Fits by the same index under the same lock; a refusal would be a contradiction.
                if let Err(e) = index.bind(&request, &placement.host) {
                    tracing::error!(key, error = %e, "the scheduler contradicts itself");
                    return None;
                }
            }
            decision.map_err(|refusal| refusal.to_string())
        };
        if decision.is_err() {
            self.pending.lock().refuse(key.clone(), instance.spec.placement.priority);
        }
        Some(async move {
            match decision {
                Ok(placement) => self.bind(&key, &instance, placement, fence).await,
                Err(refusal) => self.explain(key, &instance, &refusal, fence).await,
            }
        })
    }

    async fn bind(&self, key: &str, instance: &Instance, placement: Placement, fence: Fence) -> Attempt {
        let body = serde_json::json!({
            "host": &*placement.host,
            "message": placement.explanation.to_string(),
        });
        // Not as a typed call: the answer, the whole instance, comes by the watch anyway.
        let request = self.api(instance, fence).request(Verb::Create, &instance.metadata.name);
        let request = request.subresource("binding").body(body.to_string());
        match self.context.client.transport().call(request).await {
            Ok(_) => Attempt::Settled,
            Err(e) => again(key.to_owned(), &e).await,
        }
    }

    /// Writes down why there is no host, when it is news.
    async fn explain(&self, key: String, instance: &Instance, message: &str, fence: Fence) -> Attempt {
        let known = instance.status.conditions.iter().any(|c| c.kind == "Scheduled" && c.message == message);
        if known {
            return Attempt::Settled;
        }
        let mut changed = instance.clone();
        let condition = Condition::new("Scheduled", ConditionStatus::False, "NoHost", message);
        set_condition(&mut changed.status.conditions, condition, (self.context.now)());
        match self.api(instance, fence).update_status(&changed).await {
            Ok(written) => {
                self.recorder.record(&written, Severity::Warning, "NoHost", message).await;
                Attempt::Settled
            }
            Err(e) => again(key, &e).await,
        }
    }

    fn api(&self, instance: &Instance, fence: Fence) -> Api<Instance> {
        let write = WriteOptions { fence: Some(fence), ..WriteOptions::default() };
        self.context.client.project::<Instance>(&instance.metadata.namespace).with(write)
    }

    /// Digests of the files an instance starts from: hosts that have them are preferred.
    fn image_digests(&self, instance: &Instance) -> Vec<String> {
        let project = &instance.metadata.namespace;
        let find = |name: &str| {
            let own = self.images.get(&format!("{project}/{name}"));
            own.or_else(|| self.images.get(&format!("system/{name}")))
        };
        let images = instance.spec.payload.images().into_iter().filter_map(find);
        images
            .flat_map(|image| image.status.artifacts.iter().map(|a| a.sha256.clone()).collect::<Vec<_>>())
            .collect()
    }
}

/// Gives the cache a moment to see what the server has seen.
async fn again(key: String, error: &ApiError) -> Attempt {
    tracing::debug!(key, error = %error, "could not be bound, will try again");
    tokio::time::sleep(RETRY).await;
    Attempt::Again { key }
}
