//! Types on top of a transport: one generic `Api<R>` for every kind.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use model::{AnyObject, ApiError, Reason, Resource};
use serde::Deserialize;

use crate::{
    ChangeKind, DeleteOptions, ListParams, PatchKind, Request, SharedEvent, SharedStream, Transport, Verb,
    WatchStream, WriteOptions,
};

/// A way to the server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
}

impl Client {
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self { transport }
    }

    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    /// Objects of a cloud-wide kind, or of a kind in all projects.
    pub fn all<R: Resource>(&self) -> Api<R> {
        self.api(None)
    }

    /// Objects of a kind in one project.
    pub fn project<R: Resource>(&self, project: &str) -> Api<R> {
        self.api(Some(project.to_owned()))
    }

    /// Objects of a kind beside `object`: in the same project, or cloud-wide.
    pub fn beside<R: Resource>(&self, namespace: &str) -> Api<R> {
        self.api((!namespace.is_empty()).then(|| namespace.to_owned()))
    }

    fn api<R: Resource>(&self, project: Option<String>) -> Api<R> {
        Api { client: self.clone(), project, write: WriteOptions::default(), of: PhantomData }
    }
}

/// The verbs on one kind.
#[derive(Debug)]
pub struct Api<R> {
    client: Client,
    project: Option<String>,
    write: WriteOptions,
    of: PhantomData<fn() -> R>,
}

impl<R> Clone for Api<R> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            project: self.project.clone(),
            write: self.write.clone(),
            of: PhantomData,
        }
    }
}

/// A list's items and the version they are of.
#[derive(Debug, Clone)]
pub struct Items<R> {
    pub items: Vec<R>,
    pub resource_version: String,
}

/// A typed change. A bookmark carries only its version.
#[derive(Debug, Clone)]
pub enum TypedEvent<R> {
    Applied(Arc<R>),
    Deleted(Arc<R>),
    Bookmark(String),
}

/// A running typed watch.
pub struct TypedWatch<R> {
    stream: Events,
    of: PhantomData<fn() -> R>,
}

enum Events {
    Sent(WatchStream),
    Shared(SharedStream),
}

impl<R> std::fmt::Debug for TypedWatch<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TypedWatch").finish_non_exhaustive()
    }
}

impl<R: Resource> TypedWatch<R> {
    /// The next change; `None` when the server ended the watch, an error when it cannot go on.
    pub async fn next(&mut self) -> Option<Result<TypedEvent<R>, ApiError>> {
        Some(match &mut self.stream {
            Events::Sent(stream) => stream.next().await?.and_then(|event| match event.kind {
                ChangeKind::Bookmark => version_of(&event.object).map(TypedEvent::Bookmark),
                ChangeKind::Deleted => decode(&event.object).map(Arc::new).map(TypedEvent::Deleted),
                ChangeKind::Added | ChangeKind::Modified => {
                    decode(&event.object).map(Arc::new).map(TypedEvent::Applied)
                }
            }),
            Events::Shared(stream) => stream.next().await?.and_then(|event| match event {
                SharedEvent::Bookmark(version) => Ok(TypedEvent::Bookmark(version)),
                SharedEvent::Deleted(object) => typed(object).map(TypedEvent::Deleted),
                SharedEvent::Applied(object) => typed(object).map(TypedEvent::Applied),
            }),
        })
    }
}

impl<R: Resource> Api<R> {
    /// The same verbs with these options on every change.
    #[must_use]
    pub fn with(mut self, write: WriteOptions) -> Self {
        self.write = write;
        self
    }

    pub async fn get(&self, name: &str) -> Result<R, ApiError> {
        let request = self.request(Verb::Get, name);
        match self.client.transport.object(&request).await? {
            Some(object) => typed(object).map(Arc::unwrap_or_clone),
            None => self.object(request).await,
        }
    }

