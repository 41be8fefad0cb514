//! Who is calling, and may they: principals, tokens, policy decisions. Pure: no I/O, no clock, no randomness;
//! the server feeds it objects and asks.
//!
//! A request becomes a [`Principal`] (by [`Authenticator`] or from a client certificate) and [`Attributes`];
//! [`Policy::decide`] answers. Deny wins over allow, and nothing is allowed that no rule allows.

pub mod aws;
pub mod iam;

// The signer of the tests speaks of this crate by its name.
#[cfg(any(test, feature = "fuzzing"))]
extern crate self as identity;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;

mod attributes;
mod authenticator;
mod builtin;
mod escalation;
mod policy;
mod principal;
mod rule;
mod sealed;
mod signers;
mod token;

pub use attributes::{Attributes, Verb};
pub use authenticator::{Authenticator, Holder, Refused, Signer};
pub use builtin::{ADMINS, HOSTS, builtin_roles};
pub use escalation::Escalation;
pub use policy::{Decision, Ground, Policy, VisibleProjects};
pub use principal::{Authentication, Principal, SourceAddress};
pub use sealed::{MasterKey, Secret};
pub use token::{Token, TokenDigest};
