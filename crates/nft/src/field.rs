//! What of a packet, its way or its connection can be looked at, and the expression that loads it.

use sys::netlink::Attributes;

use crate::rule::{expression, number};

/// A field as `nft` knows it; the comment is its name there. Fields of a protocol want that protocol to be
/// established by an earlier test of the same rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    /// `iif`: index of the device a packet came in by.
    InputDevice,
    /// `oif`
    OutputDevice,
    /// `iifname`, 16 bytes.
    InputName,
    /// `oifname`
    OutputName,
    /// `meta iiftype`; see [`crate::Rule::by_ethernet`].
    InputKind,
    /// `meta nfproto`; 2 is IPv4, 10 is IPv6.
    Family,
    /// `meta l4proto`
    Protocol,
    /// `meta mark`
    Mark,
    /// `ct state`, a mask of [`crate::states`].
    ConnectionState,
    /// `ct status`; 0x20 is translated at its destination.
    ConnectionStatus,
    /// `ct mark`
    ConnectionMark,
    /// `ether saddr`
    EtherSource,
    /// `ether daddr`
    EtherDestination,
    /// `ether type`
    EtherType,
    /// `ip saddr`
    Ip4Source,
    /// `ip daddr`
    Ip4Destination,
    /// `ip6 saddr`
    Ip6Source,
    /// `ip6 daddr`
    Ip6Destination,
    /// `arp operation`
    ArpOperation,
    /// `arp saddr ether`
    ArpSenderMac,
    /// `arp saddr ip`
    ArpSender,
    /// `arp daddr ip`
    ArpTarget,
    /// `th sport`: of TCP, UDP, SCTP.
    SourcePort,
    /// `th dport`
    DestinationPort,
    /// `@th,96,32`: the VXLAN network identifier of a UDP datagram (RFC 7348) in its first three bytes; the last is
    /// reserved, and zero.
    VxlanNetwork,
    /// `icmp type`, `icmpv6 type`
    IcmpType,
    /// `icmp code`, `icmpv6 code`
    IcmpCode,
}

/// Where a field comes from.
enum Source {
    Meta(u32),
    Connection(u32),
    /// Base (0 link, 1 network, 2 transport) and offset.
    Payload(u32, u32),
}

impl Field {
    /// Bytes of its value.
    pub fn length(self) -> usize {
        match self {
            Self::Family | Self::Protocol | Self::IcmpType | Self::IcmpCode => 1,
            Self::InputKind
            | Self::EtherType
            | Self::ArpOperation
            | Self::SourcePort
            | Self::DestinationPort => 2,
            Self::InputDevice
            | Self::OutputDevice
            | Self::Mark
            | Self::ConnectionState
            | Self::ConnectionStatus
            | Self::ConnectionMark
            | Self::Ip4Source
            | Self::Ip4Destination
            | Self::ArpSender
            | Self::ArpTarget
            | Self::VxlanNetwork => 4,
            Self::EtherSource | Self::EtherDestination | Self::ArpSenderMac => 6,
            Self::InputName | Self::OutputName | Self::Ip6Source | Self::Ip6Destination => 16,
        }
    }

    fn source(self) -> Source {
        match self {
            Self::Mark => Source::Meta(3),
            Self::InputDevice => Source::Meta(4),
            Self::OutputDevice => Source::Meta(5),
            Self::InputName => Source::Meta(6),
            Self::OutputName => Source::Meta(7),
            Self::InputKind => Source::Meta(8),
            Self::Family => Source::Meta(15),
            Self::Protocol => Source::Meta(16),
            Self::ConnectionState => Source::Connection(0),
            Self::ConnectionStatus => Source::Connection(2),
            Self::ConnectionMark => Source::Connection(3),
            Self::EtherDestination => Source::Payload(0, 0),
            Self::EtherSource => Source::Payload(0, 6),
            Self::EtherType => Source::Payload(0, 12),
            Self::Ip4Source => Source::Payload(1, 12),
            Self::Ip4Destination => Source::Payload(1, 16),
            // ARP is RFC 826's for Ethernet and IPv4.
            Self::ArpOperation => Source::Payload(1, 6),
            Self::Ip6Source | Self::ArpSenderMac => Source::Payload(1, 8),
            Self::ArpSender => Source::Payload(1, 14),
            Self::Ip6Destination | Self::ArpTarget => Source::Payload(1, 24),
            Self::SourcePort | Self::IcmpType => Source::Payload(2, 0),
            Self::IcmpCode => Source::Payload(2, 1),
            Self::DestinationPort => Source::Payload(2, 2),
            Self::VxlanNetwork => Source::Payload(2, 12),
        }
    }

    /// The expression that puts the field into a register.
    pub(crate) fn load(self, register: u32) -> Attributes {
        let to = Attributes::new().put(1, number(register));
        match self.source() {
            Source::Meta(key) => expression("meta", &to.put(2, number(key))),
            Source::Connection(key) => expression("ct", &to.put(2, number(key))),
            Source::Payload(base, offset) => {
                let length = u32::try_from(self.length()).unwrap_or(0);
                let from = to.put(2, number(base)).put(3, number(offset)).put(4, number(length));
                expression("payload", &from)
            }
        }
    }
}
