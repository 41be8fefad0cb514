//! Projects: one that is deleted goes after everything in it.

use std::time::Duration;

use client::{ListParams, Request, Verb};
use model::identity::Project;
use model::{ApiError, KindEntry};
use reconcile::{Cache, Change, Outcome, Queue};
use serde::Deserialize;

use crate::Context;

/// Set by the server on every project.
const FINALIZER: &str = "identity.corten.dev/contents";
/// How soon to look again whether the contents are gone.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

struct Projects {
    context: Context,
    projects: Cache<Project>,
}

pub(crate) async fn run(context: Context) {
    let queue = Queue::new();
    let listener = {
        let queue = queue.clone();
        move |change: &Change<Project>| {
            if change.object().metadata.is_deleting() {
                queue.add(change.object().metadata.name.clone());
            }
        }
    };
    let projects =
        Cache::start(context.client.all::<Project>(), ListParams::default(), vec![Box::new(listener)]);
    projects.synced().await;
    let projects = Projects { context, projects };
    reconcile::run("project", queue, 2, |name| projects.reconcile(name)).await;
}

impl Projects {
    async fn reconcile(&self, name: String) -> Result<Outcome, ApiError> {
        let Some(project) = self.projects.get(&name) else { return Ok(Outcome::Done) };
        let mut left = 0;
        // Events come last: deleting the rest makes new ones.
        let (events, others): (Vec<&KindEntry>, Vec<&KindEntry>) = model::kinds()
            .iter()
            .filter(|k| k.info.is_project_scoped())
            // Roughly users before what they use: the registry has it the other way round.
            .rev()
            .partition(|k| k.info.plural == "events");
        for kind in others.into_iter().chain(events) {
            left += self.clear(kind, &name).await?;
        }
        if left > 0 {
            return Ok(Outcome::RequeueAfter(LOOK_AGAIN));
        }
        let mut project = (*project).clone();
        project.metadata.finalizers.retain(|f| f != FINALIZER);
        match self.context.client.all::<Project>().update(&project).await {
            Err(e) if !e.is_not_found() => Err(e),
            _ => Ok(Outcome::Done),
        }
    }

    /// Asks for the deletion of all objects of a kind; returns how many there were.
    async fn clear(&self, kind: &'static KindEntry, project: &str) -> Result<usize, ApiError> {
        #[derive(Deserialize)]
        struct List {
            items: Vec<serde::de::IgnoredAny>,
        }
        let transport = self.context.client.transport();
        let reply = transport.call(Request::new(Verb::List, kind, Some(project), "")).await?;
        let list: List =
            serde_json::from_slice(&reply.body).map_err(|e| ApiError::internal(e.to_string()))?;
        if !list.items.is_empty() {
            match transport.call(Request::new(Verb::DeleteCollection, kind, Some(project), "")).await {
                // Some are in use by others that go too: next time.
                Err(e) if !e.is_conflict() => return Err(e),
                _ => {}
            }
        }
        Ok(list.items.len())
    }
}
