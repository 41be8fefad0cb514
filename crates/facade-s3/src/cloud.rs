//! What the facade needs of the cloud.

use client::Client;
use identity::{Holder, Principal};
use model::{ApiError, Timestamp};

/// The cloud, as the facade sees it.
pub trait Cloud: Send + Sync + 'static {
    /// Whose a key is, with the secret that signatures are verified with; temporary ones come with their token.
    fn holder(&self, access_key_id: &str, token: Option<&str>) -> Option<Holder>;
    /// Notes that a key has signed.
    fn note_use(&self, access_key_id: &str);
    /// A client that acts as this caller.
    fn client(&self, caller: &Principal) -> Client;
    /// Whether the caller may.
    fn authorize(&self, caller: &Principal, call: &client::Request) -> Result<(), ApiError>;
    fn now(&self) -> Timestamp;
}
