//! The HTTP face: TLS, routes, media types, byte streams. Everything it does goes through [`crate::Server`].

mod answer;
mod body;
mod endpoint;
mod foreign;
mod listener;
mod network;
mod query;
mod route;
mod service;
mod streams;
mod table;
mod watch;

pub use answer::error;
pub use body::{Body, full, read};
pub use endpoint::Admitted;
pub use foreign::{Foreign, logs, samples};
pub use listener::{Listener, ListenerError};
pub use service::{Extensions, Face};
pub use streams::{Backups, Blobs, Duplex, HostGateway, StreamRequest, Upload};
