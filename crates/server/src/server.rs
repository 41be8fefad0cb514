//! The server's heart: one call in, one answer out, whoever carries it.

use std::sync::Arc;

use async_trait::async_trait;
use client::{Client, Objects, Reply, Request, SharedStream, Transport, Verb, WatchStream};
use identity::aws::{Message, SignatureError};
use identity::{Attributes, Holder, Principal, Signer};
use model::{AnyObject, ApiError, Reason};
use store::{Store, StoreError};

use crate::access::Access;
use crate::audit::{Audit, Line};
use crate::environment::Environment;
use crate::metrics::{Metrics, Timer};
use crate::quota::Ledger;
use crate::recent::Recent;
use crate::shelf::Shelf;

/// Serves the resource API from a store. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) environment: Arc<dyn Environment>,
    pub(crate) access: Access,
    pub(crate) ledger: Ledger,
    pub(crate) audit: Audit,
    pub(crate) metrics: Metrics,
    pub(crate) shelf: Shelf,
    pub(crate) recent: Recent,
    /// Held by the one dry run that looks for a host.
    pub(crate) previews: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("revision", &self.inner.store.revision()).finish_non_exhaustive()
    }
}

impl Server {
    /// Loads who may do what from the store and begins to follow it.
    pub async fn start(
        store: Arc<dyn Store>,
        environment: Arc<dyn Environment>,
        audit: Audit,
    ) -> Result<Self, ApiError> {
        let access = Access::start(Arc::clone(&store), Arc::clone(&environment)).await?;
        let ledger = Ledger::default();
        let metrics = Metrics::default();
        Ok(Self {
            inner: Arc::new(Inner {
                store,
                environment,
                access,
                ledger,
                audit,
                metrics,
                shelf: Shelf::default(),
                recent: Recent::default(),
                previews: tokio::sync::Mutex::default(),
            }),
        })
    }

    /// A client in the same process that acts as `principal`.
    pub fn client(&self, principal: Principal) -> Client {
        Client::new(Arc::new(Local { server: self.clone(), principal }))
    }

    /// Who signed a request as AWS's clients do. `regions` says which regions a service may be signed for.
    pub fn verify(
        &self,
        message: &Message<'_>,
        regions: impl Fn(&str, &str) -> bool,
    ) -> Result<Signer, SignatureError> {
        self.inner.access.verify(message, regions)
    }

    /// Whose a signing key is, with its secret: for a verifier of bodies whose every chunk is signed.
    pub fn key_holder(&self, access_key_id: &str, token: Option<&str>) -> Option<Holder> {
        self.inner.access.holder(access_key_id, token)
    }

    /// Checks that the caller may, does it, and leaves an audit line.
    pub async fn call(&self, caller: &Principal, request: Request) -> Result<Reply, ApiError> {
        let noted = self.begin(caller, &request)?;
        let code = |reply: &Reply| if reply.created { 201 } else { 200 };
        noted.end(self.dispatch(caller, request).await, code)
    }

    /// A list of everything, checked and noted as every other, for who is in this process.
    pub async fn objects(&self, caller: &Principal, request: Request) -> Result<Objects, ApiError> {
        let noted = self.begin(caller, &request)?;
        noted.end(self.everything(&request).await, |_| 200)
    }

    /// One object, checked and noted as every other, for who is in this process.
    pub async fn object(
        &self,
        caller: &Principal,
        request: &Request,
    ) -> Result<Arc<dyn AnyObject>, ApiError> {
        let noted = self.begin(caller, request)?;
        noted.end(self.get_object(caller, request).await, |_| 200)
    }

    /// Notes that somebody asks for something, and refuses it to who may not.
    fn begin(&self, caller: &Principal, request: &Request) -> Result<Noted, ApiError> {
        let noted =
            Noted { line: self.inner.audit.begin(caller, request), timer: self.inner.metrics.begin(request) };
        match self.authorize(caller, request) {
            Ok(()) => Ok(noted),
            Err(e) => {
                noted.tell(e.reason.code());
                Err(e)
            }
        }
    }

    pub async fn watch(&self, caller: &Principal, request: Request) -> Result<WatchStream, ApiError> {
        self.authorize(caller, &request)?;
        self.watch_collection(request).await
    }

    /// The same, for who is in this process.
    pub async fn changes(&self, caller: &Principal, request: &Request) -> Result<SharedStream, ApiError> {
        self.authorize(caller, request)?;
        self.share_changes(request.clone()).await
    }

    /// Whether the caller may. For what is not carried out by [`Self::call`].
    pub fn authorize(&self, caller: &Principal, request: &Request) -> Result<(), ApiError> {
        let info = &request.kind.info;
        let verb = match request.verb {
            Verb::Get => identity::Verb::Get,
            Verb::List => identity::Verb::List,
            Verb::Watch => identity::Verb::Watch,
            Verb::Create => identity::Verb::Create,
            Verb::Update => identity::Verb::Update,
            Verb::Patch(_) => identity::Verb::Patch,
            Verb::Delete | Verb::DeleteCollection => identity::Verb::Delete,
        };
        // Rules may speak of names, so a new object's must be known; components are bound by no rule.
        let unknown = request.verb == Verb::Create && request.name.is_empty() && !caller.is_component();
        let sent = if unknown { name_in(&request.body) } else { None };
        let name = if request.name.is_empty() { sent.as_deref() } else { Some(request.name.as_str()) };
        let attributes =
            Attributes::new(verb, info, request.project.as_deref(), name).on(&request.subresource);
        self.inner.access.decide(caller, &attributes)
    }

