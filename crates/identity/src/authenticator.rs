//! Authenticator: the table from a token's digest to its user, following `AccessKey` and `User` objects.

use std::collections::HashMap;

use model::Timestamp;
use model::identity::{AccessKey, IamUser, User};

use crate::aws::{Message, Presented, SignatureError};
use crate::iam::{self, Actor, Directory, Session, SessionOf};
use crate::signers::{Signers, SigningKey};
use crate::{Authentication, MasterKey, Principal, Secret, Token, TokenDigest};

/// Groups of this prefix are the cloud's own; no `User` object may put its user into one.
const RESERVED: &str = "corten:";

/// Why a token was refused. Malformed, unknown and revoked tokens are one and the same answer. The others
/// are told only to who presented the right token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the token is not valid; `corten env` prints a valid one, `corten token create` makes a new one")]
    Unknown,
    #[error("access key {key:?} expired at {at}; make a new one with `corten token create`")]
    Expired { key: String, at: Timestamp },
    #[error("user {user:?} is disabled or does not exist any more; ask an administrator")]
    NoUser { user: String },
}

/// All access keys and users.
#[derive(Debug, Default)]
pub struct Authenticator {
    /// Keys by digest. Should two objects carry one digest, the older one counts, so that nobody who has read a
    /// digest can take its token over.
    keys: HashMap<[u8; 32], Vec<Key>>,
    digests: HashMap<String, TokenDigest>,
    signers: Signers,
    users: HashMap<String, Account>,
    iam: Directory,
}

#[derive(Debug)]
struct Key {
    created: Option<Timestamp>,
    name: String,
    user: String,
    digest: TokenDigest,
    expires: Option<Timestamp>,
}

#[derive(Debug)]
struct Account {
    groups: Vec<String>,
    disabled: bool,
}

/// The caller behind a signature.
struct Found {
    principal: Principal,
    actor: Option<Actor>,
    project: String,
    expires: Option<Timestamp>,
}

/// Who signed a request, and where it is to be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    pub principal: Principal,
    /// Who it is in IAM; none for a user of Corten, whose rights are his roles' alone.
    pub actor: Option<Actor>,
    /// Until when the credentials hold, where they are temporary.
    pub expires: Option<Timestamp>,
    pub project: String,
    pub access_key_id: String,
    pub region: String,
    pub service: String,
    /// Parameters of the query that were signed.
    pub parameters: Vec<(String, String)>,
}

/// Whose a key is, and what it signs with.
#[derive(Debug, Clone)]
pub struct Holder {
    pub principal: Principal,
    /// Who it is in IAM; none for a user of Corten.
    pub actor: Option<Actor>,
    /// Until when the credentials hold, where they are temporary.
    pub expires: Option<Timestamp>,
    pub project: String,
    pub secret: Secret,
}

impl Authenticator {
    /// An empty table. Without the cloud's own key no signed request is anyone's.
    pub fn new(master: Option<MasterKey>) -> Self {
        Self { signers: Signers::new(master), ..Self::default() }
    }

