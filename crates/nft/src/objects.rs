//! What a table holds: chains, sets, elements, verdicts, as values.

use std::net::IpAddr;

use sys::netlink::Attributes;

use crate::numbers as n;
use crate::rule::number;
use crate::value::{Key, Value};

/// Which packets a table sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet,
    Ip,
    Ip6,
    Arp,
    Bridge,
}

impl Family {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Inet => 1,
            Self::Ip => 2,
            Self::Arp => 3,
            Self::Bridge => 7,
            Self::Ip6 => 10,
        }
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        [Self::Inet, Self::Ip, Self::Ip6, Self::Arp, Self::Bridge].into_iter().find(|f| f.number() == number)
    }

    pub(crate) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Ip } else { Self::Ip6 }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inet => "inet",
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Arp => "arp",
            Self::Bridge => "bridge",
        }
    }
}

/// Where on a packet's way a base chain stands; ARP knows input and output only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hook {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

impl Hook {
    pub(crate) fn number(self, family: Family) -> u32 {
        match (family, self) {
            (Family::Arp, Self::Output) => 1,
            (Family::Arp, _) | (_, Self::Prerouting) => 0,
            (_, Self::Input) => 1,
            (_, Self::Forward) => 2,
            (_, Self::Output) => 3,
            (_, Self::Postrouting) => 4,
        }
    }

    pub(crate) fn from_number(number: u32, family: Family) -> Option<Self> {
        // Input before prerouting: in ARP both are 0, and input is the name there.
        [Self::Input, Self::Prerouting, Self::Forward, Self::Output, Self::Postrouting]
            .into_iter()
            .find(|hook| hook.number(family) == number)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChainKind {
    Filter,
    Nat,
    Route,
}

impl ChainKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
            Self::Route => "route",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Filter, Self::Nat, Self::Route].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// What becomes of a packet that no rule of a base chain decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Policy {
    Accept,
    Drop,
}

/// What makes a chain see packets by itself. Lower priorities come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    pub kind: ChainKind,
    pub hook: Hook,
    pub priority: i32,
    pub policy: Policy,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    pub name: String,
    /// `None`: others jump here.
    pub base: Option<Base>,
}

/// What one part of a key is. `nft` shows it accordingly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyType {
    Ipv4Address,
    Ipv6Address,
    EtherAddress,
    Protocol,
    Service,
    Mark,
    InterfaceIndex,
}

impl KeyType {
    /// The number that `nft` gives this type (its include/datatype.h); the kernel only keeps it.
    fn number(self) -> u32 {
        match self {
            Self::Ipv4Address => 7,
            Self::Ipv6Address => 8,
            Self::EtherAddress => 9,
            Self::Protocol => 12,
            Self::Service => 13,
            Self::Mark => 19,
            Self::InterfaceIndex => 20,
        }
    }

    /// As user data of a set: kind 0, four bytes, 1 for the host's order and 2 for the network's.
    fn byte_order(self) -> [u8; 6] {
        let order: u32 = if matches!(self, Self::Mark | Self::InterfaceIndex) { 1 } else { 2 };
        let [a, b, c, d] = order.to_ne_bytes();
        [0, 4, a, b, c, d]
    }

    fn length(self) -> u32 {
        match self {
            Self::Protocol => 1,
            Self::Service => 2,
            Self::Ipv4Address | Self::Mark | Self::InterfaceIndex => 4,
            Self::EtherAddress => 6,
            Self::Ipv6Address => 16,
        }
    }
}

/// What a map has for each key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    /// Nothing: it is a set.
    None,
    Verdict,
    Value(KeyType),
}

/// A named set or map. Several parts of a key are looked up together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    pub name: String,
    pub key: Vec<KeyType>,
    /// Keys are ranges; for keys of one part.
    pub interval: bool,
    pub data: Data,
    /// Each element counts the packets that matched it: see [`crate::Connection::counts`].
    pub counts: bool,
}

impl Set {
    pub fn new(name: impl Into<String>, key: &[KeyType]) -> Self {
        Self { name: name.into(), key: key.to_vec(), interval: false, data: Data::None, counts: false }
    }

