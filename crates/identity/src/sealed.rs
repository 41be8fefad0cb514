//! Secrets that the server needs in clear, kept so that the store alone gives none away: sealed with a key that lies
//! beside the store, not in it. Pure: random bytes are the caller's.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;

/// The form of what is sealed, so that another may come after it.
const FORM: &str = "v1.";

/// The cloud's own key. It never leaves the machine that serves, and has no `Display`.
#[derive(Clone)]
pub struct MasterKey([u8; 32]);

impl MasterKey {
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Seals a secret. It opens only for the same `owner`, so that it is worth nothing when copied to another's
    /// object. `random` must never have been used before.
    pub fn seal(&self, owner: &str, secret: &str, random: &[u8; 32]) -> Option<String> {
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&random[..NONCE_LEN]);
        let mut text = secret.as_bytes().to_vec();
        let key = self.key()?;
        key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(owner.as_bytes()),
            &mut text,
        )
        .ok()?;
        let mut sealed = nonce.to_vec();
        sealed.append(&mut text);
        Some(format!("{FORM}{}", STANDARD_NO_PAD.encode(sealed)))
    }

    /// The secret; `None` when it was sealed with another key, for another owner, or changed since.
    pub fn open(&self, owner: &str, sealed: &str) -> Option<Secret> {
        let sealed = STANDARD_NO_PAD.decode(sealed.strip_prefix(FORM)?).ok()?;
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = text.to_vec();
        let opened = self.key()?.open_in_place(nonce, Aad::from(owner.as_bytes()), &mut text).ok()?;
        String::from_utf8(opened.to_vec()).ok().map(Secret)
    }

    /// A key for one purpose alone, which tells nothing of this one or of those for others.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let mut derived = [0; 32];
        derived.copy_from_slice(hmac::sign(&key, purpose.as_bytes()).as_ref());
        derived
    }

    fn key(&self) -> Option<LessSafeKey> {
        UnboundKey::new(&AES_256_GCM, &self.0).ok().map(LessSafeKey::new)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(hidden)")
    }
}

/// A secret in clear. It has no `Display`, and `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_for_its_owner_and_this_cloud_alone() {
        let key = MasterKey::new([7; 32]);
        let sealed = key.seal("ann", "a secret", &[1; 32]).expect("sealed");
        assert!(!sealed.contains("secret"), "{sealed}");
        assert_eq!(key.open("ann", &sealed), Some(Secret::new("a secret")));
        assert_eq!(key.open("bob", &sealed), None);
        assert_eq!(MasterKey::new([8; 32]).open("ann", &sealed), None);
        for wrong in
            ["", "v1.", "v1.AAAA", "v2.AAAA", &sealed[..sealed.len() - 2], &sealed.replace("v1.", "v1.A")]
        {
            assert_eq!(key.open("ann", wrong), None, "{wrong}");
        }
    }

    #[test]
    fn each_purpose_has_a_key_of_its_own() {
        let key = MasterKey::new([7; 32]);
        assert_eq!(key.derive("a"), MasterKey::new([7; 32]).derive("a"));
        assert_ne!(key.derive("a"), key.derive("b"));
        assert_ne!(key.derive("a"), MasterKey::new([8; 32]).derive("a"));
    }

    #[test]
    fn nothing_secret_shows_itself() {
        assert_eq!(
            format!("{:?} {:?}", MasterKey::new([7; 32]), Secret::new("x")),
            "MasterKey(hidden) Secret(hidden)"
        );
    }
}