    /// The same table with nothing in it.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self::new(self.signers.master().cloned())
    }

    /// The caller behind a request that is signed as AWS's clients sign, in this region, or in another one that the
    /// service is signed for everywhere.
    pub fn verify(
        &self,
        message: &Message<'_>,
        regions: impl Fn(&str, &str) -> bool,
        now: Timestamp,
    ) -> Result<Signer, SignatureError> {
        let presented = Presented::read(message, now)?;
        let (service, region) = (&presented.service, &presented.region);
        if !regions(service, region) {
            let message = format!("the credential is for {service} in {region}, which is not here");
            return Err(SignatureError::Scope(message));
        }
        let found = match &presented.token {
            Some(token) => self.of_session(self.signers.verify_session(&presented, token)?, now)?,
            None => self.of_key(&presented, now)?,
        };
        if found.actor.is_some() && !iam::POLICED.contains(&presented.service.as_str()) {
            let message =
                format!("keys of IAM are not for {}: nothing there decides by policies", presented.service);
            return Err(SignatureError::NotUsable(message));
        }
        Ok(Signer {
            principal: found.principal,
            actor: found.actor,
            expires: found.expires,
            project: found.project,
            access_key_id: presented.access_key_id,
            region: presented.region,
            service: presented.service,
            parameters: presented.parameters,
        })
    }

    fn of_key(&self, presented: &Presented, now: Timestamp) -> Result<Found, SignatureError> {
        self.found_key(self.signers.verify(presented)?, now)
    }

    fn found_key(&self, key: &SigningKey, now: Timestamp) -> Result<Found, SignatureError> {
        if key.expires.is_some_and(|at| at <= now) {
            return Err(SignatureError::NotUsable(format!("access key {:?} has expired", key.name)));
        }
        let how = Authentication::Signature { key: key.name.clone() };
        let project = key.project.clone();
        if key.is_iam {
            let actor = self.iam.user(&project, &key.user).ok_or(SignatureError::Refused)?;
            let principal = Principal::of_account(&project, &format!("user/{}", actor.name), how);
            return Ok(Found { principal, actor: Some(actor), project, expires: None });
        }
        Ok(Found { principal: self.corten_user(&key.user, how)?, actor: None, project, expires: None })
    }

    fn of_session(&self, session: Session, now: Timestamp) -> Result<Found, SignatureError> {
        if session.expires <= now.0 {
            return Err(SignatureError::ExpiredToken);
        }
        self.found(session)
    }

    fn found(&self, session: Session) -> Result<Found, SignatureError> {
        let how = Authentication::Signature { key: session.id.clone() };
        let expires = Some(Timestamp(session.expires));
        let project = session.project.clone();
        if let SessionOf::Corten { user } = &session.who {
            return Ok(Found { principal: self.corten_user(user, how)?, actor: None, project, expires });
        }
        let gone =
            || SignatureError::NotUsable("whoever these credentials are of does not exist any more".into());
        let actor = self.iam.of_session(&session).ok_or_else(gone)?;
        let name = match &session.who {
            SessionOf::Role { session, .. } => format!("role/{}/{session}", actor.name),
            _ => format!("user/{}", actor.name),
        };
        let principal = Principal::of_account(&project, &name, how);
        Ok(Found { principal, actor: Some(actor), project, expires })
    }

    fn corten_user(&self, user: &str, how: Authentication) -> Result<Principal, SignatureError> {
        let account = self.users.get(user).filter(|account| !account.disabled);
        let unusable = || format!("user {user:?} is disabled or does not exist any more");
        let account = account.ok_or_else(|| SignatureError::NotUsable(unusable()))?;
        Ok(Principal { user: user.to_owned(), groups: account.groups.clone(), how })
    }

    /// What is known of IAM.
    pub fn iam(&self) -> &Directory {
        &self.iam
    }

    pub fn iam_mut(&mut self) -> &mut Directory {
        &mut self.iam
    }

    pub fn upsert_iam_user(&mut self, user: &IamUser) {
        self.signers.upsert_iam(user);
        self.iam.upsert_user(user);
    }

    pub fn remove_iam_user(&mut self, project: &str, object: &str) {
        self.signers.remove_iam(project, object);
        self.iam.remove("iamusers", project, object);
    }

    /// Whose a key is that signs, with its secret: for a verifier of bodies whose every chunk is signed. Temporary
    /// credentials have a token. Nothing for a key that is not known, has expired, or whose user may not act any more;
    /// when temporary ones end, the holder says.
    pub fn holder(&self, access_key_id: &str, token: Option<&str>, now: Timestamp) -> Option<Holder> {
        let (found, secret) = if let Some(token) = token {
            let session = Session::open(self.signers.master()?, token)?;
            if session.id != access_key_id {
                return None;
            }
            let secret = session.secret();
            // Whether its time is over is said to who has signed rightly, and that is not known yet.
            (self.found(session).ok()?, secret)
        } else {
            let key = self.signers.find(access_key_id)?;
            (self.found_key(key, now).ok()?, key.secret().clone())
        };
        Some(Holder {
            principal: found.principal,
            actor: found.actor,
            expires: found.expires,
            project: found.project,
            secret,
        })
    }

    /// A key whose digest cannot be read authenticates no one.
    pub fn upsert_key(&mut self, key: &AccessKey) {
        let name = &key.metadata.name;
        self.remove_key(name);
        if !key.spec.access_key_id.is_empty() {
            self.signers.upsert(key);
        }
        let Some(digest) = TokenDigest::from_hex(&key.spec.token_sha256) else { return };
        let keys = self.keys.entry(*digest.bytes()).or_default();
        keys.push(Key {
            created: key.metadata.creation_timestamp,
            name: name.clone(),
            user: key.spec.user.clone(),
            digest,
            expires: key.spec.expires,
        });
        keys.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
        self.digests.insert(name.clone(), digest);
    }

    pub fn remove_key(&mut self, name: &str) {
        self.signers.remove(name);
        let Some(digest) = self.digests.remove(name) else { return };
        if let Some(keys) = self.keys.get_mut(digest.bytes()) {
            keys.retain(|key| key.name != name);
            if keys.is_empty() {
                self.keys.remove(digest.bytes());
            }
        }
    }

    pub fn upsert_user(&mut self, user: &User) {
        let groups = user.spec.groups.iter().filter(|group| !group.starts_with(RESERVED)).cloned().collect();
        let account = Account { groups, disabled: user.spec.disabled };
        self.users.insert(user.metadata.name.clone(), account);
    }

    pub fn remove_user(&mut self, name: &str) {
        self.users.remove(name);
    }

    /// The caller behind a bearer token. Whatever is presented is digested first and looked up by digest, so
    /// the time taken says nothing about any token there is.
    pub fn authenticate(&self, presented: &Token, now: Timestamp) -> Result<Principal, Refused> {
        let digest = presented.digest();
        let key = self.keys.get(digest.bytes()).and_then(|keys| keys.first());
        let key = key.filter(|key| key.digest == digest).ok_or(Refused::Unknown)?;
        if let Some(at) = key.expires.filter(|at| *at <= now) {
            return Err(Refused::Expired { key: key.name.clone(), at });
        }
        let account = self.users.get(&key.user).filter(|account| !account.disabled);
        let account = account.ok_or_else(|| Refused::NoUser { user: key.user.clone() })?;
        Ok(Principal {
            user: key.user.clone(),
            groups: account.groups.clone(),
            how: Authentication::Token { key: key.name.clone() },
        })
    }
}
