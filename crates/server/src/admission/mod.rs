//! Admission: rules that need more than the object itself. The only place in the server that names kinds.

mod access_key;
mod iam;
mod identity;
mod instance;
mod network;
mod secret;
mod storage;
mod volume_key;

pub(crate) use storage::check_storage_report;

use ::identity::Principal;
use model::compute::{Image, Instance, InstanceSet};
use model::identity::{AccessKey, Project};
use model::network::FlowLog;
use model::secret::Secret;
use model::storage::{Bucket, Volume, VolumeBackup, VolumeSnapshot};
use model::{AnyObject, ApiError, FieldErrors, Reason, Resource};
use serde::de::DeserializeOwned;

use crate::claims::Draft;
use crate::server::{Server, store_error};

/// On every project; removed by the project controller when nothing is left in it.
const CONTENTS: &str = "identity.corten.dev/contents";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
}

impl Server {
    /// Completes an object and checks every rule, or says which field breaks which. What has to be written beside
    /// the object, and what has to stay as it was found, goes into the draft.
    pub(crate) async fn admit(
        &self,
        caller: &Principal,
        operation: Operation,
        object: &mut dyn AnyObject,
        old: Option<&dyn AnyObject>,
        draft: &mut Draft,
    ) -> Result<(), ApiError> {
        if operation == Operation::Create && object.info().is_project_scoped() {
            self.require_project(&object.metadata().namespace).await?;
        }
        let mut errors = FieldErrors::default();
        self.admit_iam(caller, object, old, &mut errors)?;
        self.admit_profile(caller, object, old)?;
        if let Some(instance) = object.as_any_mut().downcast_mut::<Instance>() {
            let old = old.and_then(|old| old.as_any().downcast_ref::<Instance>());
            self.complete_instance(instance, old, &mut errors).await?;
            self.complete_networks(instance, old, draft, &mut errors).await?;
            if operation == Operation::Create {
                self.make_volumes(instance, draft, &mut errors).await?;
            }
            if old.is_none_or(|old| old.spec != instance.spec) {
                self.check_on_host_loss(instance, &mut errors).await?;
            }
        } else if let Some(set) = object.as_any_mut().downcast_mut::<InstanceSet>() {
            self.complete_resources(&mut set.spec.template.spec, "spec.template.spec", &mut errors).await?;
        } else if let Some(project) = object.as_any_mut().downcast_mut::<Project>() {
            // From its first moment, so that no project can go before what is in it.
            if operation == Operation::Create && !project.metadata.finalizers.iter().any(|f| f == CONTENTS) {
                project.metadata.finalizers.push(CONTENTS.into());
            }
        } else if let Some(volume) = object.as_any_mut().downcast_mut::<Volume>() {
            self.complete_volume(volume, &mut errors).await?;
            let old = old.and_then(|old| old.as_any().downcast_ref::<Volume>());
            self.complete_volume_key(volume, old, &mut errors).await?;
        } else if let Some(snapshot) = object.as_any_mut().downcast_mut::<VolumeSnapshot>() {
            let old = old.and_then(|old| old.as_any().downcast_ref::<VolumeSnapshot>());
            self.complete_snapshot_key(snapshot, old).await?;
        } else if let Some(image) = object.as_any().downcast_ref::<Image>() {
            if operation == Operation::Create {
                self.check_image_source(caller, image, &mut errors).await?;
            }
        } else if let Some(bucket) = object.as_any_mut().downcast_mut::<Bucket>() {
            if operation == Operation::Create {
                storage::complete_bucket(bucket);
            }
            storage::check_bucket(bucket, &mut errors);
        } else if let Some(backup) = object.as_any_mut().downcast_mut::<VolumeBackup>() {
            if operation == Operation::Create {
                storage::complete_backup(backup);
            }
            let old = old.and_then(|old| old.as_any().downcast_ref::<VolumeBackup>());
            self.complete_backup_key(backup, old).await?;
        } else if let Some(log) = object.as_any().downcast_ref::<FlowLog>() {
            let old = old.and_then(|old| old.as_any().downcast_ref::<FlowLog>());
            self.check_flow_log(caller, log, old)?;
        } else if let Some(secret) = object.as_any_mut().downcast_mut::<Secret>() {
            secret::check_secret(secret, &mut errors);
        } else {
            if let Some(key) = object.as_any_mut().downcast_mut::<AccessKey>() {
                let old = old.and_then(|old| old.as_any().downcast_ref::<AccessKey>());
                self.seal(key, old, &mut errors)?;
            }
            self.check_escalation(caller, object, old).await?;
            self.complete_network(object, old, draft, &mut errors).await?;
        }
        self.check_references(object, old, draft, &mut errors).await?;
        // The kind's own rules say more precisely what is missing, so they come first.
        let mut all = object.validate();
        if let Some(old) = old {
            merge(&mut all, &object.validate_update(old));
        }
        merge(&mut all, &errors);
        if all.is_empty() {
            return Ok(());
        }
        Err(ApiError::invalid(object.info().kind, &object.metadata().name, &all))
    }

    async fn require_project(&self, project: &str) -> Result<(), ApiError> {
        match self.read::<Project>("", project).await? {
            Some(p) if p.metadata.is_deleting() => {
                Err(ApiError::new(Reason::Forbidden, format!("project {project:?} is being deleted")))
            }
            Some(_) => Ok(()),
            None => Err(ApiError::new(
                Reason::NotFound,
                format!("project {project:?} not found; `corten project create {project}` makes it"),
            )),
        }
    }

    /// An object of a known kind, from memory.
    pub(crate) async fn read<R: Resource + DeserializeOwned>(
        &self,
        project: &str,
        name: &str,
    ) -> Result<Option<R>, ApiError> {
        let key = R::KIND.key(project, name);
        let Some(entry) = self.inner.store.get(&key, None).await.map_err(store_error)? else {
            return Ok(None);
        };
        let object = self.inner.recent.object(model::entry_of::<R>(), &entry)?;
        Ok(object.as_any().downcast_ref::<R>().cloned())
    }
}

fn merge(all: &mut FieldErrors, more: &FieldErrors) {
    for error in more.iter() {
        if !all.iter().any(|known| known.field == error.field) {
            all.push(error.field.clone(), error.message.clone());
        }
    }
}
