//! Watch: every change of a collection, in order, from a version on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::{ChangeKind, Request, SharedEvent, SharedStream, WatchEvent, WatchStream};
use futures::{Stream, stream};
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

/// A watch under way, whose events are `T`.
struct State<T> {
    server: Server,
    kind: &'static KindEntry,
    selection: Selection,
    watcher: Box<dyn Watcher>,
    ready: VecDeque<T>,
    revision: Revision,
    bookmarks: bool,
    next_bookmark: Instant,
    end: Instant,
    failed: bool,
}

/// What a watcher is told.
trait Told: Sized + Send + 'static {
    fn change(
        server: &Server,
        kind: &KindEntry,
        change: ChangeKind,
        entry: &Entry,
        revision: Revision,
    ) -> Result<Self, ApiError>;

    /// What was there before the watch.
    fn there(server: &Server, kind: &KindEntry, entry: &Entry) -> Result<Self, ApiError> {
        Self::change(server, kind, ChangeKind::Added, entry, entry.mod_revision)
    }

    fn bookmark(kind: &KindEntry, revision: Revision, initial_end: bool) -> Self;
}

impl Server {
    pub(crate) async fn watch_collection(&self, request: Request) -> Result<WatchStream, ApiError> {
        Ok(Box::pin(self.follow::<WatchEvent>(request).await?))
    }

    pub(crate) async fn share_changes(&self, request: Request) -> Result<SharedStream, ApiError> {
        Ok(Box::pin(self.follow::<SharedEvent>(request).await?))
    }

    async fn follow<T: Told>(
        &self,
        request: Request,
    ) -> Result<impl Stream<Item = Result<T, ApiError>> + Send + use<T>, ApiError> {
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
                    ready.push_back(T::there(self, request.kind, entry)?);
                }
            }
            if request.list.send_initial_events && request.list.allow_bookmarks {
                ready.push_back(T::bookmark(request.kind, from, true));
            }
        }
        let watcher = self.inner.store.watch(&prefix, from).await.map_err(store_error)?;
        let now = Instant::now();
        let lasts = request.list.timeout_seconds.map_or(WATCH_DEFAULT, Duration::from_secs);
        let state = State {
            server: self.clone(),
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
        Ok(stream::unfold(state, |mut state| async move {
            let event = state.next().await?;
            Some((event, state))
        }))
    }
}

impl<T: Told> State<T> {
    async fn next(&mut self) -> Option<Result<T, ApiError>> {
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
                    return Some(Ok(T::bookmark(self.kind, self.revision, false)));
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
        let (change, entry) = match (before, after, &event.entry, &event.previous) {
            (false, true, Some(entry), _) => (ChangeKind::Added, entry),
            (true, true, Some(entry), _) => (ChangeKind::Modified, entry),
            (true, false, Some(entry), _) => (ChangeKind::Deleted, entry),
            (true, false, None, Some(previous)) => (ChangeKind::Deleted, previous),
            _ => return Ok(()),
        };
        self.ready.push_back(T::change(&self.server, self.kind, change, entry, event.revision)?);
        Ok(())
    }
}

impl Told for WatchEvent {
    fn change(
        _server: &Server,
        _kind: &KindEntry,
        change: ChangeKind,
        entry: &Entry,
        revision: Revision,
    ) -> Result<Self, ApiError> {
        Ok(Self { kind: change, object: record::wire(&entry.value, revision) })
    }

    fn bookmark(kind: &KindEntry, revision: Revision, initial_end: bool) -> Self {
        let mut object = serde_json::json!({
            "kind": kind.info.kind, "apiVersion": kind.info.api_version(),
            "metadata": { "resourceVersion": revision.to_string() },
        });
        if initial_end {
            object["metadata"]["annotations"] = serde_json::json!({ "k8s.io/initial-events-end": "true" });
        }
        Self { kind: ChangeKind::Bookmark, object: Bytes::from(object.to_string()) }
    }
}

impl Told for SharedEvent {
    fn change(
        server: &Server,
        kind: &KindEntry,
        change: ChangeKind,
        entry: &Entry,
        revision: Revision,
    ) -> Result<Self, ApiError> {
        let object = server.inner.recent.object(kind, entry)?;
        if change != ChangeKind::Deleted {
            return Ok(Self::Applied(object));
        }
        // As it was, under the version in which it went.
        let mut gone = object.clone_box();
        gone.metadata_mut().resource_version = revision.to_string();
        Ok(Self::Deleted(Arc::from(gone)))
    }

    fn there(server: &Server, kind: &KindEntry, entry: &Entry) -> Result<Self, ApiError> {
        Ok(Self::Applied(server.inner.recent.passing(kind, entry)?))
    }

    fn bookmark(_kind: &KindEntry, revision: Revision, _initial_end: bool) -> Self {
        Self::Bookmark(revision.to_string())
    }
}
