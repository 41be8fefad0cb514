//! The balancer driver: one HAProxy per load balancer, in a network namespace of its own.
//!
//! HAProxy runs as a user that only this balancer has, without privileges from its first instruction: its namespace
//! lets everyone listen on every port. It is no child of ours and goes on when we do not. What it works by is a file;
//! the digest of that file is in what HAProxy says of itself, so whether it is up to date is asked of the process and
//! remembered nowhere. Changes are reloads: a new worker takes over the listening sockets, and the old one stays until
//! its last connection ends.
//!
//! Datagrams, which HAProxy does not balance, are translated by the kernel in the same namespace, to the servers that
//! HAProxy finds healthy.
//!
//! Owns no address and no route: the network driver makes the namespace part of a VPC.

mod config;
mod datagrams;
mod driver;
mod folder;
mod launch;
mod requests;
mod socket;
mod stats;

pub use driver::{HaproxyDriver, HaproxyOptions};
