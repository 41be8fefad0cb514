//! Keys of encrypted volumes: made here, sealed for their project, handed on to whatever is made of a volume, and told
//! in clear to nobody but the host that has it.

use ::identity::Principal;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use client::{Reply, Request};
use model::storage::{Volume, VolumeBackup, VolumeSnapshot, key_owner};
use model::{ApiError, FieldErrors, Reason};
use serde_json::json;

use crate::server::Server;
use crate::verbs::Wish;

impl Server {
    /// A new volume has the key of what it is made of, or one of its own; afterwards it keeps it.
    pub(super) async fn complete_volume_key(
        &self,
        volume: &mut Volume,
        old: Option<&Volume>,
        errors: &mut FieldErrors,
    ) -> Result<(), ApiError> {
        if let Some(old) = old {
            volume.spec.sealed_key.clone_from(&old.spec.sealed_key);
            return Ok(());
        }
        let (project, source) = (volume.metadata.namespace.clone(), volume.spec.source.clone());
        let found = if !source.snapshot.is_empty() {
            Some(self.key_of_snapshot(&project, &source.snapshot).await?)
        } else if !source.volume.is_empty() {
            Some(self.key_of_volume(&project, &source.volume).await?)
        } else if !source.backup.is_empty() {
            let backup = self.read::<VolumeBackup>(&project, &source.backup).await?;
            Some(backup.map(|backup| backup.spec.sealed_key).unwrap_or_default())
        } else {
            None
        };
        let spec = &mut volume.spec;
        spec.sealed_key = found.clone().unwrap_or_default();
        if !spec.sealed_key.is_empty() {
            spec.encrypted = true;
        } else if spec.encrypted && found.is_some() {
            let message = "is not possible for a copy of something that is not: make an empty volume that is encrypted, \
                           or one of an image, and copy into it";
            errors.push("spec.encrypted", message);
        } else if spec.encrypted {
            spec.sealed_key = self.new_key(&project)?;
        }
        Ok(())
    }

    pub(super) async fn complete_snapshot_key(
        &self,
        snapshot: &mut VolumeSnapshot,
        old: Option<&VolumeSnapshot>,
    ) -> Result<(), ApiError> {
        let (project, spec) = (&snapshot.metadata.namespace, &snapshot.spec);
        let key = match old {
            Some(old) => old.spec.sealed_key.clone(),
            None if !spec.volume.is_empty() => self.key_of_volume(project, &spec.volume).await?,
            None if !spec.snapshot.is_empty() => self.key_of_snapshot(project, &spec.snapshot).await?,
            None => String::new(),
        };
        snapshot.spec.sealed_key = key;
        Ok(())
    }

    pub(super) async fn complete_backup_key(
        &self,
        backup: &mut VolumeBackup,
        old: Option<&VolumeBackup>,
    ) -> Result<(), ApiError> {
        let key = match old {
            Some(old) => old.spec.sealed_key.clone(),
            None => self.key_of_volume(&backup.metadata.namespace, &backup.spec.volume).await?,
        };
        backup.spec.sealed_key = key;
        Ok(())
    }

    /// The host that has a volume asks for its key.
    pub(crate) async fn volume_key(&self, caller: &Principal, request: Request) -> Result<Reply, ApiError> {
        let wish = Wish::of(&request)?;
        let project = request.project.clone().unwrap_or_default();
        let name = &request.name;
        let none = || ApiError::not_found("volume", name);
        let volume: Volume = self.read(&project, name).await?.ok_or_else(none)?;
        if volume.metadata.uid != wish.uid {
            return Err(none());
        }
        if caller.host().is_none_or(|host| host != volume.home()) {
            let message = format!("only the host that has volume {name:?} gets its key");
            return Err(ApiError::new(Reason::Forbidden, message));
        }
        let sealed = &volume.spec.sealed_key;
        let master = self.inner.environment.master_key();
        let key = master.and_then(|master| master.open(&key_owner(&project), sealed)).ok_or_else(|| {
            let message = format!("the key of volume {name:?} was not sealed by this cloud's master key");
            ApiError::new(Reason::NotFound, message)
        })?;
        Ok(Reply { body: Bytes::from(json!({ "key": key.expose() }).to_string()), created: true })
    }

    fn new_key(&self, project: &str) -> Result<String, ApiError> {
        let environment = &self.inner.environment;
        let master = environment.master_key().ok_or_else(|| {
            ApiError::new(Reason::NotImplemented, "this cloud has no key to seal keys of volumes with")
        })?;
        let key = BASE64_STANDARD.encode(environment.random());
        let sealed = master.seal(&key_owner(project), &key, &environment.random());
        sealed.ok_or_else(|| ApiError::internal("the volume's key could not be sealed"))
    }

    /// Empty for one that is not encrypted, or not there, which is said elsewhere.
    async fn key_of_volume(&self, project: &str, name: &str) -> Result<String, ApiError> {
        let volume = self.read::<Volume>(project, name).await?;
        Ok(volume.map(|volume| volume.spec.sealed_key).unwrap_or_default())
    }

    async fn key_of_snapshot(&self, project: &str, name: &str) -> Result<String, ApiError> {
        let snapshot = self.read::<VolumeSnapshot>(project, name).await?;
        Ok(snapshot.map(|snapshot| snapshot.spec.sealed_key).unwrap_or_default())
    }
}
