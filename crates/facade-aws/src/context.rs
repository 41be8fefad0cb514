//! One verified request: who asks, for what, and the way to the cloud as that caller.

use std::net::IpAddr;
use std::sync::Arc;

use client::{Api, Client, DeleteOptions, ListParams, WriteOptions};
use identity::Signer;
use identity::iam::Through;
use model::{Object, Reason, Spec, Timestamp};
use serde_json::{Value, json};

use crate::cloud::Cloud;
use crate::failure::Failure;
use crate::ids::{self, Known};
use crate::params::Params;

/// On what a request with a ClientToken made: the digest of that request.
const REQUEST: &str = "aws.corten.dev/request";
/// On what a request with a ClientToken made: the token.
pub(crate) const CLIENT_TOKEN: &str = "aws.corten.dev/client-token";
/// How often a change is tried anew because another came between.
const CHANGES_MAX: usize = 16;

pub(crate) struct Context {
    pub(crate) cloud: Arc<dyn Cloud>,
    pub(crate) client: Client,
    pub(crate) signer: Signer,
    pub(crate) action: String,
    /// Where the caller reached us.
    pub(crate) host: String,
    /// Where the request came from.
    pub(crate) from: Option<IpAddr>,
    pub(crate) through: Option<Arc<Through>>,
    pub(crate) params: Params,
    pub(crate) dry_run: bool,
}

impl Context {
    /// The same caller with another request.
    pub(crate) fn with(&self, action: &str, params: Params) -> Self {
        Self {
            cloud: Arc::clone(&self.cloud),
            client: self.client.clone(),
            signer: self.signer.clone(),
            action: action.to_owned(),
            host: self.host.clone(),
            from: self.from,
            through: self.through.clone(),
            params,
            dry_run: self.dry_run,
        }
    }

    pub(crate) fn project(&self) -> &str {
        &self.signer.project
    }

    pub(crate) fn account(&self) -> String {
        ids::account(self.project())
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.cloud.now()
    }

    /// Objects of the caller's project. Changes of a dry run are only checked.
    pub(crate) fn api<S: Spec>(&self) -> Api<Object<S>> {
        let write = WriteOptions { dry_run: self.dry_run, ..WriteOptions::default() };
        self.client.beside(if S::KIND.is_project_scoped() { self.project() } else { "" }).with(write)
    }

    pub(crate) async fn list<S: Spec>(&self) -> Result<Vec<Object<S>>, Failure> {
        Ok(self.api::<S>().list(&ListParams::default()).await?.items)
    }

    /// What is only shown beside the thing itself; nothing where the caller may not see it.
    pub(crate) async fn list_if_allowed<S: Spec>(&self) -> Result<Vec<Object<S>>, Failure> {
        match self.api::<S>().list(&ListParams::default()).await {
            Err(e) if e.reason == Reason::Forbidden => Ok(Vec::new()),
            result => Ok(result?.items),
        }
    }

    /// The same in the order of names, only to look at; nothing where the caller may not see it.
    pub(crate) async fn shared_if_allowed<S: Spec>(&self) -> Result<Vec<Arc<Object<S>>>, Failure> {
        match self.api::<S>().shared().await {
            Err(e) if e.reason == Reason::Forbidden => Ok(Vec::new()),
            result => Ok(result?),
        }
    }

    /// The object of an id: by its name, where the id is one, else among all of its kind.
    pub(crate) async fn find<S: Known>(&self, id: &str) -> Result<Object<S>, Failure> {
        if !ids::is_id(S::PREFIX, id) {
            return Err(ids::none::<S>(id));
        }
        if let Some(object) = self.api::<S>().find(id).await? {
            return Ok(object);
        }
        ids::by_id::<S>(&self.api::<S>().shared().await?, id).cloned()
    }

    /// The object that a parameter names by its id.
    pub(crate) async fn named<S: Known>(&self, parameter: &str) -> Result<Object<S>, Failure> {
        self.find(self.params.require(parameter)?).await
    }

    /// A new id; the same one for the same ClientToken, so that a request that comes again finds what it made.
    pub(crate) fn new_id(&self, prefix: &str, number: usize) -> String {
        match self.params.get("ClientToken") {
            Some(token) => ids::hashed(
                prefix,
                &format!("{prefix}\n{}\n{}\n{token}\n{number}", self.project(), self.action),
            ),
            None => ids::fresh(prefix, &self.cloud.random()),
        }
    }

    /// Creates an object under a new id. One that the same request made before is answered as it is.
    pub(crate) async fn create<S: Spec>(&self, object: Object<S>) -> Result<Object<S>, Failure> {
        let created = self.create_unless_dry(object).await?;
        self.end_dry_run()?;
        Ok(created)
    }

    async fn create_unless_dry<S: Spec>(&self, mut object: Object<S>) -> Result<Object<S>, Failure> {
        let api = self.api::<S>();
        let Some(token) = self.params.get("ClientToken") else {
            return Ok(api.create(&object).await?);
        };
        let request = self.params.fingerprint(&["DryRun"]);
        let request = ids::hashed("sha256", &request);
        object.metadata.annotations.insert(REQUEST.into(), request.clone());
        object.metadata.annotations.insert(CLIENT_TOKEN.into(), token.into());
        match api.create(&object).await {
            Err(e) if e.reason == Reason::AlreadyExists => {
                let made = api.get(&object.metadata.name).await?;
                if made.metadata.annotations.get(REQUEST) == Some(&request) {
                    return Ok(made);
                }
                let message = "The client token was used for a request with other parameters";
                Err(Failure::new("IdempotentParameterMismatch", message))
            }
            result => Ok(result?),
        }
    }

    /// Ends a dry run: what would be done has been checked.
    pub(crate) fn end_dry_run(&self) -> Result<(), Failure> {
        if self.dry_run { Err(Failure::dry_run()) } else { Ok(()) }
    }

    /// Changes an object by a merge patch.
    pub(crate) async fn merge<S: Spec>(&self, name: &str, patch: &Value) -> Result<Object<S>, Failure> {
        let changed = self.api::<S>().merge(name, patch).await?;
        self.end_dry_run()?;
        Ok(changed)
    }

    /// Changes the spec of an object; again from its newest state when another change came between.
    pub(crate) async fn change<S: Spec>(
        &self,
        name: &str,
        mut change: impl FnMut(&mut Object<S>) -> Result<(), Failure>,
    ) -> Result<Object<S>, Failure> {
        let api = self.api::<S>();
        for _ in 0..CHANGES_MAX {
            let mut object = api.get(name).await?;
            let before = object.metadata.resource_version.clone();
            change(&mut object)?;
            match api.update(&object).await {
                Err(e) if e.is_conflict() && api.get(name).await?.metadata.resource_version != before => {}
                result => {
                    let changed = result?;
                    self.end_dry_run()?;
                    return Ok(changed);
                }
            }
        }
        Err(Failure::new("RequestLimitExceeded", "The resource is being changed by others; try again"))
    }

    pub(crate) async fn delete<S: Spec>(&self, name: &str, in_use: &'static str) -> Result<(), Failure> {
        let deleted = self.api::<S>().delete(name, &DeleteOptions::default()).await;
        deleted.map_err(|e| Failure::in_use_as(e, in_use))?;
        self.end_dry_run()
    }

    /// What an annotation is set to by a patch.
    pub(crate) fn annotate(key: &str, value: Option<&str>) -> Value {
        json!({ "metadata": { "annotations": { key: value } } })
    }
}
