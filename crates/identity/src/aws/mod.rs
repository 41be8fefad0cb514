//! AWS's signatures, version 4: the one place where they are verified, and made. Pure.
//!
//! A [`Message`] is what came over the wire, whole. [`Presented::read`] finds the signature in it, in its header or
//! its query, and holds it to the rules that need no key; [`Presented::is_signed_with`] compares. Whoever serves such
//! requests goes through [`crate::Authenticator::verify`], which does both.

mod canonical;
mod presented;
mod signing;

pub use presented::{Message, Presented, SignatureError};
pub use signing::{Signing, UNSIGNED_PAYLOAD, Unsigned, date, object_path, query, sha256};

/// How far the clocks of caller and cloud may be apart, in seconds.
pub const SKEW_MAX_SECONDS: i64 = 15 * 60;
/// For how long a URL may be signed beforehand, in seconds: a week.
pub const EXPIRES_MAX_SECONDS: i64 = 604_800;