    async fn get_object(
        &self,
        caller: &Principal,
        request: &Request,
    ) -> Result<Arc<dyn AnyObject>, ApiError> {
        require_project(request)?;
        self.check_reading(caller, request).await?;
        let entry = self.entry(request).await?;
        self.inner.recent.object(request.kind, &entry)
    }

    async fn dispatch(&self, caller: &Principal, request: Request) -> Result<Reply, ApiError> {
        let info = &request.kind.info;
        require_project(&request)?;
        match (request.verb, request.subresource.as_str()) {
            (Verb::Get, "" | "status") => {
                self.check_reading(caller, &request).await?;
                self.get(&request).await
            }
            (Verb::List, "") => self.list(&request).await,
            (Verb::Create, "") => self.create(caller, request).await,
            (Verb::Create, "binding") if info.plural == "instances" => self.bind(caller, request).await,
            (Verb::Create, "release") if info.plural == "instances" => self.release(caller, request).await,
            (Verb::Create, "credentials") if info.plural == "instances" => {
                self.instance_credentials(caller, request).await
            }
            (Verb::Create, "release") if matches!(info.plural, "volumes" | "volumesnapshots") => {
                self.release_storage(caller, request).await
            }
            (Verb::Create, "key") if info.plural == "volumes" => self.volume_key(caller, request).await,
            (Verb::Update, "" | "status") => self.update(caller, request).await,
            (Verb::Patch(kind), "" | "status") => self.patch(caller, kind, request).await,
            (Verb::Delete, "") => self.delete(caller, request).await,
            (Verb::DeleteCollection, "") => self.delete_collection(caller, request).await,
            (verb, subresource) => {
                let what = if subresource.is_empty() {
                    info.plural.into()
                } else {
                    format!("{}/{subresource}", info.plural)
                };
                Err(ApiError::new(
                    Reason::MethodNotAllowed,
                    format!("{} is not possible on {what}", verb.as_str()),
                ))
            }
        }
    }
}

/// Nothing but a list goes across projects.
fn require_project(request: &Request) -> Result<(), ApiError> {
    let info = &request.kind.info;
    if request.verb != Verb::List && info.is_project_scoped() && request.project.is_none() {
        return Err(ApiError::bad_request(format!(
            "{} live in projects: name one, as in /namespaces/PROJECT/{}",
            info.plural, info.plural
        )));
    }
    Ok(())
}

/// A call under way, as audit and metrics have it.
struct Noted {
    line: Option<Line>,
    timer: Timer,
}

impl Noted {
    /// Notes how it ended: with this code, or with an error's.
    fn end<T>(self, result: Result<T, ApiError>, code: impl FnOnce(&T) -> u16) -> Result<T, ApiError> {
        self.tell(result.as_ref().map_or_else(|e| e.reason.code(), code));
        result
    }

    fn tell(self, code: u16) {
        self.timer.end(code);
        if let Some(line) = self.line {
            line.end(code);
        }
    }
}

/// The transport within one process.
#[derive(Debug, Clone)]
pub struct Local {
    server: Server,
    principal: Principal,
}

#[async_trait]
impl Transport for Local {
    async fn call(&self, request: Request) -> Result<Reply, ApiError> {
        self.server.call(&self.principal, request).await
    }

    async fn watch(&self, request: Request) -> Result<WatchStream, ApiError> {
        self.server.watch(&self.principal, request).await
    }

    async fn objects(&self, request: Request) -> Result<Option<Objects>, ApiError> {
        self.server.objects(&self.principal, request).await.map(Some)
    }

    async fn object(&self, request: &Request) -> Result<Option<Arc<dyn AnyObject>>, ApiError> {
        self.server.object(&self.principal, request).await.map(Some)
    }

    async fn changes(&self, request: &Request) -> Result<Option<SharedStream>, ApiError> {
        self.server.changes(&self.principal, request).await.map(Some)
    }
}

/// The name that a new object has in its body.
fn name_in(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Object {
        metadata: Metadata,
    }
    #[derive(serde::Deserialize)]
    struct Metadata {
        name: String,
    }
    serde_json::from_slice::<Object>(body).ok().map(|object| object.metadata.name)
}

/// What a store's error means to a caller.
pub(crate) fn store_error(e: StoreError) -> ApiError {
    let message = e.to_string();
    let reason = match e {
        StoreError::Conflict { .. } => Reason::Conflict,
        StoreError::Compacted { .. } => Reason::Expired,
        StoreError::Future { .. } => Reason::BadRequest,
        StoreError::LeaseNotFound(_) => Reason::NotFound,
        StoreError::Full(_) => Reason::InsufficientStorage,
        StoreError::Busy(_) => Reason::TooManyRequests,
        StoreError::Failed(_) => Reason::ServiceUnavailable,
        StoreError::TooLarge { .. } => Reason::RequestEntityTooLarge,
    };
    ApiError::new(reason, message)
}
