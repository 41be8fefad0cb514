//! nf_tables over netlink: what a packet filter is made of as typed values, changes as one atomic batch, and what
//! the kernel has read back. No library and no `nft` process; `nft list ruleset` shows what was made here.
//!
//! [`Table`] is the declared form: whoever wants a table to be in a certain state says so and commits the
//! difference. [`Batch`] is the imperative form below it. Owns no policy: what to filter is its users' business.

mod batch;
mod connection;
mod declared;
mod error;
mod field;
mod numbers;
mod objects;
mod read;
mod rule;
mod state;
mod value;

pub use batch::Batch;
pub use connection::Connection;
pub use declared::{Actual, ActualChain, DeclaredChain, DeclaredSet, Difference, Table};
pub use error::NftError;
pub use field::Field;
pub use objects::{
    Base, Chain, ChainKind, Data, Element, ElementData, Family, Hook, KeyType, Policy, Set, Verdict,
    intervals,
};
pub use read::{KernelRule, KernelSet};
pub use rule::{Rule, states};
pub use value::{Key, Value, key};
