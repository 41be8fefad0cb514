//! Single addresses: of the network layer, and of a network card.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::text::{clip, text_form};

/// An IPv4 or IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(pub IpAddr);

/// The six bytes of a network card's own address (IEEE 802).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac([u8; 6]);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address: write for example \"10.0.0.7\" or \"fd00:1::7\"")]
pub struct AddressError(String);

/// Why a text is not the address of a network card.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MacError {
    #[error("{0:?} is not a network card's address: write six pairs of digits, as in \"02:00:5e:10:00:07\"")]
    Form(String),
    #[error(
        "{0:?} is an address of many (its first byte is odd) or of none: give a card an address of its own"
    )]
    NotUnicast(String),
}

text_form!(Address, 45, "^[0-9a-fA-F:.]+$");
text_form!(Mac, 17, "^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$");

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        text.parse().map(Self).map_err(|_| AddressError(clip(text)))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let byte = |pair: &str| {
            let digits = pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit());
            digits.then(|| u8::from_str_radix(pair, 16).ok()).flatten()
        };
        let bytes: Option<Vec<u8>> = text.split(':').map(byte).collect();
        let bytes: [u8; 6] =
            bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| MacError::Form(clip(text)))?;
        if bytes[0] & 1 == 1 || bytes == [0; 6] {
            return Err(MacError::NotUnicast(clip(text)));
        }
        Ok(Self(bytes))
    }
}

impl Mac {
    /// A locally administered address out of random bytes that the caller supplies.
    pub fn from_random(bytes: [u8; 5]) -> Self {
        let mut own = [0x02; 6];
        own[1..].copy_from_slice(&bytes);
        Self(own)
    }

    pub fn bytes(&self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if i == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}
