//! Volumes and snapshots: where they are to be, what hosts report of them, and a host's word that nothing of one
//! is left.

use std::collections::BTreeMap;

use ::identity::Principal;
use ::identity::iam::Document;
use client::{Reply, Request, Verb};
use model::compute::{Instance, OnHostLoss, VolumeTemplate};
use model::network::FlowLog;
use model::storage::{
    BACKUP_CONTENTS, BUCKET_CONTENTS, Bucket, DEFAULT_POOL, Pool, Volume, VolumeBackup, VolumeSnapshot,
};
use model::topology::Host;
use model::{AnyObject, ApiError, FieldErrors, Object, Reason, Resource, Uid};
use serde::Deserialize;
use store::ListOptions;

use crate::claims::Draft;
use crate::server::{Server, store_error};
use crate::verbs::changed_meanwhile;

/// Held by the agent of the host that keeps a volume or a snapshot.
const FINALIZER: &str = "storage.corten.dev/agent";
/// What lies in a bucket, to roles.
const OBJECTS: &str = "objects";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Release {
    uid: Uid,
}

/// A bucket goes after what lies in it, from its first moment on.
pub(super) fn complete_bucket(bucket: &mut Bucket) {
    let finalizers = &mut bucket.metadata.finalizers;
    if !finalizers.iter().any(|f| f == BUCKET_CONTENTS) {
        finalizers.push(BUCKET_CONTENTS.into());
    }
}

/// A backup goes after its bytes, from its first moment on.
pub(super) fn complete_backup(backup: &mut VolumeBackup) {
    let finalizers = &mut backup.metadata.finalizers;
    if !finalizers.iter().any(|f| f == BACKUP_CONTENTS) {
        finalizers.push(BACKUP_CONTENTS.into());
    }
}

/// A bucket's policy is read before it is kept.
pub(super) fn check_bucket(bucket: &Bucket, errors: &mut FieldErrors) {
    let policy = &bucket.spec.policy;
    if policy.is_empty() {
        return;
    }
    match Document::of_resource(policy) {
        Err(e) => errors.push("spec.policy", e.to_string()),
        Ok(document) => {
            let block = bucket.spec.public_access_block.as_ref();
            let is_blocked = block.is_some_and(|block| block.block_public_policy);
            let message = "is public, which spec.publicAccessBlock.blockPublicPolicy forbids";
            errors.require(!(is_blocked && document.is_public()), "spec.policy", message);
        }
    }
}

impl Server {
    /// A volume is made where what it is made from lies, and on the only host of a cloud with one. In a pool that
    /// hosts share it is on no host more than on another.
    pub(super) async fn complete_volume(
        &self,
        volume: &mut Volume,
        errors: &mut FieldErrors,
    ) -> Result<(), ApiError> {
        if self.is_shared(&volume.spec.pool).await? {
            let message = format!(
                "is for pools whose volumes stay on their host; hosts share pool {:?}: leave it out",
                volume.spec.pool
            );
            errors.require(volume.spec.host.is_empty(), "spec.host", &message);
            return Ok(());
        }
        if !volume.spec.host.is_empty() {
            return Ok(());
        }
        let (project, source) = (&volume.metadata.namespace, &volume.spec.source);
        if !source.snapshot.is_empty() {
            let found = self.read::<VolumeSnapshot>(project, &source.snapshot).await?;
            let volume_of = found.as_ref().map(|s| s.spec.volume.clone()).unwrap_or_default();
            volume.spec.host = match found.map(|s| s.status.host).filter(|host| !host.is_empty()) {
                Some(host) => host,
                None => self.host_of_volume(project, &volume_of).await?,
            };
        } else if !source.volume.is_empty() {
            volume.spec.host = self.host_of_volume(project, &source.volume).await?;
        }
        if volume.spec.host.is_empty() {
            let options = ListOptions { limit: 2, ..ListOptions::default() };
            let hosts = self.inner.store.list(&Host::KIND.prefix(), options).await.map_err(store_error)?;
            if let [only] = &hosts.entries[..] {
                only.key.rsplit('/').next().unwrap_or_default().clone_into(&mut volume.spec.host);
            }
        }
        Ok(())
    }

    /// A host reads a backup only to make a volume of it.
    pub(crate) async fn require_backup_of(
        &self,
        caller: &Principal,
        backup: &VolumeBackup,
    ) -> Result<(), ApiError> {
        let Some(host) = caller.host() else { return Ok(()) };
        let prefix = Volume::KIND.key(&backup.metadata.namespace, "");
        let found = self.inner.store.list(&prefix, ListOptions::default()).await.map_err(store_error)?;
        let volumes = found.entries.iter().filter_map(|e| serde_json::from_slice::<Volume>(&e.value).ok());
        let makes = |v: &Volume| v.home() == host && v.spec.source.backup == backup.metadata.name;
        if volumes.into_iter().any(|volume| makes(&volume)) {
            return Ok(());
        }
        let message = format!("host {host:?} makes no volume of backup {:?}", backup.metadata.name);
        Err(ApiError::new(Reason::Forbidden, message))
    }

