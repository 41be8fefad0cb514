//! Secrets of keys that sign requests: sealed as they come in, never shown.

use model::identity::AccessKey;
use model::{ApiError, FieldErrors, Reason};

use crate::server::Server;

/// What the public half of a key begins with, as AWS's long-lived keys do: scanners for leaked secrets know it.
const PREFIX: &str = "AKIA";
/// Characters of the rest (RFC 4648's base 32).
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const RANDOM_CHARACTERS: usize = 16;
/// kubectl notes here what was applied, in clear.
pub(super) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

impl Server {
    /// Takes a secret out of what the user sent and seals it. What is sealed is the server's own word: a user's is
    /// dropped.
    pub(super) fn seal(
        &self,
        key: &mut AccessKey,
        old: Option<&AccessKey>,
        errors: &mut FieldErrors,
    ) -> Result<(), ApiError> {
        let secret = std::mem::take(&mut key.spec.secret);
        key.spec.sealed_secret = old.map(|old| old.spec.sealed_secret.clone()).unwrap_or_default();
        if secret.is_empty() {
            if let Some(old) = old.filter(|_| key.spec.access_key_id.is_empty()) {
                key.spec.access_key_id.clone_from(&old.spec.access_key_id);
            }
            return Ok(());
        }
        key.metadata.annotations.remove(LAST_APPLIED);
        if old.is_some() {
            errors.push("spec.secret", "cannot be changed; make a new key");
            return Ok(());
        }
        let visible = secret.bytes().all(|b| b.is_ascii_graphic());
        errors.require(
            visible && (16..=128).contains(&secret.len()),
            "spec.secret",
            "must be 16 to 128 visible ASCII characters",
        );
        let environment = &self.inner.environment;
        let master = environment.master_key().ok_or_else(|| {
            ApiError::new(Reason::NotImplemented, "this cloud has no key to seal secrets with: it keeps none")
        })?;
        if key.spec.access_key_id.is_empty() {
            let random = environment.random();
            let pick = |byte: &u8| char::from(ALPHABET[usize::from(byte & 31)]);
            let rest: String = random.iter().take(RANDOM_CHARACTERS).map(pick).collect();
            key.spec.access_key_id = format!("{PREFIX}{rest}");
        }
        let sealed = master.seal(&key.spec.seal_owner(), &secret, &environment.random());
        key.spec.sealed_secret =
            sealed.ok_or_else(|| ApiError::internal("the secret could not be sealed"))?;
        Ok(())
    }
}
