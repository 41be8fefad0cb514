//! What the facade needs of the cloud beside the resource API.

use async_trait::async_trait;
use client::Client;
use identity::aws::{Message, SignatureError};
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
    /// Makes an SSH key, which is kept nowhere.
    async fn make_key(&self, key_type: KeyType) -> Result<NewKey, ApiError>;
    fn now(&self) -> Timestamp;
    fn random(&self) -> [u8; 32];
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