    /// Whether somebody may do this to what lies in a bucket.
    pub(super) fn require_objects(
        &self,
        caller: &Principal,
        verb: Verb,
        project: &str,
        bucket: &str,
    ) -> Result<(), ApiError> {
        // The registry has every kind.
        let Some(kind) = model::kind_by_resource(Bucket::KIND.group, Bucket::KIND.plural) else {
            return Ok(());
        };
        self.authorize(caller, &Request::new(verb, kind, Some(project), bucket).subresource(OBJECTS))
    }

    /// Who has flows written into a bucket may write there.
    pub(super) fn check_flow_log(
        &self,
        caller: &Principal,
        log: &FlowLog,
        old: Option<&FlowLog>,
    ) -> Result<(), ApiError> {
        let stays =
            |old: &FlowLog| (&old.spec.bucket, &old.spec.prefix) == (&log.spec.bucket, &log.spec.prefix);
        if log.spec.bucket.is_empty() || old.is_some_and(stays) {
            return Ok(());
        }
        self.require_objects(caller, Verb::Update, &log.metadata.namespace, &log.spec.bucket)
    }

    /// The volumes that are made with an instance, in its transaction.
    pub(super) async fn make_volumes(
        &self,
        instance: &Instance,
        draft: &mut Draft,
        errors: &mut FieldErrors,
    ) -> Result<(), ApiError> {
        for (field, name, template) in instance.spec.volume_templates() {
            let mut meta = self.companion_of(instance, name);
            meta.labels.clone_from(&template.metadata.labels);
            meta.annotations.clone_from(&template.metadata.annotations);
            if template.keep {
                meta.owner_references.clear();
            }
            let mut volume: Volume = Object::new(meta, template.spec.clone());
            AnyObject::set_defaults(&mut volume);
            let mut found = FieldErrors::default();
            self.complete_volume(&mut volume, &mut found).await?;
            self.complete_volume_key(&mut volume, None, &mut found).await?;
            self.check_references(&volume, None, draft, &mut found).await?;
            for error in found.iter() {
                errors.push(format!("{field}.{}", error.field), error.message.clone());
            }
            draft.companions.push(Box::new(volume));
        }
        Ok(())
    }

    /// What is to be started elsewhere when its host is lost has all of its volumes where hosts share them, and at least
    /// one: that is what keeps two hosts from running it at once.
    pub(super) async fn check_on_host_loss(
        &self,
        instance: &Instance,
        errors: &mut FieldErrors,
    ) -> Result<(), ApiError> {
        if instance.spec.placement.on_host_loss != OnHostLoss::Restart {
            return Ok(());
        }
        let project = &instance.metadata.namespace;
        let templates: BTreeMap<&str, &VolumeTemplate> =
            instance.spec.volume_templates().map(|(_, name, template)| (name, template)).collect();
        let mut has_one = false;
        for (field, name) in instance.spec.named_volumes() {
            let pool = match self.read::<Volume>(project, name).await? {
                Some(volume) => volume.spec.pool,
                None => match templates.get(name).map(|template| template.spec.pool.as_str()) {
                    Some("") => DEFAULT_POOL.to_owned(),
                    Some(pool) => pool.to_owned(),
                    // That there is none is said elsewhere.
                    None => continue,
                },
            };
            has_one = true;
            if !self.is_shared(&pool).await? {
                let message = format!(
                    "volume {name:?} is in pool {pool:?}, which stays on its host: an instance with \
                     spec.placement.onHostLoss restart needs volumes of pools with spec.driver files or rbd"
                );
                errors.push(field, message);
            }
        }
        errors.require(
            has_one,
            "spec.placement.onHostLoss",
            "restart is for instances with a volume in a pool with spec.driver files or rbd, which keeps two hosts from \
             running it at once: attach one, or leave this out",
        );
        Ok(())
    }

    /// Whether hosts share the pool; not when there is none of that name.
    async fn is_shared(&self, pool: &str) -> Result<bool, ApiError> {
        Ok(self.read::<Pool>("", pool).await?.is_some_and(|pool| pool.spec.is_shared()))
    }

    async fn host_of_volume(&self, project: &str, name: &str) -> Result<String, ApiError> {
        let found = self.read::<Volume>(project, name).await?;
        Ok(found.map(|volume| volume.home().to_owned()).unwrap_or_default())
    }

