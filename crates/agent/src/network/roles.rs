//! Keys of instances' roles: asked of the server, and kept for as long as they are good for a while yet.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use client::Client;
use guest_services::{CredentialError, Credentials, Role, RoleCredentials};
use model::compute::Instance;
use model::identity::IamInstanceProfile;
use model::{ApiError, Uid, short_id};
use parking_lot::Mutex;
use reconcile::Cache;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

/// How long what was given is used without asking anew: short beside how long it holds, so that it is always good for
/// hours, and a profile that is changed is seen.
const FRESH: Duration = Duration::from_secs(300);

pub(super) struct Roles {
    client: Client,
    instances: Cache<Instance>,
    kept: Mutex<HashMap<(Uid, String), (Instant, RoleCredentials)>>,
}

impl std::fmt::Debug for Roles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Roles").finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Given {
    role: String,
    access_key_id: String,
    secret_access_key: String,
    token: String,
    last_updated: String,
    expiration: String,
}

impl Roles {
    pub(super) fn new(client: Client, instances: Cache<Instance>) -> Self {
        Self { client, instances, kept: Mutex::default() }
    }

    fn kept(&self, key: &(Uid, String)) -> Option<RoleCredentials> {
        let kept = self.kept.lock();
        kept.get(key).filter(|(since, _)| since.elapsed() < FRESH).map(|(_, keys)| keys.clone())
    }
}

#[async_trait]
impl Credentials for Roles {
    async fn of_role(&self, instance: &Uid, role: &str) -> Result<RoleCredentials, CredentialError> {
        let key = (instance.clone(), role.to_owned());
        if let Some(keys) = self.kept(&key) {
            return Ok(keys);
        }
        let found = self.instances.filter(|known| known.metadata.uid == *instance).pop();
        let found = found.ok_or(CredentialError::NotAllowed)?;
        let meta = &found.metadata;
        let asked = self.client.project::<Instance>(&meta.namespace);
        let given: Given = asked
            .ask_below(&meta.name, "credentials", &json!({ "uid": meta.uid }))
            .await
            .map_err(|e: ApiError| match e.reason {
                model::Reason::Forbidden | model::Reason::NotFound => CredentialError::NotAllowed,
                _ => CredentialError::Unavailable(e.message),
            })?;
        if given.role != role {
            return Err(CredentialError::NotAllowed);
        }
        let keys = RoleCredentials {
            access_key_id: given.access_key_id,
            secret_access_key: given.secret_access_key,
            session_token: given.token,
            last_updated: given.last_updated,
            expiration: given.expiration,
        };
        let known: Vec<Uid> = self.instances.all().iter().map(|i| i.metadata.uid.clone()).collect();
        let mut kept = self.kept.lock();
        kept.retain(|(uid, _), _| known.contains(uid));
        kept.insert(key, (Instant::now(), keys.clone()));
        Ok(keys)
    }
}

/// The roles that instances have by their profiles, by the instance's name.
pub(super) async fn of_instances<'a>(
    client: &Client,
    instances: impl Iterator<Item = &'a Instance>,
) -> Result<HashMap<String, Role>, ApiError> {
    let mut roles = HashMap::new();
    for instance in instances.filter(|i| !i.spec.instance_profile.is_empty()) {
        let profiles = client.project::<IamInstanceProfile>(&instance.metadata.namespace);
        let Some(profile) = profiles.find(&instance.spec.instance_profile).await? else { continue };
        if profile.spec.role.is_empty() {
            continue;
        }
        let spec = &profile.spec;
        let path = if spec.path.is_empty() { "/" } else { &spec.path };
        let account = identity::iam::account_number(&instance.metadata.namespace);
        let role = Role {
            name: spec.role.clone(),
            profile_arn: format!("arn:aws:iam::{account}:instance-profile{path}{}", spec.name),
            profile_id: short_id("AIPA", &profile.metadata).replace('-', "").to_uppercase(),
        };
        roles.insert(instance.metadata.name.clone(), role);
    }
    Ok(roles)
}
