//! The garbage collector: what is owned goes when its owner is gone. Works on metadata of every kind alike.

mod graph;
mod metadata;

use std::sync::Arc;

use client::{DeleteOptions, Request, Verb, WriteOptions};
use model::{ApiError, KindEntry, OwnerReference};
use parking_lot::Mutex;
use reconcile::{Outcome, Queue};
use serde_json::json;

use crate::Context;
use graph::Graph;
use metadata::{Metadata, follow};

/// Set by the server on an owner that is to go after what it owns.
const FOREGROUND: &str = "foregroundDeletion";
/// Set by the server on an owner whose dependents are to stay.
const ORPHAN: &str = "orphan";

struct Collector {
    context: Context,
    graph: Arc<Mutex<Graph>>,
}

pub(crate) async fn run(context: Context) {
    let queue = Queue::new();
    let graph: Arc<Mutex<Graph>> = Arc::default();
    let follow = futures::future::join_all(
        model::kinds()
            .iter()
            .filter(|kind| kind.info.has_owners())
            .map(|kind| follow(context.client.clone(), kind, Arc::clone(&graph), queue.clone())),
    );
    let collector = Collector { context, graph };
    let collect = reconcile::run("garbage", queue.clone(), 16, |key| collector.reconcile(key));
    tokio::join!(follow, collect);
}

impl Collector {
    /// `key` is a store-like key: `resource/project/name`.
    async fn reconcile(&self, key: String) -> Result<Outcome, ApiError> {
        let Some(kind) = graph::kind_of_key(&key) else { return Ok(Outcome::Done) };
        let (project, name) = graph::names_of_key(&key);
        let Some(object) = self.fetch(kind, project, name).await? else { return Ok(Outcome::Done) };
        if object.is_deleting() {
            return self.finish_owner(kind, &object).await;
        }
        if object.owner_references.is_empty() || self.has_owner(&object).await? {
            return Ok(Outcome::Done);
        }
        let mut delete = request(Verb::Delete, kind, project, name);
        delete.delete = DeleteOptions { uid: Some(object.uid.clone()), ..DeleteOptions::default() };
        ignore_changed(self.context.client.transport().call(delete).await.map(drop))?;
        Ok(Outcome::Done)
    }

    /// Whether any owner of the object still exists.
    async fn has_owner(&self, object: &Metadata) -> Result<bool, ApiError> {
        for owner in &object.owner_references {
            let Some(kind) = kind_of_owner(owner) else { return Ok(true) };
            let found = self.fetch(kind, &object.namespace, &owner.name).await?;
            if found.is_some_and(|found| found.uid == owner.uid) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// An owner that waits for its dependents to go, or to be let free.
    async fn finish_owner(&self, kind: &'static KindEntry, owner: &Metadata) -> Result<Outcome, ApiError> {
        let foreground = owner.finalizers.iter().any(|f| f == FOREGROUND);
        let orphan = owner.finalizers.iter().any(|f| f == ORPHAN);
        if !foreground && !orphan {
            return Ok(Outcome::Done);
        }
        let dependents = self.graph.lock().dependents(&owner.uid);
        for key in &dependents {
            let Some(kind) = graph::kind_of_key(key) else { continue };
            let (project, name) = graph::names_of_key(key);
            if orphan {
                self.set_free(kind, project, name, owner).await?;
            } else {
                let delete = request(Verb::Delete, kind, project, name);
                ignore_changed(self.context.client.transport().call(delete).await.map(drop))?;
            }
        }
        if foreground && !dependents.is_empty() {
            // Each dependent that goes puts the owner in line again.
            return Ok(Outcome::Done);
        }
        let kept: Vec<&String> =
            owner.finalizers.iter().filter(|f| *f != FOREGROUND && *f != ORPHAN).collect();
        let patch = json!({ "metadata": { "finalizers": kept, "resourceVersion": owner.resource_version } });
        self.patch(kind, &owner.namespace, &owner.name, &patch).await?;
        Ok(Outcome::Done)
    }

    async fn set_free(
        &self,
        kind: &'static KindEntry,
        project: &str,
        name: &str,
        owner: &Metadata,
    ) -> Result<(), ApiError> {
        let Some(object) = self.fetch(kind, project, name).await? else { return Ok(()) };
        let kept: Vec<&OwnerReference> =
            object.owner_references.iter().filter(|o| o.uid != owner.uid).collect();
        let patch =
            json!({ "metadata": { "ownerReferences": kept, "resourceVersion": object.resource_version } });
        self.patch(kind, project, name, &patch).await
    }

    async fn patch(
        &self,
        kind: &'static KindEntry,
        project: &str,
        name: &str,
        patch: &serde_json::Value,
    ) -> Result<(), ApiError> {
        let mut request = request(Verb::Patch(client::PatchKind::Merge), kind, project, name);
        request.write = WriteOptions::default();
        request.body = patch.to_string().into();
        ignore_gone(self.context.client.transport().call(request).await.map(drop))
    }

    async fn fetch(
        &self,
        kind: &'static KindEntry,
        project: &str,
        name: &str,
    ) -> Result<Option<Metadata>, ApiError> {
        match metadata::get(&self.context.client, request(Verb::Get, kind, project, name)).await {
            Ok(metadata) => Ok(Some(metadata)),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }
}

fn request(verb: Verb, kind: &'static KindEntry, project: &str, name: &str) -> Request {
    let project = kind.info.is_project_scoped().then_some(project);
    Request::new(verb, kind, project, name)
}

fn kind_of_owner(owner: &OwnerReference) -> Option<&'static KindEntry> {
    model::kinds().iter().find(|k| k.info.kind == owner.kind && k.info.api_version() == owner.api_version)
}

fn ignore_gone(result: Result<(), ApiError>) -> Result<(), ApiError> {
    match result {
        Err(e) if e.is_not_found() => Ok(()),
        result => result,
    }
}

/// The object went, or became another: either way there is nothing left to do for this one.
fn ignore_changed(result: Result<(), ApiError>) -> Result<(), ApiError> {
    match result {
        Err(e) if e.is_not_found() || e.is_conflict() => Ok(()),
        result => result,
    }
}