    pub fn of_intervals(name: impl Into<String>, key: KeyType) -> Self {
        Self { interval: true, ..Self::new(name, &[key]) }
    }

    /// Whose elements count the packets that match them.
    pub fn counting(name: impl Into<String>, key: &[KeyType]) -> Self {
        Self { counts: true, ..Self::new(name, key) }
    }

    pub fn verdict_map(name: impl Into<String>, key: &[KeyType]) -> Self {
        Self { data: Data::Verdict, ..Self::new(name, key) }
    }

    pub fn map(name: impl Into<String>, key: &[KeyType], value: KeyType) -> Self {
        Self { data: Data::Value(value), ..Self::new(name, key) }
    }

    pub(crate) fn flags(&self) -> u32 {
        let map = if self.data == Data::None { 0 } else { n::SET_FLAG_MAP };
        let interval = if self.interval { n::SET_FLAG_INTERVAL } else { 0 };
        map | interval
    }

    /// Types of a key's parts are six bits each.
    pub(crate) fn key_type(&self) -> u32 {
        self.key.iter().fold(0, |number, part| number << 6 | part.number())
    }

    pub(crate) fn key_length(&self) -> u32 {
        match self.key.as_slice() {
            [part] => part.length(),
            parts => parts.iter().map(|part| part.length().next_multiple_of(4)).sum(),
        }
    }

