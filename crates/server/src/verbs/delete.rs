//! Delete: at once when nobody has a finalizer on the object, else by marking it.

use client::{Reply, Request, Verb};
use identity::Principal;
use model::compute::Instance;
use model::network::LoadBalancer;
use model::{AnyObject, ApiError, Reason};
use store::{Entry, StoreError, Txn};

use super::CONFLICT_RETRIES;
use super::update::changed_meanwhile;
use crate::claims::Draft;
use crate::record;
use crate::server::{Server, store_error};

/// Set by the server when the owner is to go after what it owns; removed by the garbage collector.
const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

impl Server {
    pub(crate) async fn delete(&self, caller: &Principal, request: Request) -> Result<Reply, ApiError> {
        for _ in 0..CONFLICT_RETRIES {
            let entry = self.entry(&request).await?;
            let old = self.inner.recent.object(request.kind, &entry)?;
            check_preconditions(&request, &*old)?;
            self.check_removal(caller, &*old).await?;
            let mut draft = Draft::default();
            // One that is marked was unused when it was, and nothing new can name it since.
            if !old.metadata().is_deleting() {
                self.require_unused(&*old, &mut draft).await?;
            }
            let mut new = old.clone_box();
            if !self.mark_deleted(&request, &mut *new) {
                match self.remove(&request, &entry, &*old, &draft).await {
                    Err(e) if e == changed_meanwhile(&request) => continue,
                    result => return result,
                }
            }
            if old.metadata().is_deleting() && new.metadata() == old.metadata() {
                return Ok(Reply { body: record::wire(&entry.value, entry.mod_revision), created: false });
            }
            match self.replace(&request, &entry, &*old, new, &mut draft).await {
                // A version that was named is compared anew in the next round.
                Err(e) if e == changed_meanwhile(&request) => {}
                result => return result,
            }
        }
        Err(changed_meanwhile(&request))
    }

    pub(crate) async fn delete_collection(
        &self,
        caller: &Principal,
        request: Request,
    ) -> Result<Reply, ApiError> {
        let mut list = request.clone();
        list.verb = Verb::List;
        let page = self.select(&list).await?;
        let mut refusal = None;
        for entry in &page.entries {
            let mut one = request.clone();
            one.verb = Verb::Delete;
            // The last part of an object's key is its name.
            one.name = entry.key.rsplit('/').next().unwrap_or_default().to_owned();
            match self.delete(caller, one).await {
                // One that is in use keeps no other from going, and may be in use by one that is about to.
                Err(e) if e.is_conflict() => refusal = refusal.or(Some(e)),
                Err(e) if !e.is_not_found() => return Err(e),
                _ => {}
            }
        }
        match refusal {
            Some(refusal) => Err(refusal),
            None => self.list(&list).await,
        }
    }

    /// Marks the object as being deleted; false when nothing holds it and it can go at once.
    fn mark_deleted(&self, request: &Request, object: &mut dyn AnyObject) -> bool {
        let now = self.inner.environment.now();
        let meta = object.metadata_mut();
        let wanted = match request.delete.propagation {
            client::Propagation::Background => None,
            _ if !request.kind.info.has_owners() => None,
            client::Propagation::Foreground => Some(FOREGROUND),
            client::Propagation::Orphan => Some(ORPHAN),
        };
        if let Some(finalizer) =
            wanted.filter(|w| !meta.is_deleting() && !meta.finalizers.iter().any(|f| f == w))
        {
            meta.finalizers.push(finalizer.into());
        }
        if meta.finalizers.is_empty() {
            return false;
        }
        if meta.deletion_timestamp.is_none() {
            meta.deletion_timestamp = Some(now);
            meta.deletion_grace_period_seconds = Some(request.delete.grace_period_seconds.unwrap_or(0));
            meta.generation += 1;
        } else if let Some(shorter) = request.delete.grace_period_seconds {
            let current = meta.deletion_grace_period_seconds.unwrap_or(i64::MAX);
            meta.deletion_grace_period_seconds = Some(current.min(shorter));
        }
        true
    }

    async fn remove(
        &self,
        request: &Request,
        entry: &Entry,
        old: &dyn AnyObject,
        draft: &Draft,
    ) -> Result<Reply, ApiError> {
        let status = serde_json::json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": {
                "name": old.metadata().name, "group": request.kind.info.group,
                "kind": request.kind.info.plural, "uid": old.metadata().uid,
            },
        });
        let reply = Reply { body: status.to_string().into(), created: false };
        if request.write.dry_run {
            return Ok(reply);
        }
        let txn = Txn::new().when(&*entry.key, entry.mod_revision).delete(&*entry.key);
        let txn = self.with_claims(txn, &entry.key, Some(old), None, draft).await?;
        let txn = self.fenced(request, txn).await?;
        match self.inner.store.txn(txn).await {
            Ok(revision) => {
                self.inner.access.follow(&request.kind.info, revision).await;
                Ok(reply)
            }
            Err(StoreError::Conflict { .. }) => Err(changed_meanwhile(request)),
            Err(e) => Err(store_error(e)),
        }
    }
}

fn check_preconditions(request: &Request, old: &dyn AnyObject) -> Result<(), ApiError> {
    let meta = old.metadata();
    if request.delete.uid.as_ref().is_some_and(|uid| *uid != meta.uid) {
        return Err(ApiError::conflict(format!("{:?} is now another object (uid {})", meta.name, meta.uid)));
    }
    let version = &request.delete.resource_version;
    if !version.is_empty() && *version != meta.resource_version {
        return Err(changed_meanwhile(request));
    }
    let any = old.as_any();
    let protected = any.downcast_ref::<Instance>().is_some_and(|i| i.spec.protected)
        || any.downcast_ref::<LoadBalancer>().is_some_and(|b| b.spec.protected);
    if protected {
        let kind = old.info().singular;
        return Err(ApiError::new(
            Reason::Forbidden,
            format!("{kind} {:?} is protected: set spec.protected to false first", meta.name),
        ));
    }
    Ok(())
}
