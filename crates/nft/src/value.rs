//! Values that packets are compared with, in the byte order that nf_tables keeps them in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smallvec::SmallVec;

/// What an element of a set is known by. There are many of them, and nearly all are short: a device, an Ethernet address
/// and an address of IPv6 have room.
pub type Key = SmallVec<[u8; 32]>;

/// One value: numbers of the host (interface indexes, marks, states) in its own order, what stands in packets in
/// network order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(SmallVec<[u8; 16]>);

impl Value {
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// A device's whole name.
    pub fn device(name: &str) -> Self {
        let mut bytes = SmallVec::from_slice(name.as_bytes());
        bytes.resize(16, 0);
        Self(bytes)
    }

    /// How a device's name begins.
    pub fn device_prefix(prefix: &str) -> Self {
        Self(SmallVec::from_slice(prefix.as_bytes()))
    }
}

/// A key of a set: its values one behind the other, each padded to whole registers.
pub fn key(values: impl IntoIterator<Item = Value>) -> Key {
    let mut bytes = Key::new();
    for Value(value) in values {
        bytes.extend_from_slice(&value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

/// A protocol number, or a type or code of ICMP.
impl From<u8> for Value {
    fn from(byte: u8) -> Self {
        Self(SmallVec::from_slice(&[byte]))
    }
}

/// A port or an Ethernet type.
impl From<u16> for Value {
    fn from(port: u16) -> Self {
        Self(SmallVec::from_slice(&port.to_be_bytes()))
    }
}

/// A number of the host's own: an interface index, a mark, a state.
impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self(SmallVec::from_slice(&number.to_ne_bytes()))
    }
}

/// An Ethernet address.
impl From<[u8; 6]> for Value {
    fn from(mac: [u8; 6]) -> Self {
        Self(SmallVec::from_slice(&mac))
    }
}

impl From<Ipv4Addr> for Value {
    fn from(address: Ipv4Addr) -> Self {
        Self(SmallVec::from_slice(&address.octets()))
    }
}

impl From<Ipv6Addr> for Value {
    fn from(address: Ipv6Addr) -> Self {
        Self(SmallVec::from_slice(&address.octets()))
    }
}

impl From<IpAddr> for Value {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => address.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_a_key_begin_at_registers() {
        let mac = [2, 0, 0, 0, 0, 1];
        let bytes = key([Value::from(7_u32), mac.into(), Value::from(80_u16)]);
        let index = 7_u32.to_ne_bytes();
        assert_eq!(bytes.as_slice(), [&index[..], &mac, &[0, 0], &[0, 80, 0, 0]].concat());
    }
}
