//! Keys that sign requests, opened once and found by their public half.

use std::collections::HashMap;

use model::Timestamp;
use model::identity::{AccessKey, IamUser};

use crate::aws::{Presented, SignatureError};
use crate::iam::Session;
use crate::sealed::{MasterKey, Secret};

/// What an unknown key is compared with, so that it takes the time of a known one. Nobody has it: nothing is signed
/// with it, and what compares equal to it is refused all the same.
const DECOY: &str = "an unknown key takes as long as a known1";

#[derive(Debug, Default)]
pub(crate) struct Signers {
    master: Option<MasterKey>,
    keys: HashMap<String, SigningKey>,
    /// The public half of each key, by the object's name.
    ids: HashMap<String, String>,
    /// Those of users of IAM, by the user's project and object.
    iam: HashMap<(String, String), Vec<String>>,
}

#[derive(Debug, Clone)]
pub(crate) struct SigningKey {
    pub(crate) name: String,
    /// A user of Corten, or of IAM.
    pub(crate) user: String,
    pub(crate) is_iam: bool,
    pub(crate) project: String,
    pub(crate) expires: Option<Timestamp>,
    secret: Secret,
}

impl SigningKey {
    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }
}

impl Signers {
    pub(crate) fn new(master: Option<MasterKey>) -> Self {
        Self { master, ..Self::default() }
    }

    pub(crate) fn master(&self) -> Option<&MasterKey> {
        self.master.as_ref()
    }

    /// A key whose secret does not open signs nothing.
    pub(crate) fn upsert(&mut self, key: &AccessKey) {
        let (name, spec) = (&key.metadata.name, &key.spec);
        self.remove(name);
        let open = |master: &MasterKey| master.open(&spec.seal_owner(), &spec.sealed_secret);
        let Some(secret) = self.master.as_ref().and_then(open) else { return };
        let signing = SigningKey {
            name: name.clone(),
            user: spec.user.clone(),
            is_iam: false,
            project: spec.project().to_owned(),
            expires: spec.expires,
            secret,
        };
        self.keys.insert(spec.access_key_id.clone(), signing);
        self.ids.insert(name.clone(), spec.access_key_id.clone());
    }

    pub(crate) fn remove(&mut self, name: &str) {
        if let Some(id) = self.ids.remove(name) {
            self.keys.remove(&id);
        }
    }

    /// The keys of a user of IAM. One that is inactive signs nothing.
    pub(crate) fn upsert_iam(&mut self, user: &IamUser) {
        let project = &user.metadata.namespace;
        self.remove_iam(project, &user.metadata.name);
        let mut ids = Vec::new();
        for key in user.spec.access_keys.iter().filter(|key| !key.inactive) {
            let owner = key.seal_owner(project, &user.spec.name);
            let open = |master: &MasterKey| master.open(&owner, &key.sealed_secret);
            let Some(secret) = self.master.as_ref().and_then(open) else { continue };
            let signing = SigningKey {
                name: key.id.clone(),
                user: user.spec.name.clone(),
                is_iam: true,
                project: project.clone(),
                expires: None,
                secret,
            };
            self.keys.insert(key.id.clone(), signing);
            ids.push(key.id.clone());
        }
        self.iam.insert((project.clone(), user.metadata.name.clone()), ids);
    }

    pub(crate) fn remove_iam(&mut self, project: &str, object: &str) {
        for id in self.iam.remove(&(project.to_owned(), object.to_owned())).unwrap_or_default() {
            self.keys.remove(&id);
        }
    }

    /// The session whose credentials signed. Takes the same time whatever is wrong.
    pub(crate) fn verify_session(
        &self,
        presented: &Presented,
        token: &str,
    ) -> Result<Session, SignatureError> {
        let opened = self.master.as_ref().and_then(|master| Session::open(master, token));
        let known = opened.filter(|session| session.id == presented.access_key_id);
        let secret = known.as_ref().map_or_else(|| Secret::new(DECOY), Session::secret);
        let is_signed = presented.is_signed_with(&secret);
        known.filter(|_| is_signed).ok_or(SignatureError::Refused)
    }

    pub(crate) fn find(&self, access_key_id: &str) -> Option<&SigningKey> {
        self.keys.get(access_key_id)
    }

    /// The key that signed. Unknown keys and wrong signatures are one answer, in what it says and how long it takes.
    pub(crate) fn verify(&self, presented: &Presented) -> Result<&SigningKey, SignatureError> {
        let known = self.keys.get(&presented.access_key_id);
        let decoy = Secret::new(DECOY);
        let is_signed = presented.is_signed_with(known.map_or(&decoy, |key| &key.secret));
        known.filter(|_| is_signed).ok_or(SignatureError::Refused)
    }
}
