//! Update of an object or of its status, and what every change of an existing object has in common.

use client::{Reply, Request, Verb};
use identity::Principal;
use model::compute::Instance;
use model::{AnyObject, ApiError, Reason, Resource};
use store::{Entry, StoreError, Txn};

use super::bind::require_own_host;
use super::{CONFLICT_RETRIES, decode_input, match_path};
use crate::admission::{Operation, check_storage_report};
use crate::claims::{Draft, key_of};
use crate::record;
use crate::server::{Server, store_error};

/// What a mark of deletion, finalizers and conditions may add to an object that leaves.
const LEAVING_MAX_BYTES: usize = 4096;

impl Server {
    pub(crate) async fn update(&self, caller: &Principal, request: Request) -> Result<Reply, ApiError> {
        let mut sent = decode_input(request.kind, &request.body)?;
        match_path(&request, &mut *sent)?;
        let version = sent.metadata().resource_version.clone();
        if let Some(reply) = self.create_when_absent(caller, &request, &version, &*sent).await? {
            return Ok(reply);
        }
        self.change(caller, &request, &version, |_, _| Ok(sent.clone_box())).await
    }

    /// `PUT` of a whole object that does not exist creates it, where no version says it once did.
    async fn create_when_absent(
        &self,
        caller: &Principal,
        request: &Request,
        version: &str,
        sent: &dyn AnyObject,
    ) -> Result<Option<Reply>, ApiError> {
        if request.verb != Verb::Update || !request.subresource.is_empty() || !version.is_empty() {
            return Ok(None);
        }
        match self.entry(request).await {
            Err(e) if e.is_not_found() => {}
            _ => return Ok(None),
        }
        let mut object = sent.clone_box();
        self.begin_life(&mut *object)?;
        self.track_manager(request, None, &mut *object);
        self.insert(caller, request.clone(), object).await.map(Some)
    }

    /// Reads, lets `edit` make the new object from the old, checks, and writes; again when another change came
    /// between and the caller named no `version`.
    pub(super) async fn change<F>(
        &self,
        caller: &Principal,
        request: &Request,
        version: &str,
        edit: F,
    ) -> Result<Reply, ApiError>
    where
        F: Fn(&Entry, &dyn AnyObject) -> Result<Box<dyn AnyObject>, ApiError>,
    {
        for _ in 0..CONFLICT_RETRIES {
            let entry = self.entry(request).await?;
            let old = self.inner.recent.object(request.kind, &entry)?;
            if !version.is_empty() && version != old.metadata().resource_version {
                return Err(changed_meanwhile(request));
            }
            let mut new = edit(&entry, &*old)?;
            keep_identity(request, &*old, &mut *new)?;
            let mut draft = Draft::default();
            if request.subresource == "status" {
                new.keep_spec_of(&*old);
                if let Some(instance) = old.as_any().downcast_ref::<Instance>() {
                    require_own_host(caller, instance)?;
                    // Where it is was decided by its binding; a report has no say in it.
                    if !caller.is_component() {
                        as_instance(&mut *new)?.status.host.clone_from(&instance.status.host);
                    }
                }
                check_storage_report(caller, &*old, &mut *new)?;
                self.check_report(caller, &*old, &mut *new).await?;
            } else {
                new.keep_status_of(&*old);
                new.set_defaults();
                self.admit(caller, Operation::Update, &mut *new, Some(&*old), &mut draft).await?;
            }
            if !matches!(request.verb, Verb::Patch(client::PatchKind::Apply)) {
                self.track_manager(request, Some(&*old), &mut *new);
            }
            match self.replace(request, &entry, &*old, new, &mut draft).await {
                // Whether it was this object, or another that the change relies on, the next round finds out.
                Err(e) if e == changed_meanwhile(request) => {}
                result => return result,
            }
        }
        Err(changed_meanwhile(request))
    }

