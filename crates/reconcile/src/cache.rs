//! A cache that follows the server: all objects of a selection, as of some moment not long ago.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use client::{Api, ListParams, TypedEvent};
use model::{ApiError, Object, Resource, Spec};
use parking_lot::{Mutex, RwLock};
use signal::Signal;
use tokio::task::JoinHandle;

/// How long to wait before a broken connection is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// A change that the cache has just taken in.
#[derive(Debug, Clone)]
pub enum Change<R> {
    Applied { old: Option<Arc<R>>, new: Arc<R> },
    Deleted(Arc<R>),
}

impl<R: Resource> Change<R> {
    /// The object after the change, or what it was before it was deleted.
    pub fn object(&self) -> &Arc<R> {
        match self {
            Self::Applied { new, .. } => new,
            Self::Deleted(old) => old,
        }
    }
}

impl<S: Spec> Change<Object<S>> {
    /// Whether something else is wanted than before; of what is noted in the status or the metadata alone that is not so.
    pub fn is_of_spec(&self) -> bool {
        !matches!(self, Self::Applied { old: Some(old), new } if old.spec == new.spec)
    }
}

type Listener<R> = Box<dyn Fn(&Change<R>) + Send + Sync>;

/// Objects by `project/name` (or `name`). Cheap to clone; the last clone ends the following.
pub struct Cache<R> {
    inner: Arc<Inner<R>>,
}

struct Inner<R> {
    shared: Arc<Shared<R>>,
    task: JoinHandle<()>,
}

struct Shared<R> {
    /// In order, so that what is looked at in turn is so on every replay of a simulation.
    objects: RwLock<BTreeMap<String, Arc<R>>>,
    /// Held while a change is taken in and told, so that a new listener misses none and hears none twice.
    listeners: Mutex<Vec<Listener<R>>>,
    synced: Signal<bool>,
}

impl<R> Clone for Cache<R> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<R> std::fmt::Debug for Cache<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache")
            .field("objects", &self.inner.shared.objects.read().len())
            .finish_non_exhaustive()
    }
}

impl<R> Drop for Inner<R> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<R: Resource> Cache<R> {
    /// Begins to follow a selection. `listeners` hear of every change, in order, after the cache has it.
    pub fn start(api: Api<R>, params: ListParams, listeners: Vec<Listener<R>>) -> Self {
        let shared = Arc::new(Shared {
            objects: RwLock::default(),
            listeners: Mutex::new(listeners),
            synced: Signal::new(false),
        });
        let task = tokio::spawn(follow(api, params, Arc::clone(&shared)));
        Self { inner: Arc::new(Inner { shared, task }) }
    }

    /// Has a listener hear of everything the cache has, and from then on of every change, in order.
    pub fn listen(&self, listener: impl Fn(&Change<R>) + Send + Sync + 'static) {
        let shared = &self.inner.shared;
        let mut listeners = shared.listeners.lock();
        for new in self.all() {
            listener(&Change::Applied { old: None, new });
        }
        listeners.push(Box::new(listener));
    }

    /// Waits until the cache has seen all that existed when it was started.
    pub async fn synced(&self) {
        self.inner.shared.synced.until(|synced| *synced).await;
    }

    pub fn get(&self, key: &str) -> Option<Arc<R>> {
        self.inner.shared.objects.read().get(key).cloned()
    }

    pub fn all(&self) -> Vec<Arc<R>> {
        self.inner.shared.objects.read().values().cloned().collect()
    }

    /// All objects that `keep` keeps.
    pub fn filter(&self, keep: impl Fn(&R) -> bool) -> Vec<Arc<R>> {
        self.inner.shared.objects.read().values().filter(|object| keep(object)).cloned().collect()
    }

    pub fn len(&self) -> usize {
        self.inner.shared.objects.read().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

async fn follow<R: Resource>(api: Api<R>, params: ListParams, shared: Arc<Shared<R>>) {
    loop {
        if let Err(e) = list_and_watch(&api, &params, &shared).await {
            tracing::debug!(kind = R::KIND.kind, error = %e, "will list and watch again");
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// Lists, then watches until the watch ends; from then on a new list is needed only when the server says so.
async fn list_and_watch<R: Resource>(
    api: &Api<R>,
    params: &ListParams,
    shared: &Shared<R>,
) -> Result<(), ApiError> {
    let mut params = params.clone();
    let list = api.list(&params).await?;
    shared.replace(list.items);
    shared.synced.set(true);
    params.resource_version = list.resource_version;
    params.allow_bookmarks = true;
    loop {
        let mut watch = api.watch(&params).await?;
        while let Some(event) = watch.next().await {
            match event? {
                TypedEvent::Applied(object) => {
                    params.resource_version.clone_from(&object.metadata().resource_version);
                    shared.apply(object);
                }
                TypedEvent::Deleted(object) => {
                    params.resource_version.clone_from(&object.metadata().resource_version);
                    shared.delete(&object.metadata().key());
                }
                TypedEvent::Bookmark(version) => params.resource_version = version,
            }
        }
    }
}

impl<R: Resource> Shared<R> {
    fn apply(&self, new: Arc<R>) {
        let listeners = self.listeners.lock();
        let old = self.objects.write().insert(new.metadata().key(), Arc::clone(&new));
        tell(&listeners, &Change::Applied { old, new });
    }

    fn delete(&self, key: &str) {
        let listeners = self.listeners.lock();
        let old = self.objects.write().remove(key);
        if let Some(old) = old {
            tell(&listeners, &Change::Deleted(old));
        }
    }

    /// Takes a whole list: what is not in it has been deleted meanwhile.
    fn replace(&self, items: Vec<R>) {
        let mut gone: Vec<String> = Vec::new();
        {
            let fresh: HashSet<String> = items.iter().map(|i| i.metadata().key()).collect();
            gone.extend(self.objects.read().keys().filter(|key| !fresh.contains(*key)).cloned());
        }
        for key in gone {
            self.delete(&key);
        }
        for item in items {
            let known = self.objects.read().get(&item.metadata().key()).is_some_and(|old| **old == item);
            if !known {
                self.apply(Arc::new(item));
            }
        }
    }
}

fn tell<R>(listeners: &[Listener<R>], change: &Change<R>) {
    for listener in listeners {
        listener(change);
    }
}
