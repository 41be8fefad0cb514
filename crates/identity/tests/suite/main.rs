//! What callers of the identity crate see: decisions, refused escalations, authenticated tokens.

mod authenticator;
mod escalation;
mod iam;
mod laws;
mod policy;
mod signatures;
mod signer;
mod world;
