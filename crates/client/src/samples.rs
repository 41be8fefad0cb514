//! What a host says of an instance's use of it: JSON that the server passes on, from the agent to whoever asked.

use model::Timestamp;
use serde::{Deserialize, Serialize};

/// What an instance used between two looks. What was not counted is not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Sample {
    /// The second look.
    pub at: Timestamp,
    /// How long it was since the first.
    pub over_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_nanos: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkUse>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskUse>,
}

/// What went through all of its ports, as the guest sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkUse {
    pub received_bytes: u64,
    pub received_packets: u64,
    pub sent_bytes: u64,
    pub sent_packets: u64,
}

/// What its processes had the host's disks do; what memory answers is not in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DiskUse {
    pub read_bytes: u64,
    pub written_bytes: u64,
}
