//! Who is calling, and may they: principals, tokens, policy decisions. Pure: no I/O, no clock, no randomness;
//! the server feeds it objects and asks.
//!
//! A request becomes a [`Principal`] (by [`Authenticator`] or from a client certificate) and [`Attributes`];
//! [`Policy::decide`] answers. Deny wins over allow, and nothing is allowed that no rule allows.

mod attributes;
mod authenticator;
mod builtin;
mod escalation;
mod policy;
mod principal;
mod rule;
mod token;

pub use attributes::{Attributes, Verb};
pub use authenticator::{Authenticator, Refused};
pub use builtin::{ADMINS, HOSTS, builtin_roles};
pub use escalation::Escalation;
pub use policy::{Decision, Ground, Policy, VisibleProjects};
pub use principal::{Authentication, Principal};
pub use token::{Token, TokenDigest};
