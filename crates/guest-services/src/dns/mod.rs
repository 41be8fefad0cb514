//! DNS for guests: the VPC's own names are answered from the directory, every other name by the host's resolvers.
//! [`answer`] decides and is pure; a [`Pending`] waits for a resolver and finishes purely too.

mod answer;
mod forward;
mod lookup;
mod pending;
mod reply;
mod server;

pub use answer::{Step, answer};
pub use forward::{Forwarder, HostForwarder};
pub use pending::Pending;
pub(crate) use server::{Resolver, serve_tcp, serve_udp};

/// What carries a message decides how long it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}
