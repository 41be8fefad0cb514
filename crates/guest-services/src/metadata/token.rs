//! IMDSv2's session tokens: an expiry and a code over it and the instance, under a key that dies with the process.
//! Nothing is stored, so nobody can fill a table with tokens. Time is the caller's monotonic clock.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use model::Uid;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

/// Seconds a token may live (EC2's own bounds).
pub(super) const TTL_SECONDS: std::ops::RangeInclusive<u32> = 1..=21_600;
/// Longest text that is looked at as a token.
const TEXT_MAX: usize = 128;
const EXPIRY: usize = 8;
const NONCE: usize = 8;
const CODE: usize = 32;

/// Makes and checks tokens.
pub(super) struct Tokens {
    key: hmac::Key,
    random: SystemRandom,
}

/// The key is never printed.
impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Tokens {
    pub(super) fn new() -> Result<Self, ring::error::Unspecified> {
        let random = SystemRandom::new();
        Ok(Self { key: hmac::Key::generate(hmac::HMAC_SHA256, &random)?, random })
    }

    pub(super) fn issue(&self, instance: &Uid, ttl_seconds: u32, now: Duration) -> Option<String> {
        let expiry = now.checked_add(Duration::from_secs(ttl_seconds.into()))?;
        let mut token = u64::try_from(expiry.as_millis()).ok()?.to_be_bytes().to_vec();
        let mut nonce = [0; NONCE];
        self.random.fill(&mut nonce).ok()?;
        token.extend(nonce);
        let code = hmac::sign(&self.key, &message(instance, &token));
        token.extend(code.as_ref());
        Some(URL_SAFE.encode(token))
    }

    /// Whether this is a token of this instance that has not expired.
    pub(super) fn is_good(&self, instance: &Uid, token: &[u8], now: Duration) -> bool {
        let Some(bytes) = (token.len() <= TEXT_MAX).then(|| URL_SAFE.decode(token).ok()).flatten() else {
            return false;
        };
        if bytes.len() != EXPIRY + NONCE + CODE {
            return false;
        }
        let (signed, code) = bytes.split_at(EXPIRY + NONCE);
        // Compares in constant time.
        let is_ours = hmac::verify(&self.key, &message(instance, signed), code).is_ok();
        let expiry = signed.first_chunk::<EXPIRY>().map(|bytes| u64::from_be_bytes(*bytes));
        is_ours && expiry.is_some_and(|expiry| now < Duration::from_millis(expiry))
    }
}

/// What the code is over. A uid has no zero byte, so no other instance's message is the same.
fn message(instance: &Uid, signed: &[u8]) -> Vec<u8> {
    [b"corten imds session 1".as_slice(), instance.as_str().as_bytes(), signed].join(&0)
}
