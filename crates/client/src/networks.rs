//! What a host says of networks when it is asked: JSON that the server passes on, from the agent to whoever asked.

use model::Uid;
use serde::{Deserialize, Serialize};

/// What differs on one host between a VPC as it should be and what the kernel has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkCheck {
    pub host: String,
    /// Ports of the VPC that are on the host.
    pub ports: usize,
    pub differences: Vec<Difference>,
    /// It was programmed again after this was seen.
    pub repaired: bool,
}

/// Something that is programmed and should not be, or is not and should.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Difference {
    /// `link`, `address`, `route`, `neighbour`, `fdb`, `rule` or `set`.
    pub kind: String,
    pub what: String,
    /// `false`: it is too much.
    pub missing: bool,
}

/// Bytes and packets of one port since its link was made, as the guest sees them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PortCount {
    pub project: String,
    pub vpc: String,
    pub port: String,
    pub uid: Uid,
    pub instance: String,
    pub received_bytes: u64,
    pub received_packets: u64,
    pub sent_bytes: u64,
    pub sent_packets: u64,
    /// What its link dropped, in either direction.
    pub dropped_packets: u64,
    /// What the guest sent in another's name, and nobody received.
    pub spoofed_packets: u64,
}
