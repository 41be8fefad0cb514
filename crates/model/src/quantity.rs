//! Amounts with units: CPU in thousandths of a core, memory and disk in bytes. Text forms are those of
//! Kubernetes (`500m`, `2`, `256Mi`, `10G`), so that manifests read as people expect.

use std::borrow::Cow;
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub, SubAssign};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not an amount of {what}: write for example {example}")]
pub struct QuantityError {
    given: String,
    what: &'static str,
    example: &'static str,
}

/// CPU time, in thousandths of one core.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuMillis(pub u64);

/// Memory or storage, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

/// What an instance asks for, or a host offers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    /// CPU cores, e.g. `2` or `500m`.
    pub cpu: CpuMillis,
    /// Memory, e.g. `512Mi`.
    pub memory: Bytes,
    /// Local disk, e.g. `10Gi`.
    #[serde(skip_serializing_if = "Bytes::is_zero")]
    pub disk: Bytes,
}

impl Resources {
    pub const ZERO: Self = Self { cpu: CpuMillis(0), memory: Bytes(0), disk: Bytes(0) };

    pub fn fits_in(&self, room: &Self) -> bool {
        self.cpu <= room.cpu && self.memory <= room.memory && self.disk <= room.disk
    }
}

impl CpuMillis {
    pub const fn cores(n: u64) -> Self {
        Self(n * 1000)
    }

    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let error = || QuantityError { given: clip(text), what: "cpu", example: "\"500m\" or \"2\"" };
        if let Some(milli) = text.strip_suffix('m') {
            return scaled(milli, 1).filter(|_| !milli.contains('.')).map(Self).ok_or_else(error);
        }
        scaled(text, 1000).map(Self).ok_or_else(error)
    }

    /// Whole cores, rounded up.
    pub fn ceil_cores(self) -> u64 {
        self.0.div_ceil(1000)
    }
}

impl Bytes {
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }
    pub const fn gib(n: u64) -> Self {
        Self(n << 30)
    }

    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let error = || QuantityError { given: clip(text), what: "bytes", example: "\"256Mi\" or \"10Gi\"" };
        let (number, unit) = UNITS
            .iter()
            .find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|number| (number, *unit)))
            .unwrap_or((text, 1));
        scaled(number, unit).map(Self).ok_or_else(error)
    }

    pub fn as_mib(self) -> u64 {
        self.0 >> 20
    }

    // serde's skip_serializing_if hands out a reference.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    pub fn is_zero(&self) -> bool {
        self.0 == 0
    }
}

/// Suffixes, longest first, with their factors.
const UNITS: [(&str, u64); 10] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
];

/// `text` (digits with an optional fraction) times `factor`, exactly, or nothing when it is no such number.
fn scaled(text: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() || fraction.len() > 9 || !text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    let mut total = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    if !fraction.is_empty() {
        let digits = u128::from(fraction.parse::<u64>().ok()?);
        let part = digits * u128::from(factor) / 10_u128.pow(u32::try_from(fraction.len()).ok()?);
        total = total.checked_add(u64::try_from(part).ok()?)?;
    }
    Some(total)
}

fn clip(text: &str) -> String {
    text.chars().take(40).collect()
}

impl fmt::Display for CpuMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1000) { write!(f, "{}", self.0 / 1000) } else { write!(f, "{}m", self.0) }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS[..5].iter().rev().find(|(_, unit)| self.0 > 0 && self.0.is_multiple_of(*unit));
        match unit {
            Some((suffix, unit)) => write!(f, "{}{suffix}", self.0 / unit),
            None => write!(f, "{}", self.0),
        }
    }
}

macro_rules! quantity {
    ($type:ident, $name:literal, $doc:literal) => {
        impl Add for $type {
            type Output = Self;
            fn add(self, o: Self) -> Self {
                Self(self.0.saturating_add(o.0))
            }
        }
        impl Sub for $type {
            type Output = Self;
            /// Saturates at zero: an overdrawn host has no room, not a negative amount of it.
            fn sub(self, o: Self) -> Self {
                Self(self.0.saturating_sub(o.0))
            }
        }
        impl AddAssign for $type {
            fn add_assign(&mut self, o: Self) {
                *self = *self + o;
            }
        }
        impl SubAssign for $type {
            fn sub_assign(&mut self, o: Self) {
                *self = *self - o;
            }
        }
        impl Sum for $type {
            fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
                items.fold(Self(0), Add::add)
            }
        }
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                d.deserialize_any(Amount(Self::parse))
            }
        }
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "x-kubernetes-int-or-string": true, "description": $doc })
            }
        }
    };
}
quantity!(CpuMillis, "Cpu", "CPU cores, e.g. \"500m\" or 2");
quantity!(Bytes, "Bytes", "An amount of bytes, e.g. \"256Mi\"");

/// Reads an amount from a text or a number with its parser. By hand, because every object has amounts and an
/// untagged enum would build an error for each text before it takes it.
struct Amount<T>(fn(&str) -> Result<T, QuantityError>);

impl<T> Visitor<'_> for Amount<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an amount as a text or a number")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

impl Add for Resources {
    type Output = Self;
    fn add(self, o: Self) -> Self {
        Self { cpu: self.cpu + o.cpu, memory: self.memory + o.memory, disk: self.disk + o.disk }
    }
}

impl Sub for Resources {
    type Output = Self;
    fn sub(self, o: Self) -> Self {
        Self { cpu: self.cpu - o.cpu, memory: self.memory - o.memory, disk: self.disk - o.disk }
    }
}

impl AddAssign for Resources {
    fn add_assign(&mut self, o: Self) {
        *self = *self + o;
    }
}

impl SubAssign for Resources {
    fn sub_assign(&mut self, o: Self) {
        *self = *self - o;
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cpu, {} memory", self.cpu, self.memory)?;
        if self.disk.0 > 0 {
            write!(f, ", {} disk", self.disk)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_from_texts_and_numbers() {
        let check = |json: &str, expected: &str| {
            let found =
                serde_json::from_str::<Resources>(json).map(|r| format!("{} {}", r.cpu.0, r.memory.0));
            assert_eq!(found.unwrap_or_else(|e| e.to_string()), expected, "{json}");
        };
        check(r#"{"cpu":"500m","memory":"1Ki"}"#, "500 1024");
        check(r#"{"cpu":2,"memory":2048}"#, "2000 2048");
        check(r#"{"cpu":1.5,"memory":"1.5Ki"}"#, "1500 1536");
        check(
            r#"{"cpu":-1}"#,
            r#""-1" is not an amount of cpu: write for example "500m" or "2" at line 1 column 9"#,
        );
        check(
            r#"{"memory":true}"#,
            "invalid type: boolean `true`, expected an amount as a text or a number at line 1 column 14",
        );
    }
}
