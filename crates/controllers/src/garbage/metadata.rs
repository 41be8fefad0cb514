//! Metadata of all objects of a kind, followed without decoding the rest.

use std::sync::Arc;
use std::time::Duration;

use client::{ChangeKind, Client, Request, SharedEvent, Verb};
use futures::StreamExt;
use model::{ApiError, KindEntry, ObjectMeta, OwnerReference};
use parking_lot::Mutex;
use reconcile::Queue;
use serde::Deserialize;

use super::graph::{self, Graph};

pub(super) type Metadata = ObjectMeta;

const RETRY: Duration = Duration::from_millis(500);

fn parse(body: &[u8]) -> Result<Metadata, ApiError> {
    #[derive(Deserialize)]
    struct Only {
        metadata: Metadata,
    }
    serde_json::from_slice::<Only>(body)
        .map(|only| only.metadata)
        .map_err(|e| ApiError::internal(format!("an object without metadata: {e}")))
}

/// The metadata of one object.
pub(super) async fn get(client: &Client, request: Request) -> Result<Metadata, ApiError> {
    if let Some(object) = client.transport().object(&request).await? {
        return Ok(object.metadata().clone());
    }
    parse(&client.transport().call(request).await?.body)
}

/// Keeps the graph up to date for one kind and puts in line what may have to go.
pub(super) async fn follow(client: Client, kind: &'static KindEntry, graph: Arc<Mutex<Graph>>, queue: Queue) {
    let mut version = String::new();
    loop {
        match watch(&client, kind, &graph, &queue, &mut version).await {
            // The watch ended in its time; go on from where it was.
            Ok(()) => {}
            Err(e) => {
                tracing::debug!(kind = kind.info.kind, error = %e, "garbage collection starts over");
                version.clear();
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn watch(
    client: &Client,
    kind: &'static KindEntry,
    graph: &Mutex<Graph>,
    queue: &Queue,
    version: &mut String,
) -> Result<(), ApiError> {
    let mut request = Request::new(Verb::Watch, kind, None, "");
    request.list.resource_version.clone_from(version);
    request.list.allow_bookmarks = true;
    let mut follow = |change: ChangeKind, object: &Metadata| {
        version.clone_from(&object.resource_version);
        if change != ChangeKind::Bookmark {
            take(kind, change, object, graph, queue);
        }
    };
    if let Some(mut events) = client.transport().changes(&request).await? {
        while let Some(event) = events.next().await {
            match event? {
                SharedEvent::Applied(object) => follow(ChangeKind::Modified, object.metadata()),
                SharedEvent::Deleted(object) => follow(ChangeKind::Deleted, object.metadata()),
                SharedEvent::Bookmark(resource_version) => {
                    let meta = Metadata { resource_version, ..Metadata::default() };
                    follow(ChangeKind::Bookmark, &meta);
                }
            }
        }
        return Ok(());
    }
    let mut events = client.transport().watch(request).await?;
    while let Some(event) = events.next().await {
        let event = event?;
        follow(event.kind, &parse(&event.object)?);
    }
    Ok(())
}

/// One change of an object.
fn take(kind: &KindEntry, change: ChangeKind, object: &Metadata, graph: &Mutex<Graph>, queue: &Queue) {
    let key = graph::key(kind, object);
    if change == ChangeKind::Deleted {
        let dependents = {
            let mut graph = graph.lock();
            graph.remove(&key);
            graph.dependents(&object.uid)
        };
        for key in dependents {
            queue.add(key);
        }
        // An owner may wait for this one to be gone.
        let owners = object.owner_references.iter().filter_map(|owner| owner_key(owner, object));
        owners.for_each(|key| queue.add(key));
        return;
    }
    let owned = graph.lock().upsert(&key, object);
    if owned || object.is_deleting() {
        queue.add(key);
    }
}

fn owner_key(owner: &OwnerReference, dependent: &Metadata) -> Option<String> {
    let kind = super::kind_of_owner(owner)?;
    let project = if kind.info.is_project_scoped() { dependent.namespace.as_str() } else { "" };
    Some(format!("{}/{project}/{}", kind.info.resource(), owner.name))
}
