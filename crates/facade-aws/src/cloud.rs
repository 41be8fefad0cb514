//! What the facade needs of the cloud beside the resource API.

use async_trait::async_trait;
use client::Client;
use client::samples::Sample;
use identity::aws::{Message, SignatureError};
use identity::iam::{Actor, Facts, SessionOf};
use identity::{Principal, Signer};
use model::{ApiError, Timestamp};

/// The cloud, as the facade sees it.
#[async_trait]
pub trait Cloud: Send + Sync + 'static {
    /// Who signed a request: the only way to a caller.
    fn verify(&self, message: &Message<'_>) -> Result<Signer, SignatureError>;
    /// A client that acts as this caller.
    fn client(&self, caller: &Principal) -> Client;
    /// What an instance printed: the last bytes, at most `max` of them.
    async fn console(
        &self,
        caller: &Principal,
        project: &str,
        name: &str,
        max: usize,
    ) -> Result<Vec<u8>, ApiError>;
    /// What an instance used in the last hours, the oldest first.
    async fn samples(&self, caller: &Principal, project: &str, name: &str) -> Result<Vec<Sample>, ApiError>;
    /// Makes an SSH key, which is kept nowhere.
    async fn make_key(&self, key_type: KeyType) -> Result<NewKey, ApiError>;
    /// A user of IAM, with all that holds for it.
    fn iam_user(&self, project: &str, name: &str) -> Option<Actor>;
    /// A role of IAM, as a session of this name has it.
    fn iam_role(&self, project: &str, name: &str, session: &str) -> Option<Actor>;
    /// Whether a role may be taken by one of these principals, each with its type.
    fn iam_trusts(&self, project: &str, role: &str, principals: &[(&str, &str)], facts: &Facts) -> bool;
    /// Gives out credentials for so many seconds, to whoever the caller of this has found entitled.
    fn open_session(
        &self,
        project: &str,
        who: SessionOf,
        seconds: i64,
        policies: Vec<String>,
    ) -> Result<Session, ApiError>;
    /// When a key last signed, and for which service in which region.
    fn last_used(&self, key: &str) -> Option<(Timestamp, String, String)>;
    /// A text that only this cloud can read again, and only for the same purpose.
    fn seal(&self, purpose: &str, text: &str) -> Option<String>;
    fn open(&self, purpose: &str, sealed: &str) -> Option<String>;
    fn now(&self) -> Timestamp;
    fn random(&self) -> [u8; 32];
}

/// Temporary credentials, for who asked for them.
#[derive(Clone)]
pub struct Session {
    pub id: String,
    pub secret: String,
    pub token: String,
    pub expires: Timestamp,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("id", &self.id).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    Rsa,
    Ed25519,
}

/// A key pair; the private half is for the caller alone.
#[derive(Clone)]
pub struct NewKey {
    /// PEM.
    pub private: String,
    /// One line of OpenSSH's form.
    pub public: String,
}

impl std::fmt::Debug for NewKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewKey").field("public", &self.public).finish_non_exhaustive()
    }
}
