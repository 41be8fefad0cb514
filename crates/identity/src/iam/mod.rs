//! AWS's IAM: what policy documents allow, and who has which of them. Pure.
//!
//! A [`Document`] is read once; [`Permissions`] are the documents that hold for one caller; [`Permissions::decide`]
//! answers for one action on one resource. What is not known never helps: a condition on a key that nobody knows holds
//! for a denial and does not hold for an allowance.

mod arn;
mod condition;
mod decide;
mod directory;
mod document;
mod managed;
mod pattern;
mod session;
mod through;

pub use arn::{CallerNames, unique_id};
pub use condition::Facts;
pub use decide::{Names, Permissions, Resource, Verdict};
pub use directory::{Actor, ActorKind, Directory};
pub use document::{Document, DocumentError};
pub use managed::{MANAGED, Managed, managed};
pub use session::{Session, SessionOf};
pub use through::Through;

/// Services whose every call is decided by policies. A key of IAM is worth nothing at another.
pub const POLICED: [&str; 6] = ["ec2", "iam", "sts", "elasticloadbalancing", "autoscaling", "monitoring"];

/// The names of users of Corten behind callers of IAM begin so.
pub const USER: &str = "iam:";
/// The group of all callers of IAM of a project, followed by the project.
pub const ACCOUNT: &str = "corten:account:";

/// A project's account number: twelve digits that follow from its name.
pub fn account_number(project: &str) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, format!("account/{project}").as_bytes());
    let number = hash.as_ref().iter().take(8).fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
    // The first digit is never 0: programs that take it for a number would lose it.
    (100_000_000_000 + number % 900_000_000_000).to_string()
}
