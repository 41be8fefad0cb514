//! Networks and ranges of addresses, of both families, read strictly: a network has no host bits.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::text::{clip, text_form};

/// A network such as `10.0.0.0/16` or `fd00:1::/48`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cidr(IpNet);

/// Why a text is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    #[error("{0:?} is not a network: write for example \"10.0.0.0/16\" or \"fd00:1::/48\"")]
    Form(String),
    #[error("{given:?} has host bits set: write {meant:?}")]
    HostBits { given: String, meant: String },
}

text_form!(Cidr, 43, "^[0-9a-fA-F:.]+/[0-9]{1,3}$");

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let net = strict(text).ok_or_else(|| CidrError::Form(clip(text)))?;
        let meant = net.trunc();
        if meant == net {
            return Ok(Self(net));
        }
        Err(CidrError::HostBits { given: clip(text), meant: meant.to_string() })
    }
}

/// The standard library takes no leading zeros, which some programs take for octal numbers.
fn strict(text: &str) -> Option<IpNet> {
    let (address, length) = text.split_once('/')?;
    let plain = length.bytes().all(|b| b.is_ascii_digit()) && (length == "0" || !length.starts_with('0'));
    plain.then(|| IpNet::new(address.parse().ok()?, length.parse().ok()?).ok()).flatten()
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string())
    }
}

impl Cidr {
    /// The network of this length around an address.
    pub fn around(address: IpAddr, prefix_len: u8) -> Option<Self> {
        IpNet::new(address, prefix_len).ok().map(|net| Self(net.trunc()))
    }

    pub fn net(&self) -> IpNet {
        self.0
    }

    pub fn is_v4(&self) -> bool {
        matches!(self.0, IpNet::V4(_))
    }

    pub fn prefix_len(&self) -> u8 {
        self.0.prefix_len()
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// Whether `other` lies inside, or is the same.
    pub fn holds(&self, other: &Self) -> bool {
        self.0.contains(&other.0)
    }

    pub fn overlaps(&self, other: &Self) -> bool {
        self.holds(other) || other.holds(self)
    }

    /// All of its addresses, network and broadcast address with them.
    pub fn range(&self) -> AddressRange {
        AddressRange { first: self.0.network(), last: self.0.broadcast() }
    }

    /// The address that a guest has as its gateway: the first after the network's own.
    pub fn gateway(&self) -> IpAddr {
        self.range().nth(1).unwrap_or(self.0.addr())
    }

    /// The addresses that ports may have: not the network's own, the gateway's, the two after it, nor the last.
    /// EC2 keeps the same five; none are left in a network smaller than a /29.
    pub fn for_ports(&self) -> Option<AddressRange> {
        let all = self.range();
        let last = all.count().checked_sub(2)?;
        (last >= 4).then_some(())?;
        Some(AddressRange { first: all.nth(4)?, last: all.nth(last)? })
    }
}

/// Addresses from first to last, both included: `192.0.2.10-192.0.2.50`, a network, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AddressRange {
    first: IpAddr,
    last: IpAddr,
}

/// Why a text is not a range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    #[error("{0:?} is not a range: write for example \"192.0.2.10-192.0.2.50\" or \"192.0.2.0/24\"")]
    Form(String),
    #[error("{0:?} ends before it begins: exchange the two addresses")]
    Backwards(String),
    #[error(transparent)]
    Network(#[from] CidrError),
}

text_form!(AddressRange, 91, "^[0-9a-fA-F:.]+(/[0-9]{1,3}|-[0-9a-fA-F:.]+)?$");

impl FromStr for AddressRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        if text.contains('/') {
            return Ok(text.parse::<Cidr>()?.range());
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let address = |part: &str| part.trim().parse::<IpAddr>().map_err(|_| RangeError::Form(clip(text)));
        let (first, last) = (address(first)?, address(last)?);
        if first.is_ipv4() != last.is_ipv4() {
            return Err(RangeError::Form(clip(text)));
        }
        if last < first {
            return Err(RangeError::Backwards(clip(text)));
        }
        Ok(Self { first, last })
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return write!(f, "{}", self.first);
        }
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl AddressRange {
    pub fn first(&self) -> IpAddr {
        self.first
    }

    pub fn last(&self) -> IpAddr {
        self.last
    }

    pub fn is_v4(&self) -> bool {
        self.first.is_ipv4()
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.is_v4() && self.first <= address && address <= self.last
    }

    pub fn overlaps(&self, other: &Self) -> bool {
        self.is_v4() == other.is_v4() && self.first <= other.last && other.first <= self.last
    }

    /// How many addresses; the whole of IPv6 counts as one less than it has.
    pub fn count(&self) -> u128 {
        (number(self.last) - number(self.first)).saturating_add(1)
    }

    /// The address `n` after the first.
    pub fn nth(&self, n: u128) -> Option<IpAddr> {
        (n < self.count()).then_some(())?;
        let wanted = number(self.first).checked_add(n)?;
        Some(match self.first {
            IpAddr::V4(_) => IpAddr::from(u32::try_from(wanted).ok()?.to_be_bytes()),
            IpAddr::V6(_) => IpAddr::from(wanted.to_be_bytes()),
        })
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}
