//! Authenticator: the table from a token's digest to its user, following `AccessKey` and `User` objects.

use std::collections::HashMap;

use model::Timestamp;
use model::identity::{AccessKey, User};

use crate::{Authentication, Principal, Token, TokenDigest};

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

impl Authenticator {
    /// A key whose digest cannot be read authenticates no one.
    pub fn upsert_key(&mut self, key: &AccessKey) {
        let name = &key.metadata.name;
        self.remove_key(name);
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
