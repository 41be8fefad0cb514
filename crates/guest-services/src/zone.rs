//! A private DNS zone as data: names and their records, and finding them. Knows no message.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::Name;

/// Most bytes of a name in text (RFC 1035: 255 on the wire).
const NAME_MAX: usize = 253;

/// A zone: every name that ends in its own, and nothing else is said about those.
#[derive(Debug, Clone, Default)]
pub struct Zone {
    name: String,
    nodes: HashMap<String, Vec<Entry>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) ttl: u32,
    pub(crate) data: RecordData,
}

/// What a record says. Names are absolute, with or without the dot at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordData {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Cname(String),
    Ptr(String),
    Txt(Vec<String>),
    Mx {
        preference: u16,
        exchange: String,
    },
    Srv {
        priority: u16,
        weight: u16,
        port: u16,
        target: String,
    },
    Ns(String),
    /// RFC 8659.
    Caa {
        flags: u8,
        tag: String,
        value: String,
    },
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ZoneError {
    #[error(
        "{0:?} is not a domain name: use labels of 1 to 63 letters, digits, '-' and '_' with dots between"
    )]
    Name(String),
    #[error("{name:?} is not in the zone {zone:?}: give names in full")]
    Outside { name: String, zone: String },
    #[error("a text of {0} bytes is too long for a record: split it into pieces of at most 255")]
    Text(usize),
    #[error("{0:?} has an alias: no other record may stand beside it")]
    BesideAlias(String),
}

impl Zone {
    pub fn new(name: &str) -> Result<Self, ZoneError> {
        let name = normal(name)?;
        Ok(Self { nodes: HashMap::from([(name.clone(), Vec::new())]), name })
    }

    /// Lower case, without the dot at the end.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds a record under a full name; `*` as its first label stands for every name that is not there.
    pub fn insert(&mut self, name: &str, ttl: u32, data: RecordData) -> Result<(), ZoneError> {
        let name = normal(name)?;
        if !self.holds(&name) {
            return Err(ZoneError::Outside { name, zone: self.name.clone() });
        }
        data.check()?;
        let entries = self.nodes.entry(name.clone()).or_default();
        let entry = Entry { ttl, data };
        if entries.contains(&entry) {
            return Ok(());
        }
        let has_alias = entries.iter().any(|e| matches!(e.data, RecordData::Cname(_)));
        if has_alias || (matches!(entry.data, RecordData::Cname(_)) && !entries.is_empty()) {
            return Err(ZoneError::BesideAlias(name));
        }
        entries.push(entry);
        // Names between this one and the zone's own exist too, with nothing at them (RFC 4592, section 2.2.2).
        let mut rest = name.as_str();
        while let Some((_, parent)) = rest.split_once('.').filter(|_| rest != self.name) {
            if !self.holds(parent) {
                break;
            }
            self.nodes.entry(parent.to_owned()).or_default();
            rest = parent;
        }
        Ok(())
    }

    /// Whether `name` (lower case, no dot at the end) is this zone's to answer.
    pub(crate) fn holds(&self, name: &str) -> bool {
        name.strip_suffix(self.name.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }

    /// The records at `name`, or at the wildcard that stands for it; `None`: there is no such name.
    pub(crate) fn find(&self, name: &str) -> Option<&[Entry]> {
        if let Some(entries) = self.nodes.get(name) {
            return Some(entries);
        }
        let mut rest = name;
        while let Some((_, parent)) = rest.split_once('.') {
            if let Some(entries) = self.nodes.get(&format!("*.{parent}")) {
                return Some(entries);
            }
            // The closest name that exists decides whether there is a wildcard (RFC 4592, section 3.3.1).
            if self.nodes.contains_key(parent) || !self.holds(parent) {
                return None;
            }
            rest = parent;
        }
        None
    }
}

impl RecordData {
    fn check(&self) -> Result<(), ZoneError> {
        match self {
            Self::A(_) | Self::Aaaa(_) => Ok(()),
            Self::Cname(name) | Self::Ptr(name) | Self::Ns(name) => normal(name).map(drop),
            Self::Mx { exchange, .. } => normal(exchange).map(drop),
            Self::Srv { target, .. } => normal(target).map(drop),
            Self::Caa { tag, value, .. } => match tag.len().max(value.len()) {
                long @ 256.. => Err(ZoneError::Text(long)),
                _ => Ok(()),
            },
            Self::Txt(pieces) => match pieces.iter().find(|piece| piece.len() > 255) {
                Some(long) => Err(ZoneError::Text(long.len())),
                None => Ok(()),
            },
        }
    }
}

/// Lower case, no dot at the end.
fn normal(name: &str) -> Result<String, ZoneError> {
    let text = name.trim_end_matches('.').to_ascii_lowercase();
    let is_label = |label: &str| {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        let is_word = label.bytes().all(is_plain) && !label.starts_with('-');
        (1..=63).contains(&label.len()) && (label == "*" || is_word)
    };
    let ok = text.len() <= NAME_MAX && text.split('.').all(is_label);
    if ok { Ok(text) } else { Err(ZoneError::Name(name.chars().take(80).collect())) }
}

/// A name for a message. What [`Zone::insert`] let in always parses.
pub(crate) fn absolute(name: &str) -> Option<Name> {
    let mut name = Name::from_ascii(name).ok()?;
    name.set_fqdn(true);
    Some(name)
}
