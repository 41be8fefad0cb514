//! Watch: every change of a collection, in order, from a version on.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use client::{ChangeKind, Request, WatchEvent, WatchStream};
use futures::stream;
use model::{ApiError, KindEntry};
use store::{Entry, Event, ListOptions, Revision, Watcher};
use tokio::time::Instant;

use super::list::prefix;
use super::selection::Selection;
use crate::record;
use crate::server::{Server, store_error};

/// How long a watch lasts unless the caller says otherwise.
const WATCH_DEFAULT: Duration = Duration::from_secs(30 * 60);
/// How often a quiet watch says how far it is, where the caller allows bookmarks.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(30);

struct State {
    kind: &'static KindEntry,
    selection: Selection,
    watcher: Box<dyn Watcher>,
    ready: VecDeque<WatchEvent>,
    revision: Revision,
    bookmarks: bool,
    next_bookmark: Instant,
    end: Instant,
    failed: bool,
}

impl Server {
    pub(crate) async fn watch_collection(&self, request: Request) -> Result<WatchStream, ApiError> {
        let selection = Selection::new(&request.list)?;
        let prefix = prefix(&request);
        let version = request.list.resource_version.as_str();
        let from_now = version.is_empty() || version == "0";
        let initial = from_now || request.list.send_initial_events;

        let mut ready = VecDeque::new();
        let mut from = 0;
        if !from_now {
            from = version.parse().map_err(|_| {
                ApiError::bad_request(format!("resourceVersion {version:?} is not a version of this server"))
            })?;
        }
        if initial {
            let page = self.inner.store.list(&prefix, ListOptions::default()).await.map_err(store_error)?;
            from = page.revision;
            for entry in &page.entries {
                if selection.matches(request.kind, entry)? {
                    ready.push_back(change(ChangeKind::Added, entry, entry.mod_revision));
                }
            }
            if request.list.send_initial_events && request.list.allow_bookmarks {
                ready.push_back(bookmark(request.kind, from, true));
            }
        }
        let watcher = self.inner.store.watch(&prefix, from).await.map_err(store_error)?;
        let now = Instant::now();
        let lasts = request.list.timeout_seconds.map_or(WATCH_DEFAULT, Duration::from_secs);
        let state = State {
            kind: request.kind,
            selection,
            watcher,
            ready,
            revision: from,
            bookmarks: request.list.allow_bookmarks,
            next_bookmark: now + BOOKMARK_INTERVAL,
            end: now + lasts,
            failed: false,
        };
        Ok(Box::pin(stream::unfold(state, |mut state| async move {
            let event = state.next().await?;
            Some((event, state))
        })))
    }
}

impl State {
    async fn next(&mut self) -> Option<Result<WatchEvent, ApiError>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            if self.failed {
                return None;
            }
            let wake = if self.bookmarks { self.next_bookmark.min(self.end) } else { self.end };
            let batch = tokio::select! {
                biased;
                batch = self.watcher.next() => batch,
                () = tokio::time::sleep_until(wake) => {
                    if wake == self.end {
                        return None;
                    }
                    self.next_bookmark = Instant::now() + BOOKMARK_INTERVAL;
                    return Some(Ok(bookmark(self.kind, self.revision, false)));
                }
            };
            let result = batch.map_err(store_error).and_then(|batch| {
                self.revision = batch.revision;
                batch.events.iter().try_for_each(|event| self.push(event))
            });
            if let Err(e) = result {
                self.failed = true;
                return Some(Err(e));
            }
        }
    }

    fn matches(&self, entry: Option<&Entry>) -> Result<bool, ApiError> {
        entry.map_or(Ok(false), |entry| self.selection.matches(self.kind, entry))
    }

    /// Translates a change of the store into what a watcher of the selection sees.
    fn push(&mut self, event: &Event) -> Result<(), ApiError> {
        let before = self.matches(event.previous.as_ref())?;
        let after = self.matches(event.entry.as_ref())?;
        let seen = match (before, after, &event.entry, &event.previous) {
            (false, true, Some(entry), _) => change(ChangeKind::Added, entry, event.revision),
            (true, true, Some(entry), _) => change(ChangeKind::Modified, entry, event.revision),
            (true, false, Some(entry), _) => change(ChangeKind::Deleted, entry, event.revision),
            (true, false, None, Some(previous)) => change(ChangeKind::Deleted, previous, event.revision),
            _ => return Ok(()),
        };
        self.ready.push_back(seen);
        Ok(())
    }
}

fn change(kind: ChangeKind, entry: &Entry, revision: Revision) -> WatchEvent {
    WatchEvent { kind, object: record::wire(&entry.value, revision) }
}

fn bookmark(kind: &KindEntry, revision: Revision, initial_end: bool) -> WatchEvent {
    let mut object = serde_json::json!({
        "kind": kind.info.kind, "apiVersion": kind.info.api_version(),
        "metadata": { "resourceVersion": revision.to_string() },
    });
    if initial_end {
        object["metadata"]["annotations"] = serde_json::json!({ "k8s.io/initial-events-end": "true" });
    }
    WatchEvent { kind: ChangeKind::Bookmark, object: Bytes::from(object.to_string()) }
}