    /// The host's word that nothing of a deleted volume or snapshot is left.
    pub(crate) async fn release_storage(
        &self,
        caller: &Principal,
        request: Request,
    ) -> Result<Reply, ApiError> {
        let release: Release = serde_json::from_slice(&request.body)
            .map_err(|e| ApiError::bad_request(format!("this is not a valid release: {e}")))?;
        loop {
            let entry = self.entry(&request).await?;
            let old = self.inner.recent.object(request.kind, &entry)?;
            let mut new = old.clone_box();
            let (singular, name) = (request.kind.info.singular, &request.name);
            if new.metadata().uid != release.uid {
                return Err(ApiError::not_found(singular, name));
            }
            check_storage_report(caller, &*old, &mut *new)?;
            if !new.metadata().is_deleting() {
                return Err(ApiError::conflict(format!("{singular} {name:?} is not being deleted")));
            }
            new.metadata_mut().finalizers.retain(|f| f != FINALIZER);
            match self.replace(&request, &entry, &*old, new, &mut Draft::default()).await {
                Err(e) if e == changed_meanwhile(&request) => {}
                result => return result,
            }
        }
    }
}

/// A host speaks for what it keeps. The first report of a host takes what nobody keeps yet, and from then on
/// the object goes only when that host has let go of it. Only the cloud gives it to another host, where hosts share
/// the pool.
pub(crate) fn check_storage_report(
    caller: &Principal,
    old: &dyn AnyObject,
    new: &mut dyn AnyObject,
) -> Result<(), ApiError> {
    if let (Some(old), Some(new)) = (old.as_any().downcast_ref(), new.as_any_mut().downcast_mut()) {
        keep_maker(caller, old, new);
        return Ok(());
    }
    let Some((before, wanted)) = keeper(old) else { return Ok(()) };
    if let Some(host) = caller.host() {
        let keeps = if before.is_empty() { wanted } else { before };
        if !keeps.is_empty() && keeps != host {
            let (kind, name) = (old.info().singular, &old.metadata().name);
            let message = format!("{kind} {name:?} is on host {keeps:?}, not on {host:?}");
            return Err(ApiError::new(Reason::Forbidden, message));
        }
    }
    if !before.is_empty() && !caller.is_component() {
        let before = before.to_owned();
        if let Some(volume) = new.as_any_mut().downcast_mut::<Volume>() {
            volume.status.host = before;
        } else if let Some(snapshot) = new.as_any_mut().downcast_mut::<VolumeSnapshot>() {
            snapshot.status.host = before;
        }
    }
    keep_moves(caller, old, new)?;
    let kept = keeper(new).is_some_and(|(host, _)| !host.is_empty());
    let meta = new.metadata_mut();
    if kept && !meta.is_deleting() && !meta.finalizers.iter().any(|f| f == FINALIZER) {
        meta.finalizers.push(FINALIZER.into());
    }
    Ok(())
}

/// Of a pool a host says that it makes it, where nobody does, and that it has made it, or that it could not.
fn keep_maker(caller: &Principal, old: &Pool, new: &mut Pool) {
    let Some(host) = caller.host() else { return };
    let said = std::mem::replace(&mut new.status, old.status.clone());
    let (mine, free) = (old.status.maker == host, old.status.maker.is_empty());
    if old.status.made || !(mine || free) {
        return;
    }
    if said.maker == host {
        new.status.maker = said.maker;
        new.status.made = mine && said.made;
    } else if mine && said.maker.is_empty() {
        new.status.maker.clear();
    }
}

/// Whose turn it is only the cloud says, and each time the count goes up.
fn keep_moves(caller: &Principal, old: &dyn AnyObject, new: &mut dyn AnyObject) -> Result<(), ApiError> {
    let (Some(old), Some(new)) =
        (old.as_any().downcast_ref::<Volume>(), new.as_any_mut().downcast_mut::<Volume>())
    else {
        return Ok(());
    };
    if !caller.is_component() {
        new.status.moves = old.status.moves;
        new.status.lost.retain(|host| old.status.lost.contains(host));
        return Ok(());
    }
    let moved = !old.status.host.is_empty() && new.status.host != old.status.host;
    if new.status.moves < old.status.moves || (moved && new.status.moves == old.status.moves) {
        return Err(ApiError::conflict("status.moves: has to grow when a volume goes to another host"));
    }
    Ok(())
}

/// The host that keeps it, and the one that is asked to.
fn keeper(object: &dyn AnyObject) -> Option<(&str, &str)> {
    if let Some(volume) = object.as_any().downcast_ref::<Volume>() {
        return Some((&volume.status.host, &volume.spec.host));
    }
    object.as_any().downcast_ref::<VolumeSnapshot>().map(|s| (s.status.host.as_str(), ""))
}
