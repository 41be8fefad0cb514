//! DHCP for both families and router advertisements, as pure functions from a packet to the reply. One port, one
//! answer: the address is the port's, so there is no pool, no lease to keep and nothing to release.

mod advertise;
mod options;
mod v4;
mod v6;

pub use advertise::{advertise, answer_solicitation};
pub use v4::answer as answer_v4;
pub use v6::answer as answer_v6;

use std::net::{IpAddr, SocketAddr};

/// A packet to send out of the interface that asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub bytes: Vec<u8>,
    pub to: SocketAddr,
    /// Our address it comes from; the kernel's choice when `None`.
    pub source: Option<IpAddr>,
}
