//! The whole cloud in one process on virtual time, with faults: one seed, one history, replayed exactly.
//!
//! Built from the real server, controllers and agents over a store in memory, fake machines and a network that
//! loses things. Users and mischief act for a while; then all is calm, and the cloud must become what it was
//! asked to be. What must never happen is checked at every commit and many times a second.

mod clock;
mod cloud;
mod control;
mod dice;
mod host;
mod ledger;
mod mischief;
mod networks;
mod nobody;
mod outside;
mod scenario;
mod store;
mod users;
mod verdict;
mod weather;
mod wire;

pub use scenario::{Options, Report, Violation, run};
