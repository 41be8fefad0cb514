//! Bearer tokens: made from random bytes the caller supplies, kept only as a digest, never printed by accident.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Lets scanners for leaked secrets find our tokens.
const PREFIX: &str = "corten_";

/// The secret itself. It has no `Display`, and `Debug` does not show it.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// A new token from 32 random bytes.
    pub fn generate(random: &[u8; 32]) -> Self {
        Self(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random)))
    }

    /// What a client presented, in whatever form.
    pub fn presented(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret text, to be shown to its owner once.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub fn digest(&self) -> TokenDigest {
        TokenDigest::of(&self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// SHA-256 of a token; compares in constant time.
#[derive(Debug, Clone, Copy, Eq)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    pub(crate) fn of(token: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, token.as_bytes()).as_ref());
        Self(bytes)
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 64 hexadecimal digits, as `AccessKeySpec::token_sha256` holds them.
    pub fn to_hex(self) -> String {
        let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
        self.0.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }

    pub fn from_hex(text: &str) -> Option<Self> {
        let nibbles: Vec<u8> =
            text.chars().map(|c| c.to_digit(16).and_then(|n| u8::try_from(n).ok())).collect::<Option<_>>()?;
        let bytes: Vec<u8> = nibbles.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        (nibbles.len() == 64).then_some(())?;
        bytes.try_into().ok().map(Self)
    }
}

impl PartialEq for TokenDigest {
    fn eq(&self, other: &Self) -> bool {
        let difference =
            self.0.iter().zip(&other.0).fold(0, |acc, (a, b)| std::hint::black_box(acc | (a ^ b)));
        difference == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_never_shows_itself() {
        let token = Token::generate(&[7; 32]);
        assert!(token.expose().starts_with("corten_BwcHBw"));
        assert_eq!(token.expose().len(), 50);
        assert_eq!(format!("{token:?}"), "Token(hidden)");
    }

    #[test]
    fn digests_survive_the_trip_through_hexadecimal() {
        // The SHA-256 of "abc" (FIPS 180-2, appendix B.1).
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let digest = Token::presented("abc").digest();
        assert_eq!(digest.to_hex(), hex);
        assert_eq!(TokenDigest::from_hex(hex), Some(digest));
        assert_eq!(TokenDigest::from_hex(&hex.to_uppercase()), Some(digest));
        assert_ne!(Token::presented("abd").digest(), digest);
        for wrong in ["", &hex[1..], &hex.replace('b', "g"), &format!("{hex}0")] {
            assert_eq!(TokenDigest::from_hex(wrong), None, "{wrong}");
        }
    }
}
