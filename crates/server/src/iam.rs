//! IAM's credentials: sessions that are given out, those of instances among them, and who there is.

use bytes::Bytes;
use client::{Reply, Request};
use identity::Principal;
use identity::iam::{Actor, Directory, Facts, Session, SessionOf};
use model::compute::Instance;
use model::identity::IamInstanceProfile;
use model::{ApiError, Reason, Timestamp};
use serde_json::json;

use crate::server::Server;
use crate::verbs::{Wish, require_own_host};

/// How long an instance's credentials hold, in seconds; guests ask again long before.
const INSTANCE_SECONDS: i64 = 6 * 3600;
/// What the public half of temporary credentials begins with.
const PREFIX: &str = "ASIA";
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const ID_CHARACTERS: usize = 16;
const SECRET_CHARACTERS: usize = 40;

/// Credentials for a while, in clear, for who asked for them.
#[derive(Clone)]
pub struct Credentials {
    pub id: String,
    pub secret: String,
    pub token: String,
    pub issued: Timestamp,
    pub expires: Timestamp,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("id", &self.id).finish_non_exhaustive()
    }
}

/// When a key last signed, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastUsed {
    pub at: Timestamp,
    pub service: String,
    pub region: String,
}

impl Server {
    /// Gives out credentials for so many seconds. That the caller may have them is the caller's to check.
    pub fn open_session(
        &self,
        project: &str,
        who: SessionOf,
        seconds: i64,
        policies: Vec<String>,
    ) -> Result<Credentials, ApiError> {
        let environment = &self.inner.environment;
        let none = || ApiError::new(Reason::NotImplemented, "this cloud has no key to seal sessions with");
        let master = environment.master_key().ok_or_else(none)?;
        let issued = environment.now();
        let session = Session {
            id: format!("{PREFIX}{}", letters(&environment.random(), ID_CHARACTERS)),
            secret: format!(
                "{}{}",
                letters(&environment.random(), SECRET_CHARACTERS / 2),
                letters(&environment.random(), SECRET_CHARACTERS / 2)
            ),
            project: project.to_owned(),
            who,
            issued: issued.0,
            expires: issued.0 + seconds * 1000,
            policies,
        };
        let token = session.seal(&master, &environment.random());
        let token = token.ok_or_else(|| ApiError::internal("the session could not be sealed"))?;
        let expires = Timestamp(session.expires);
        Ok(Credentials { id: session.id, secret: session.secret, token, issued, expires })
    }

    pub fn iam_user(&self, project: &str, name: &str) -> Option<Actor> {
        self.with_iam(|iam| iam.user(project, name))
    }

    pub fn iam_role(&self, project: &str, name: &str, session: &str) -> Option<Actor> {
        self.with_iam(|iam| iam.role(project, name, session))
    }

    /// Whether a role may be taken by one of these principals, each with its type.
    pub fn iam_trusts(&self, project: &str, role: &str, principals: &[(&str, &str)], facts: &Facts) -> bool {
        self.with_iam(|iam| iam.trusts(project, role, principals, facts))
    }

    /// When a key last signed since the server started.
    pub fn last_used(&self, key: &str) -> Option<LastUsed> {
        self.inner.access.last_used(key)
    }

    /// Notes that a key has signed, for a verifier of its own.
    pub fn note_use(&self, key: &str, service: &str, region: &str) {
        self.inner.access.note_use(key, service, region);
    }

    fn with_iam<T>(&self, ask: impl FnOnce(&Directory) -> T) -> T {
        self.inner.access.with_iam(ask)
    }

    /// A host asks for credentials of the role of an instance that it runs.
    pub(crate) async fn instance_credentials(
        &self,
        caller: &Principal,
        request: Request,
    ) -> Result<Reply, ApiError> {
        let wish = Wish::of(&request)?;
        let project = request.project.clone().unwrap_or_default();
        let none = || ApiError::not_found("instance", &request.name);
        let instance: Instance = self.read(&project, &request.name).await?.ok_or_else(none)?;
        if instance.metadata.uid != wish.uid || instance.metadata.is_deleting() {
            return Err(none());
        }
        if caller.host().is_none() {
            let message = "only the host of an instance gets its credentials";
            return Err(ApiError::new(Reason::Forbidden, message));
        }
        require_own_host(caller, &instance)?;
        let profile: Option<IamInstanceProfile> =
            self.read(&project, &instance.spec.instance_profile).await?;
        let no_role = || ApiError::not_found("role of instance", &request.name);
        let role =
            profile.map(|profile| profile.spec.role).filter(|role| !role.is_empty()).ok_or_else(no_role)?;
        if !self.iam_trusts(&project, &role, &[("Service", "ec2.amazonaws.com")], &Facts::default()) {
            let message = format!("the role {role} does not trust ec2.amazonaws.com");
            return Err(ApiError::new(Reason::Forbidden, message));
        }
        let session = model::short_id("i", &instance.metadata);
        let who = SessionOf::Role { name: role.clone(), session };
        let given = self.open_session(&project, who, INSTANCE_SECONDS, Vec::new())?;
        let body = json!({
            "role": role,
            "accessKeyId": given.id,
            "secretAccessKey": given.secret,
            "token": given.token,
            "lastUpdated": given.issued.to_string(),
            "expiration": given.expires.to_string(),
        });
        Ok(Reply { body: Bytes::from(body.to_string()), created: true })
    }
}

fn letters(random: &[u8; 32], count: usize) -> String {
    random.iter().take(count).map(|byte| char::from(ALPHABET[usize::from(byte & 31)])).collect()
}
