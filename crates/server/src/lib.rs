//! The server: REST and watch over resources; the only user of `store`.
//!
//! Generic over kinds: nothing here but `admission` names one. Owns authentication, authorization, admission,
//! quota, audit and the wire forms that Kubernetes clients expect. Knows neither controllers nor drivers.

mod access;
mod admission;
mod allocation;
mod apply;
mod bootstrap;
mod claims;
mod default_network;
mod discovery;
mod environment;
mod iam;
mod join;
mod openapi;
mod quota;
mod recent;
mod record;
mod server;
mod shelf;
mod verbs;

pub mod audit;
pub mod http;
pub mod metrics;
pub mod pki;

pub use bootstrap::{ADMIN_GROUP, bootstrap};
pub use environment::{Environment, NetworkPlane, SystemEnvironment};
pub use iam::{Credentials, LastUsed};
pub use identity::Principal;
pub use join::{JOIN_USER, Membership};
pub use server::{Local, Server};
