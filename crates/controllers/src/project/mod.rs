//! Projects: one that is deleted goes after everything in it.

use std::time::Duration;

use client::{ListParams, Request, Verb};
use model::identity::Project;
use model::{ApiError, Condition, ConditionStatus, KindEntry, set_condition};
use reconcile::{Cache, Change, Outcome, Queue};
use serde::Deserialize;

use crate::Context;

/// Set by the server on every project.
const FINALIZER: &str = "identity.corten.dev/contents";
/// How soon to look again whether the contents are gone.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// So many of what a project waits for are named.
const NAMED_MAX: usize = 5;

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
        let mut left = Vec::new();
        // Events come last: deleting the rest makes new ones.
        let (events, others): (Vec<&KindEntry>, Vec<&KindEntry>) = model::kinds()
            .iter()
            .filter(|k| k.info.is_project_scoped())
            // Roughly users before what they use: the registry has it the other way round.
            .rev()
            .partition(|k| k.info.plural == "events");
        for kind in others.into_iter().chain(events) {
            left.extend(self.clear(kind, &name).await?);
        }
        if !left.is_empty() {
            self.report(&project, &left).await?;
            return Ok(Outcome::RequeueAfter(LOOK_AGAIN));
        }
        let mut project = (*project).clone();
        project.metadata.finalizers.retain(|f| f != FINALIZER);
        match self.context.client.all::<Project>().update(&project).await {
            Err(e) if !e.is_not_found() => Err(e),
            _ => Ok(Outcome::Done),
        }
    }

    /// Says what the project waits for: some of it goes only when somebody does something.
    async fn report(&self, project: &Project, left: &[String]) -> Result<(), ApiError> {
        let mut changed = project.clone();
        let condition = Condition::new("Empty", ConditionStatus::False, "StillThere", waits_for(left));
        set_condition(&mut changed.status.conditions, condition, (self.context.now)());
        if changed.status == project.status {
            return Ok(());
        }
        match self.context.client.all::<Project>().update_status(&changed).await {
            // It changed meanwhile: it is looked at again.
            Err(e) if !e.is_conflict() && !e.is_not_found() => Err(e),
            _ => Ok(()),
        }
    }

    /// Asks for the deletion of all objects of a kind; returns what there was.
    async fn clear(&self, kind: &'static KindEntry, project: &str) -> Result<Vec<String>, ApiError> {
        #[derive(Deserialize)]
        struct List {
            items: Vec<Item>,
        }
        #[derive(Deserialize)]
        struct Item {
            metadata: Named,
        }
        #[derive(Deserialize)]
        struct Named {
            name: String,
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
        let name = |item: Item| format!("{}/{}", kind.info.singular, item.metadata.name);
        Ok(list.items.into_iter().map(name).collect())
    }
}

/// One sentence. What goes by itself is gone before anybody reads it.
fn waits_for(left: &[String]) -> String {
    let named = left.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = match left.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let is_bucket = |name: &&String| name.starts_with("bucket/");
    let hint = match left.iter().find(is_bucket).and_then(|name| name.split_once('/')) {
        Some((_, bucket)) => {
            format!("; a bucket goes when nothing lies in it: `corten bucket rm --force {bucket}` empties it")
        }
        None => String::new(),
    };
    format!("waits until nothing is left in it: {named}{more}{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_it_waits_for() {
        let check = |left: &[&str], expected: &str| {
            let left: Vec<String> = left.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(waits_for(&left), expected);
        };
        check(&["volume/a"], "waits until nothing is left in it: volume/a");
        check(
            &["bucket/b"],
            "waits until nothing is left in it: bucket/b; a bucket goes when nothing lies in it: \
             `corten bucket rm --force b` empties it",
        );
        let many = ["a/1", "a/2", "a/3", "a/4", "a/5", "a/6", "a/7"];
        check(&many, "waits until nothing is left in it: a/1, a/2, a/3, a/4, a/5 and 2 more");
    }
}
