//! Flows of a VPC on this host: what passed, with counts, and what was refused. For those who record them.

use std::net::IpAddr;

use crate::DriverError;

/// Packets and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    pub packets: u64,
    pub bytes: u64,
}

/// What is the same for all packets of a flow, as the guest sees it. ICMP and others have no ports: 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowKey {
    /// Above IP (IANA).
    pub protocol: u8,
    pub source: IpAddr,
    pub source_port: u16,
    pub destination: IpAddr,
    pub destination_port: u16,
}

/// A connection that was let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// Tells it from others of the same key, one after the other.
    pub id: u32,
    pub key: FlowKey,
    /// From its source, since it began.
    pub sent: Count,
    /// From its destination.
    pub answered: Count,
}

/// A packet that rules refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub key: FlowKey,
    pub bytes: u64,
    /// By its sender's rules; else by its receiver's.
    pub leaving: bool,
}

/// What there is to see now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlowLook {
    /// All that the kernel still knows. One that has ended stays for some seconds, with its last counts.
    pub flows: Vec<Flow>,
    /// Since the last look.
    pub refused: Vec<Refused>,
    /// There was more than could be kept.
    pub lost: bool,
}

/// Looks at the flows of one VPC. What is refused is kept for it from when it was opened on.
pub trait FlowWatch: std::fmt::Debug + Send {
    /// Blocks while the kernel answers. To be called every few seconds.
    fn look(&mut self) -> Result<FlowLook, DriverError>;
}