    /// Writes `new` over `entry`, or removes the object when it was only waiting for its last finalizer. Its claims
    /// come and go with it.
    pub(crate) async fn replace(
        &self,
        request: &Request,
        entry: &Entry,
        old: &dyn AnyObject,
        mut new: Box<dyn AnyObject>,
        draft: &mut Draft,
    ) -> Result<Reply, ApiError> {
        let info = &request.kind.info;
        let gone = new.metadata().is_deleting() && new.metadata().finalizers.is_empty();
        let reservation =
            if gone { None } else { Some(self.reserve_quota(Some(old), &*new, &draft.companions).await?) };
        let value = record::encode(&mut *new);
        if value.len() > super::OBJECT_MAX_BYTES {
            let message = format!(
                "the object is {} bytes, at most {} are allowed",
                value.len(),
                super::OBJECT_MAX_BYTES
            );
            return Err(ApiError::new(Reason::RequestEntityTooLarge, message));
        }
        if request.write.dry_run || (!gone && value == entry.value) {
            return Ok(Reply { body: record::wire(&value, entry.mod_revision), created: false });
        }
        // What is on its way out goes on while the store is full, unless it is misused to store something.
        let leaves = new.metadata().is_deleting() && value.len() <= entry.value.len() + LEAVING_MAX_BYTES;
        let txn = Txn::new().when(&*entry.key, entry.mod_revision).makes_room(leaves);
        let txn = if gone { txn.delete(&*entry.key) } else { txn.put(&*entry.key, value.clone()) };
        let kept = (!gone).then_some(&*new);
        let txn = self.with_claims(txn, &entry.key, Some(old), kept, draft).await?;
        let mut txn = self.fenced(request, txn).await?;
        for companion in &mut draft.companions {
            let beside = key_of(&**companion);
            txn = txn.when(&beside, 0).put(beside, record::encode(&mut **companion));
        }
        match self.inner.store.txn(txn).await {
            Ok(revision) => {
                if let Some(reservation) = reservation {
                    reservation.commit(revision);
                }
                self.inner.access.follow(info, revision).await;
                Ok(Reply { body: record::wire(&value, revision), created: false })
            }
            Err(StoreError::Conflict { .. }) => Err(changed_meanwhile(request)),
            Err(e) => Err(store_error(e)),
        }
    }

    /// Adds to a transaction the proof that the caller still holds the lease it names.
    pub(super) async fn fenced(&self, request: &Request, txn: Txn) -> Result<Txn, ApiError> {
        let Some(fence) = &request.write.fence else { return Ok(txn) };
        let key = model::topology::Lease::KIND.key("", &fence.lease);
        let entry = self.inner.store.get(&key, None).await.map_err(store_error)?;
        let lost = || {
            ApiError::conflict(format!(
                "the lease {:?} is no longer held at epoch {}: another has taken over",
                fence.lease, fence.epoch
            ))
        };
        let entry = entry.ok_or_else(lost)?;
        let lease: model::topology::Lease =
            serde_json::from_slice(&entry.value).map_err(|e| ApiError::internal(e.to_string()))?;
        if lease.spec.epoch != fence.epoch {
            return Err(lost());
        }
        Ok(txn.when(key, entry.mod_revision))
    }
}

/// What no update can change, whatever was sent.
fn keep_identity(request: &Request, old: &dyn AnyObject, new: &mut dyn AnyObject) -> Result<(), ApiError> {
    let spec_changed = request.subresource != "status" && !new.same_spec(old);
    let (old, meta) = (old.metadata(), new.metadata_mut());
    if !meta.uid.is_unset() && meta.uid != old.uid {
        return Err(ApiError::conflict(format!(
            "metadata.uid is {}, but {} {:?} is now another object ({})",
            meta.uid, request.kind.info.singular, old.name, old.uid
        )));
    }
    meta.name.clone_from(&old.name);
    meta.namespace.clone_from(&old.namespace);
    meta.uid = old.uid.clone();
    meta.creation_timestamp = old.creation_timestamp;
    meta.deletion_timestamp = old.deletion_timestamp;
    meta.deletion_grace_period_seconds = old.deletion_grace_period_seconds;
    meta.generate_name.clone_from(&old.generate_name);
    meta.self_link = None;
    meta.generation = if spec_changed { old.generation + 1 } else { old.generation };
    if meta.managed_fields.is_empty() {
        meta.managed_fields.clone_from(&old.managed_fields);
    }
    if old.is_deleting() && meta.finalizers.iter().any(|f| !old.finalizers.contains(f)) {
        return Err(ApiError::new(
            Reason::Forbidden,
            "metadata.finalizers: none can be added while the object is being deleted",
        ));
    }
    Ok(())
}

pub(crate) fn changed_meanwhile(request: &Request) -> ApiError {
    ApiError::conflict(format!(
        "{} {:?} has been modified meanwhile: read it again and repeat the change",
        request.kind.info.resource(),
        request.name
    ))
}

/// The instance inside an object of unknown kind.
pub(super) fn as_instance(object: &mut dyn AnyObject) -> Result<&mut Instance, ApiError> {
    object
        .as_any_mut()
        .downcast_mut::<Instance>()
        .ok_or_else(|| ApiError::bad_request("only an instance can be bound to a host"))
}
