//! The waist between those who call and how a call travels.

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use model::{AnyObject, ApiError};

use crate::Request;

/// What a call answers.
#[derive(Debug, Clone)]
pub struct Reply {
    /// An object, a list, or a Status, as JSON.
    pub body: Bytes,
    /// Whether something new came to be (HTTP 201).
    pub created: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    Added,
    Modified,
    Deleted,
    /// Nothing changed; the version says how far the watcher has seen.
    Bookmark,
}

impl ChangeKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
            Self::Bookmark => "BOOKMARK",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        [Self::Added, Self::Modified, Self::Deleted, Self::Bookmark]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }
}

/// One change, in order.
#[derive(Debug, Clone)]
pub struct WatchEvent {
    pub kind: ChangeKind,
    /// The object as JSON, its `resourceVersion` included; before it was deleted, for a deletion.
    pub object: Bytes,
}

/// Ends with an error when the watch cannot go on: list again, and watch from there.
pub type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchEvent, ApiError>> + Send>>;

/// Objects as a server in this process has them: shared with it, never changed.
pub type Objects = Arc<Vec<Arc<dyn AnyObject>>>;

/// As [`WatchEvent`], with the object as a server in this process has it.
#[derive(Debug, Clone)]
pub enum SharedEvent {
    /// An object is new or another than before.
    Applied(Arc<dyn AnyObject>),
    /// What it was before it was deleted.
    Deleted(Arc<dyn AnyObject>),
    /// How far the watcher has seen.
    Bookmark(String),
}

/// As [`WatchStream`].
pub type SharedStream = Pin<Box<dyn Stream<Item = Result<SharedEvent, ApiError>> + Send>>;

/// Carries calls to the server.
#[async_trait]
pub trait Transport: Send + Sync + std::fmt::Debug + 'static {
    async fn call(&self, request: Request) -> Result<Reply, ApiError>;
    async fn watch(&self, request: Request) -> Result<WatchStream, ApiError>;

    /// What a List of everything answers, in the order of names, without a copy. `None`: the server is elsewhere, and a
    /// List has to be asked for.
    async fn objects(&self, _request: Request) -> Result<Option<Objects>, ApiError> {
        Ok(None)
    }

    /// What a Get answers, without a copy. `None`: the server is elsewhere.
    async fn object(&self, _request: &Request) -> Result<Option<Arc<dyn AnyObject>>, ApiError> {
        Ok(None)
    }

    /// What a Watch tells, without copies. `None`: the server is elsewhere.
    async fn changes(&self, _request: &Request) -> Result<Option<SharedStream>, ApiError> {
        Ok(None)
    }
}