    /// The object, or nothing when there is none.
    pub async fn find(&self, name: &str) -> Result<Option<R>, ApiError> {
        match self.get(name).await {
            Ok(object) => Ok(Some(object)),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// All objects that match, page by page, as of one version.
    pub async fn list(&self, params: &ListParams) -> Result<Items<R>, ApiError> {
        let mut items = Vec::new();
        let mut list = params.clone();
        loop {
            let mut request = self.request(Verb::List, "");
            request.list = list.clone();
            let reply = self.client.transport.call(request).await?;
            let page: Page<R> = parse(&reply.body)?;
            items.extend(page.items);
            if page.metadata.continue_token.is_empty() || params.limit > 0 {
                return Ok(Items { items, resource_version: page.metadata.resource_version });
            }
            list.continue_token = page.metadata.continue_token;
        }
    }

    /// All objects in the order of their names, to look at: not copied where the server is in this process.
    pub async fn shared(&self) -> Result<Vec<Arc<R>>, ApiError> {
        let request = self.request(Verb::List, "");
        let Some(objects) = self.client.transport.objects(request).await? else {
            let listed = self.list(&ListParams::default()).await?;
            return Ok(listed.items.into_iter().map(Arc::new).collect());
        };
        objects.iter().map(|object| typed(Arc::clone(object))).collect()
    }

    /// Changes after `params.resource_version`.
    pub async fn watch(&self, params: &ListParams) -> Result<TypedWatch<R>, ApiError> {
        let mut request = self.request(Verb::Watch, "");
        request.list = params.clone();
        let stream = match self.client.transport.changes(&request).await? {
            Some(stream) => Events::Shared(stream),
            None => Events::Sent(self.client.transport.watch(request).await?),
        };
        Ok(TypedWatch { stream, of: PhantomData })
    }

    pub async fn create(&self, object: &R) -> Result<R, ApiError> {
        self.object(self.request(Verb::Create, "").body(encode(object)?)).await
    }

    pub async fn update(&self, object: &R) -> Result<R, ApiError> {
        let name = &object.metadata().name;
        self.object(self.request(Verb::Update, name).body(encode(object)?)).await
    }

    pub async fn update_status(&self, object: &R) -> Result<R, ApiError> {
        let name = &object.metadata().name;
        let request = self.request(Verb::Update, name).subresource("status").body(encode(object)?);
        self.object(request).await
    }

    /// RFC 7386 merge patch.
    pub async fn merge(&self, name: &str, patch: &serde_json::Value) -> Result<R, ApiError> {
        let request = self.request(Verb::Patch(PatchKind::Merge), name).body(patch.to_string());
        self.object(request).await
    }

    /// Creates something below an object (`binding`, `stop` ...); the answer is the object.
    pub async fn create_below(
        &self,
        name: &str,
        subresource: &str,
        body: &serde_json::Value,
    ) -> Result<R, ApiError> {
        self.object(self.request(Verb::Create, name).subresource(subresource).body(body.to_string())).await
    }

    /// Creates something below an object whose answer is no object, such as `credentials`.
    pub async fn ask_below<T: serde::de::DeserializeOwned>(
        &self,
        name: &str,
        subresource: &str,
        body: &serde_json::Value,
    ) -> Result<T, ApiError> {
        let request = self.request(Verb::Create, name).subresource(subresource).body(body.to_string());
        let reply = self.client.transport.call(request).await?;
        serde_json::from_slice(&reply.body)
            .map_err(|e| ApiError::internal(format!("the answer to {subresource} cannot be read: {e}")))
    }

    /// Asks for deletion. Deleting what does not exist is `NotFound`.
    pub async fn delete(&self, name: &str, options: &DeleteOptions) -> Result<(), ApiError> {
        let mut request = self.request(Verb::Delete, name);
        request.delete = options.clone();
        self.client.transport.call(request).await.map(drop)
    }

    /// A request for this kind, project and write options.
    pub fn request(&self, verb: Verb, name: &str) -> Request {
        let mut request = Request::new(verb, model::entry_of::<R>(), self.project.as_deref(), name);
        request.write = self.write.clone();
        request
    }

    async fn object(&self, request: Request) -> Result<R, ApiError> {
        decode(&self.client.transport.call(request).await?.body)
    }
}

#[derive(Deserialize)]
#[serde(bound(deserialize = ""))]
struct Page<R: Resource> {
    #[serde(default)]
    metadata: PageMeta,
    items: Vec<R>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct PageMeta {
    resource_version: String,
    #[serde(rename = "continue")]
    continue_token: String,
}

fn typed<R: Resource>(object: Arc<dyn AnyObject>) -> Result<Arc<R>, ApiError> {
    let any: Arc<dyn Any + Send + Sync> = object;
    any.downcast()
        .map_err(|_| ApiError::internal(format!("an object of {} is something else", R::KIND.plural)))
}

fn encode<R: Resource>(object: &R) -> Result<Bytes, ApiError> {
    serde_json::to_vec(object).map(Bytes::from).map_err(|e| ApiError::bad_request(e.to_string()))
}

fn decode<R: Resource>(body: &Bytes) -> Result<R, ApiError> {
    parse(body)
}

fn parse<T: for<'a> Deserialize<'a>>(body: &Bytes) -> Result<T, ApiError> {
    serde_json::from_slice(body)
        .map_err(|e| ApiError::new(Reason::InternalError, format!("the server's answer cannot be read: {e}")))
}

fn version_of(body: &Bytes) -> Result<String, ApiError> {
    #[derive(Deserialize)]
    struct Only {
        metadata: PageMeta,
    }
    parse::<Only>(body).map(|only| only.metadata.resource_version)
}
