//! What the facade needs of the cloud.

use client::Client;
use identity::{Holder, Principal};
use model::ApiError;

/// The cloud, as the facade sees it.
pub trait Cloud: Send + Sync + 'static {
    /// Whose a key is, with the secret that signatures are verified with.
    fn holder(&self, access_key_id: &str) -> Option<Holder>;
    /// A client that acts as this caller.
    fn client(&self, caller: &Principal) -> Client;
    /// Whether the caller may.
    fn authorize(&self, caller: &Principal, call: &client::Request) -> Result<(), ApiError>;
}
