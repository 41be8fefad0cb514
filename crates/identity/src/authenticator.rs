//! Authenticator: the table from a token's digest to its user, following `AccessKey` and `User` objects.

use std::collections::HashMap;

use model::Timestamp;
use model::identity::{AccessKey, User};

use crate::aws::{Message, Presented, SignatureError};
use crate::signers::Signers;
use crate::{Authentication, MasterKey, Principal, Token, TokenDigest};

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

/// Who signed a request, and where it is to be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    pub principal: Principal,
    pub project: String,
    pub access_key_id: String,
    pub region: String,
    pub service: String,
    /// Parameters of the query that were signed.
    pub parameters: Vec<(String, String)>,
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
        let key = self.signers.verify(&presented)?;
        if key.expires.is_some_and(|at| at <= now) {
            return Err(SignatureError::NotUsable(format!("access key {:?} has expired", key.name)));
        }
        let account = self.users.get(&key.user).filter(|account| !account.disabled);
        let unusable = || format!("user {:?} is disabled or does not exist any more", key.user);
        let account = account.ok_or_else(|| SignatureError::NotUsable(unusable()))?;
        let principal = Principal {
            user: key.user.clone(),
            groups: account.groups.clone(),
            how: Authentication::Signature { key: key.name.clone() },
        };
        Ok(Signer {
            principal,
            project: key.project.clone(),
            access_key_id: presented.access_key_id,
            region: presented.region,
            service: presented.service,
            parameters: presented.parameters,
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
