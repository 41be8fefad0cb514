//! Names and unique ids, parsed once at the edge. A name is an RFC 1123 label sequence, so it can stand in a
//! URL, a store key, a file name and a host name without escaping.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Longest name accepted, in bytes (a DNS name's limit).
const NAME_MAX: usize = 253;
/// Longest part between dots, in bytes (a DNS label's limit).
const LABEL_MAX: usize = 63;

/// The name of an object: lower-case letters, digits, `-` and `.`; starts and ends with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<str>);

/// Why a string is not a [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{given:?} is not a valid name: use 1 to 253 lower-case letters, digits, '-' and '.', \
     each part between dots 1 to 63 long, starting and ending with a letter or digit"
)]
pub struct NameError {
    given: String,
}

impl Name {
    pub fn new(text: impl AsRef<str>) -> Result<Self, NameError> {
        let text = text.as_ref();
        if text.len() <= NAME_MAX && text.split('.').all(is_label) {
            Ok(Self(text.into()))
        } else {
            Err(NameError { given: text.chars().take(80).collect() })
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    bytes.len() <= LABEL_MAX
        && *first != b'-'
        && *last != b'-'
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

impl FromStr for Name {
    type Err = NameError;
    fn from_str(s: &str) -> Result<Self, NameError> {
        Self::new(s)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        &*self.0 == *other
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::new(Cow::<str>::deserialize(d)?).map_err(de::Error::custom)
    }
}

impl JsonSchema for Name {
    fn schema_name() -> Cow<'static, str> {
        "Name".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": NAME_MAX, "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$" })
    }
}

/// The identity of one object for all time: a new object under an old name has a new uid (RFC 4122 text).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Uid(String);

/// Empty stands for unset. Anything else goes through [`Uid::parse`], since it becomes part of file names.
impl<'de> Deserialize<'de> for Uid {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(d)?;
        if text.is_empty() {
            return Ok(Self::default());
        }
        let error = || {
            let given: String = text.chars().take(80).collect();
            de::Error::custom(format!("{given:?} is not a uid: use 1 to 64 hexadecimal digits and '-'"))
        };
        Self::parse(&text).ok_or_else(error)
    }
}

impl Uid {
    /// Parses a uid. Only hexadecimal digits and `-`, at most 64 long: it becomes part of file and cgroup names.
    pub fn parse(text: &str) -> Option<Self> {
        let ok = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
        ok.then(|| Self(text.to_ascii_lowercase()))
    }

    /// A uid from 16 random bytes the caller supplies (the model itself has no randomness).
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid().to_string())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_unset(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
