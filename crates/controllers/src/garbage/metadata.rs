//! Metadata of all objects of a kind, followed without decoding the rest.

use std::sync::Arc;
use std::time::Duration;

use client::{ChangeKind, Client, Request, Verb};
use futures::StreamExt;
use model::{ApiError, KindEntry, ObjectMeta, OwnerReference};
use parking_lot::Mutex;
use reconcile::Queue;
use serde::Deserialize;

use super::graph::{self, Graph};

pub(super) type Metadata = ObjectMeta;

const RETRY: Duration = Duration::from_millis(500);

pub(super) fn parse(body: &[u8]) -> Result<Metadata, ApiError> {
    #[derive(Deserialize)]
    struct Only {
        metadata: Metadata,
    }
    serde_json::from_slice::<Only>(body)
        .map(|only| only.metadata)
        .map_err(|e| ApiError::internal(format!("an object without metadata: {e}")))
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
    let mut events = client.transport().watch(request).await?;
    while let Some(event) = events.next().await {
        let event = event?;
        let object = parse(&event.object)?;
        version.clone_from(&object.resource_version);
        if event.kind == ChangeKind::Bookmark {
            continue;
        }
        let key = graph::key(kind, &object);
        if event.kind == ChangeKind::Deleted {
            let dependents = {
                let mut graph = graph.lock();
                graph.remove(&key);
                graph.dependents(&object.uid)
            };
            for key in dependents {
                queue.add(key);
            }
            // An owner may wait for this one to be gone.
            object
                .owner_references
                .iter()
                .filter_map(|o| owner_key(o, &object))
                .for_each(|key| queue.add(key));
            continue;
        }
        let owned = graph.lock().upsert(&key, &object);
        if owned || object.is_deleting() {
            queue.add(key);
        }
    }
    Ok(())
}

fn owner_key(owner: &OwnerReference, dependent: &Metadata) -> Option<String> {
    let kind = super::kind_of_owner(owner)?;
    let project = if kind.info.is_project_scoped() { dependent.namespace.as_str() } else { "" };
    Some(format!("{}/{project}/{}", kind.info.resource(), owner.name))
}