    pub(crate) fn attributes(&self) -> Attributes {
        let set = Attributes::new()
            .put(n::SET_FLAGS, number(self.flags()))
            .put(n::SET_KEY_TYPE, number(self.key_type()))
            .put(n::SET_KEY_LENGTH, number(self.key_length()));
        let set = match self.key.as_slice() {
            // `nft` keeps the byte order of a simple key here, and shows nonsense without.
            [part] => set.put(n::SET_USERDATA, part.byte_order()),
            _ => set,
        };
        let set = if self.counts {
            let counter = Attributes::new()
                .text(n::EXPRESSION_NAME, "counter")
                .nest(n::EXPRESSION_DATA, &Attributes::new());
            set.nest(n::SET_EXPRESSION, &counter)
        } else {
            set
        };
        match self.data {
            Data::None => set,
            Data::Verdict => set.put(n::SET_DATA_TYPE, number(n::DATA_TYPE_VERDICT)),
            Data::Value(value) => set
                .put(n::SET_DATA_TYPE, number(value.number()))
                .put(n::SET_DATA_LENGTH, number(value.length())),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    Accept,
    Drop,
    Continue,
    Return,
    Jump(String),
    Goto(String),
}

impl Verdict {
    fn code(&self) -> i32 {
        match self {
            Self::Drop => 0,
            Self::Accept => 1,
            Self::Continue => -1,
            Self::Jump(_) => -3,
            Self::Goto(_) => -4,
            Self::Return => -5,
        }
    }

    pub(crate) fn from_code(code: i32, chain: Option<String>) -> Option<Self> {
        match (code, chain) {
            (0, _) => Some(Self::Drop),
            (1, _) => Some(Self::Accept),
            (-1, _) => Some(Self::Continue),
            (-5, _) => Some(Self::Return),
            (-3, Some(chain)) => Some(Self::Jump(chain)),
            (-4, Some(chain)) => Some(Self::Goto(chain)),
            _ => None,
        }
    }

    pub(crate) fn data(&self) -> Attributes {
        let code = Attributes::new().put(n::VERDICT_CODE, self.code().to_be_bytes());
        let whole = match self {
            Self::Jump(chain) | Self::Goto(chain) => code.text(n::VERDICT_CHAIN, chain),
            _ => code,
        };
        Attributes::new().nest(n::DATA_VERDICT, &whole)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ElementData {
    Verdict(Verdict),
    Value(Vec<u8>),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element {
    /// As [`crate::key`] makes it.
    pub key: Key,
    /// In a set of intervals: the first key that no longer belongs to the one before.
    pub ends_interval: bool,
    pub data: Option<ElementData>,
}

impl Element {
    pub fn new(key: impl Into<Key>) -> Self {
        Self { key: key.into(), ends_interval: false, data: None }
    }

    pub fn with_verdict(key: impl Into<Key>, verdict: Verdict) -> Self {
        Self { data: Some(ElementData::Verdict(verdict)), ..Self::new(key) }
    }

    pub fn with_value(key: impl Into<Key>, value: impl Into<Value>) -> Self {
        Self { data: Some(ElementData::Value(value.into().as_bytes().to_vec())), ..Self::new(key) }
    }

    pub(crate) fn attributes(&self) -> Attributes {
        let key = Attributes::new().put(n::DATA_VALUE, &self.key);
        let mut element = Attributes::new().nest(n::ELEMENT_KEY, &key);
        if self.ends_interval {
            element = element.put(n::ELEMENT_FLAGS, number(n::ELEMENT_INTERVAL_END));
        }
        match &self.data {
            None => element,
            Some(ElementData::Verdict(verdict)) => element.nest(n::ELEMENT_DATA, &verdict.data()),
            Some(ElementData::Value(value)) => {
                element.nest(n::ELEMENT_DATA, &Attributes::new().put(n::DATA_VALUE, value))
            }
        }
    }
}

/// The elements of a set of intervals that holds these ranges, each from its first to its last address. Ranges that
/// meet or overlap become one, for the kernel refuses overlaps. Addresses of one family only.
pub fn intervals(ranges: impl IntoIterator<Item = (IpAddr, IpAddr)>) -> Vec<Element> {
    let mut ranges: Vec<(Vec<u8>, Vec<u8>)> = ranges
        .into_iter()
        .map(|(first, last)| (Value::from(first).as_bytes().to_vec(), Value::from(last).as_bytes().to_vec()))
        .collect();
    ranges.sort();
    let mut merged: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for (first, last) in ranges {
        match merged.last_mut() {
            Some((_, end)) if successor(end).is_none_or(|next| first <= next) => {
                if last > *end {
                    *end = last;
                }
            }
            _ => merged.push((first, last)),
        }
    }
    let elements = merged.into_iter().flat_map(|(first, last)| {
        // A range that reaches the last address has no end.
        let end = successor(&last).map(|key| Element { ends_interval: true, ..Element::new(key) });
        std::iter::once(Element::new(first)).chain(end)
    });
    elements.collect()
}

/// The next number, in network order; `None` behind the last.
fn successor(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut next = bytes.to_vec();
    for byte in next.iter_mut().rev() {
        let (sum, carried) = byte.overflowing_add(1);
        *byte = sum;
        if !carried {
            return Some(next);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ranges: &[(&str, &str)], expected: &[(&str, bool)]) {
        let ranges = ranges.iter().map(|(first, last)| (first.parse().unwrap(), last.parse().unwrap()));
        let expected: Vec<Element> = expected
            .iter()
            .map(|(key, ends_interval)| {
                let key = Value::from(key.parse::<IpAddr>().unwrap()).as_bytes().to_vec();
                Element { ends_interval: *ends_interval, ..Element::new(key) }
            })
            .collect();
        assert_eq!(intervals(ranges), expected);
    }

    #[test]
    fn ranges_that_touch_become_one() {
        check(&[("10.0.0.0", "10.0.0.255")], &[("10.0.0.0", false), ("10.0.1.0", true)]);
        check(
            &[("10.0.1.0", "10.0.1.255"), ("10.0.0.0", "10.0.0.255"), ("10.0.0.7", "10.0.0.9")],
            &[("10.0.0.0", false), ("10.0.2.0", true)],
        );
        check(&[("0.0.0.0", "255.255.255.255"), ("10.0.0.1", "10.0.0.2")], &[("0.0.0.0", false)]);
        check(&[("fd00::", "fd00::ffff")], &[("fd00::", false), ("fd00::1:0", true)]);
    }

    #[test]
    fn a_key_of_two_parts_is_as_nft_has_it() {
        let set = Set::new("s", &[KeyType::InterfaceIndex, KeyType::EtherAddress]);
        assert_eq!((set.key_type(), set.key_length()), (20 << 6 | 9, 12));
        assert_eq!(Set::new("s", &[KeyType::EtherAddress]).key_length(), 6);
    }
}
