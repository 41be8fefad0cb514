//! Volumes and snapshots in pools that hosts share: which host has their work. That of the instance that names it, and
//! without one any that has the pool, always the same. The pool itself refuses whoever still thinks it was him: each
//! change is counted, and it takes the higher count.

mod decide;

use client::ListParams;
use model::compute::Instance;
use model::storage::{Volume, VolumeSnapshot};
use model::topology::Host;
use model::{ApiError, Condition, ConditionStatus, set_condition};
use reconcile::{Cache, Change, Outcome, Queue};

use crate::Context;
use crate::caches::Caches;
use decide::{Look, decide};

struct Keepers {
    context: Context,
    caches: Caches,
    snapshots: Cache<VolumeSnapshot>,
}

pub(crate) async fn run(context: Context, caches: Caches) {
    let queue = Queue::new();
    // Keys of two kinds in one line; a project's name has no slash.
    let snapshots = {
        let queue = queue.clone();
        let listener = move |change: &Change<VolumeSnapshot>| {
            queue.add(format!("s/{}", change.object().metadata.key()));
        };
        let client = context.client.all::<VolumeSnapshot>();
        Cache::start(client, ListParams::default(), vec![Box::new(listener)])
    };
    {
        let (queue, snapshots) = (queue.clone(), snapshots.clone());
        caches.volumes.listen(move |change| {
            let meta = &change.object().metadata;
            queue.add(format!("v/{}", meta.key()));
            // What is being taken of it goes where it goes.
            for snapshot in snapshots.filter(|s| s.metadata.namespace == meta.namespace && !s.status.ready) {
                queue.add(format!("s/{}", snapshot.metadata.key()));
            }
        });
    }
    {
        let queue = queue.clone();
        caches.instances.listen(move |change| {
            let (old, new) = match change {
                Change::Applied { old, new } => (old.as_deref(), Some(&**new)),
                Change::Deleted(old) => (Some(&**old), None),
            };
            let bound = |i: Option<&Instance>| i.map(|i| i.status.host.clone());
            let named = |i: Option<&Instance>| -> Vec<String> {
                let keys = i.map(|i| {
                    i.spec.named_volumes().map(move |(_, v)| format!("{}/{v}", i.metadata.namespace))
                });
                keys.into_iter().flatten().collect()
            };
            let (before, after) = (named(old), named(new));
            if before != after || bound(old) != bound(new) {
                for key in before.iter().chain(&after) {
                    queue.add(format!("v/{key}"));
                }
            }
        });
    }
    let everything = {
        let (queue, volumes, snapshots) = (queue.clone(), caches.volumes.clone(), snapshots.clone());
        move || {
            for volume in volumes.all() {
                queue.add(format!("v/{}", volume.metadata.key()));
            }
            for snapshot in snapshots.all() {
                queue.add(format!("s/{}", snapshot.metadata.key()));
            }
        }
    };
    {
        let everything = everything.clone();
        caches.hosts.listen(move |change| {
            let facts = |h: &Host| (h.is_ready(), h.is_fenced(), h.status.pools.clone());
            let is_news = match change {
                Change::Applied { old, new } => old.as_ref().is_none_or(|old| facts(old) != facts(new)),
                Change::Deleted(_) => true,
            };
            if is_news {
                everything();
            }
        });
    }
    caches.pools.listen(move |_| everything());
    tokio::join!(caches.synced(), snapshots.synced());
    let keepers = Keepers { context, caches, snapshots };
    reconcile::run("volume", queue, 4, |key| keepers.reconcile(key)).await;
}

impl Keepers {
    async fn reconcile(&self, key: String) -> Result<Outcome, ApiError> {
        if let Some(key) = key.strip_prefix("v/") {
            let Some(volume) = self.caches.volumes.get(key) else { return Ok(Outcome::Done) };
            if self.caches.is_shared(&volume) {
                self.place(&volume).await?;
            }
            return Ok(Outcome::Done);
        }
        let key = key.trim_start_matches("s/");
        let Some(snapshot) = self.snapshots.get(key) else { return Ok(Outcome::Done) };
        self.place_snapshot(&snapshot).await?;
        Ok(Outcome::Done)
    }

    async fn place(&self, volume: &Volume) -> Result<(), ApiError> {
        let (project, name) = (&volume.metadata.namespace, &volume.metadata.name);
        let users =
            self.caches.instances.filter(|i| i.metadata.namespace == *project && i.spec.has_volume(name));
        let source = self.caches.volumes.get(&format!("{project}/{}", volume.spec.source.volume));
        let hosts = self.caches.hosts.all();
        let look = Look {
            key: volume.metadata.uid.as_str(),
            pool: &volume.spec.pool,
            host: &volume.status.host,
            is_attached: volume.status.attachment.is_some(),
            user: users.first().map(|i| i.status.host.as_str()),
            source: source.as_ref().map_or("", |source| source.status.host.as_str()),
        };
        let mut new = volume.clone();
        if let Some(host) = decide(&look, &hosts) {
            let before = std::mem::replace(&mut new.status.host, host.to_owned());
            new.status.moves += 1;
            if decide::is_lost(&hosts, &before) && !before.is_empty() && !new.status.lost.contains(&before) {
                new.status.lost.push(before);
            }
        } else if volume.status.host.is_empty() {
            let message = format!("no host that is ready has pool {:?}", volume.spec.pool);
            let condition = Condition::new("Ready", ConditionStatus::False, "NoHost", message);
            set_condition(&mut new.status.conditions, condition, (self.context.now)());
        }
        if new.status == volume.status {
            return Ok(());
        }
        ignore_changed(self.context.client.project::<Volume>(project).update_status(&new).await.map(drop))
    }

    /// While it is taken it is with its volume; later with any host that has the pool.
    async fn place_snapshot(&self, snapshot: &VolumeSnapshot) -> Result<(), ApiError> {
        let status = &snapshot.status;
        let is_shared = self.caches.pools.get(&status.pool).is_some_and(|pool| pool.spec.is_shared());
        if !is_shared || status.host.is_empty() {
            return Ok(());
        }
        let project = &snapshot.metadata.namespace;
        let volume = self.caches.volumes.get(&format!("{project}/{}", snapshot.spec.volume));
        let hosts = self.caches.hosts.all();
        let look = Look {
            key: snapshot.metadata.uid.as_str(),
            pool: &status.pool,
            host: &status.host,
            user: volume.as_ref().filter(|_| !status.ready).map(|volume| volume.status.host.as_str()),
            ..Look::default()
        };
        let Some(host) = decide(&look, &hosts) else { return Ok(()) };
        let mut new = snapshot.clone();
        host.clone_into(&mut new.status.host);
        let api = self.context.client.project::<VolumeSnapshot>(project);
        ignore_changed(api.update_status(&new).await.map(drop))
    }
}

/// Someone else changed it: that change puts it in line again.
fn ignore_changed(result: Result<(), ApiError>) -> Result<(), ApiError> {
    match result {
        Err(e) if e.is_conflict() || e.is_not_found() => Ok(()),
        result => result,
    }
}
