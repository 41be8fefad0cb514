//! Rules: tests from left to right, then what to do. Each step compiles to the kernel's expressions at once.

use std::net::{IpAddr, SocketAddr};

use sys::netlink::Attributes;

use crate::field::Field;
use crate::numbers as n;
use crate::objects::{Family, Verdict};
use crate::value::Value;

/// Bits of [`Field::ConnectionState`].
pub mod states {
    pub const INVALID: u32 = 1;
    pub const ESTABLISHED: u32 = 2;
    pub const RELATED: u32 = 4;
    pub const NEW: u32 = 8;
    pub const UNTRACKED: u32 = 64;
}

/// Most bytes of a comment; user data holds 256 in all.
const COMMENT_MAX: usize = 128;

/// A rule, or the beginning of one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    expressions: Attributes,
    comment: String,
}

/// Tests; a packet that fails one leaves the rule.
impl Rule {
    pub fn new() -> Self {
        Self::default()
    }

    /// IPv4, in tables of [`Family::Inet`].
    #[must_use]
    pub fn ipv4(self) -> Self {
        self.equal(Field::Family, 2_u8)
    }

    /// IPv6, in tables of [`Family::Inet`].
    #[must_use]
    pub fn ipv6(self) -> Self {
        self.equal(Field::Family, 10_u8)
    }

    /// The packet came by a device with Ethernet addresses; its kind is a number in the host's order.
    #[must_use]
    pub fn by_ethernet(self) -> Self {
        self.load(Field::InputKind).compare(n::COMPARE_EQUAL, &1_u16.to_ne_bytes())
    }

    /// A transport protocol by its number.
    #[must_use]
    pub fn protocol(self, protocol: u8) -> Self {
        self.equal(Field::Protocol, protocol)
    }

    #[must_use]
    pub fn equal(self, field: Field, value: impl Into<Value>) -> Self {
        self.load(field).compare(n::COMPARE_EQUAL, value.into().as_bytes())
    }

    #[must_use]
    pub fn not_equal(self, field: Field, value: impl Into<Value>) -> Self {
        self.load(field).compare(n::COMPARE_NOT_EQUAL, value.into().as_bytes())
    }

    /// From and to, both included; for values in network order.
    #[must_use]
    pub fn between(self, field: Field, from: impl Into<Value>, to: impl Into<Value>) -> Self {
        self.load(field)
            .compare(n::COMPARE_AT_LEAST, from.into().as_bytes())
            .compare(n::COMPARE_AT_MOST, to.into().as_bytes())
    }

    /// At least one of these bits of a host's number.
    #[must_use]
    pub fn any_bit(self, field: Field, bits: u32) -> Self {
        self.load(field).mask(&bits.to_ne_bytes()).compare(n::COMPARE_NOT_EQUAL, &0_u32.to_ne_bytes())
    }

    /// The first `prefix` bits of an address field are those of `address`.
    #[must_use]
    pub fn in_network(self, field: Field, address: IpAddr, prefix: u8) -> Self {
        let value = Value::from(address);
        let mask = prefix_mask(value.as_bytes().len(), prefix);
        let network: Vec<u8> = value.as_bytes().iter().zip(&mask).map(|(byte, mask)| byte & mask).collect();
        match usize::from(prefix) {
            0 => self,
            bits if bits == mask.len() * 8 => self.load(field).compare(n::COMPARE_EQUAL, &network),
            _ => self.load(field).mask(&mask).compare(n::COMPARE_EQUAL, &network),
        }
    }

    /// The fields together are an element of the set.
    #[must_use]
    pub fn in_set(self, fields: &[Field], set: &str) -> Self {
        self.look_up(fields, Attributes::new().text(1, set))
    }

    #[must_use]
    pub fn not_in_set(self, fields: &[Field], set: &str) -> Self {
        self.look_up(fields, Attributes::new().text(1, set).put(5, number(1)))
    }

    /// No route leads back to the source by the device a packet came in by.
    #[must_use]
    pub fn no_way_back(self) -> Self {
        // Existence (32) of a route to the source (1) by the input device (8); the result is a device (1).
        let lookup =
            Attributes::new().put(1, number(n::REGISTER)).put(2, number(1)).put(3, number(1 | 8 | 32));
        self.then("fib", &lookup).compare(n::COMPARE_EQUAL, &[0; 4])
    }

    /// Passes what is beyond the rate, in bytes.
    #[must_use]
    pub fn over_rate(self, bytes_per_second: u64, burst_bytes: u32) -> Self {
        let limit = Attributes::new()
            .put(1, bytes_per_second.to_be_bytes())
            .put(2, 1_u64.to_be_bytes())
            .put(3, number(burst_bytes))
            .put(4, number(1))
            .put(5, number(1));
        self.then("limit", &limit)
    }

    /// Passes what is within the rate, in packets.
    #[must_use]
    pub fn within_rate(self, packets_per_second: u64, burst_packets: u32) -> Self {
        let limit = Attributes::new()
            .put(1, packets_per_second.to_be_bytes())
            .put(2, 1_u64.to_be_bytes())
            .put(3, number(burst_packets));
        self.then("limit", &limit)
    }
}

/// What to do.
impl Rule {
    #[must_use]
    pub fn verdict(self, verdict: &Verdict) -> Self {
        let load = Attributes::new().put(1, number(n::REGISTER_VERDICT)).nest(2, &verdict.data());
        self.then("immediate", &load)
    }

    #[must_use]
    pub fn accept(self) -> Self {
        self.verdict(&Verdict::Accept)
    }

    #[must_use]
    pub fn drop(self) -> Self {
        self.verdict(&Verdict::Drop)
    }

    #[must_use]
    pub fn jump(self, chain: &str) -> Self {
        self.verdict(&Verdict::Jump(chain.into()))
    }

    /// The verdict that a map has for the fields together; the rule ends when it has none.
    #[must_use]
    pub fn verdict_of(self, fields: &[Field], map: &str) -> Self {
        self.look_up(fields, Attributes::new().text(1, map).put(3, number(n::REGISTER_VERDICT)))
    }

    /// A number from 0 to below `modulus`, each in its turn, for [`Self::verdict_of`] without fields.
    #[must_use]
    pub fn number_in_turn(self, modulus: u32) -> Self {
        self.generate(modulus, 0)
    }

    /// The same, at random.
    #[must_use]
    pub fn number_at_random(self, modulus: u32) -> Self {
        self.generate(modulus, 1)
    }

    /// The same, and always the same for one value of the field. More than one number is needed.
    #[must_use]
    pub fn number_of(self, field: Field, modulus: u32) -> Self {
        let length = u32::try_from(field.length()).unwrap_or(0);
        let hash = Attributes::new()
            .put(1, number(n::REGISTER))
            .put(2, number(n::REGISTER))
            .put(3, number(length))
            .put(4, number(modulus))
            .put(5, number(0))
            .put(7, number(0));
        self.load(field).then("hash", &hash)
    }

    /// Counts; the count starts anew when the rule is written anew.
    #[must_use]
    pub fn counter(self) -> Self {
        self.then("counter", &Attributes::new())
    }

    #[must_use]
    pub fn set_mark(self, mark: u32) -> Self {
        let value = Attributes::new().put(n::DATA_VALUE, mark.to_ne_bytes());
        let load = Attributes::new().put(1, number(n::REGISTER)).nest(2, &value);
        self.then("immediate", &load).store_mark()
    }

    /// Sets the mark to a field of four bytes.
    #[must_use]
    pub fn copy_to_mark(self, field: Field) -> Self {
        self.load(field).store_mark()
    }

    /// The source becomes the address of the device a packet leaves by.
    #[must_use]
    pub fn masquerade(self) -> Self {
        self.then("masq", &Attributes::new())
    }

    /// The source becomes what a map has for `field`; the rule ends when it has nothing.
    #[must_use]
    pub fn source_from(self, family: Family, field: Field, map: &str) -> Self {
        self.look_up(&[field], Attributes::new().text(1, map).put(3, number(n::REGISTER)))
            .translate(0, family)
    }

    /// As [`Self::source_from`], for the destination.
    #[must_use]
    pub fn destination_from(self, family: Family, field: Field, map: &str) -> Self {
        self.look_up(&[field], Attributes::new().text(1, map).put(3, number(n::REGISTER)))
            .translate(1, family)
    }

    #[must_use]
    pub fn source_to(self, address: IpAddr) -> Self {
        self.load_address(address).translate(0, Family::of(address))
    }

    #[must_use]
    pub fn destination_to(self, address: IpAddr) -> Self {
        self.load_address(address).translate(1, Family::of(address))
    }

    /// The destination becomes this address and port.
    #[must_use]
    pub fn destination_to_port(self, to: SocketAddr) -> Self {
        // Behind the four registers of an IPv6 address.
        let register = n::REGISTER + 4;
        let port = Attributes::new().put(n::DATA_VALUE, to.port().to_be_bytes());
        let load = Attributes::new().put(1, number(register)).nest(2, &port);
        let nat = Attributes::new()
            .put(1, number(1))
            .put(2, number(u32::from(Family::of(to.ip()).number())))
            .put(3, number(n::REGISTER))
            .put(5, number(register));
        self.load_address(to.ip()).then("immediate", &load).then("nat", &nat)
    }

    /// Refuses with "administratively prohibited", in tables of [`Family::Inet`].
    #[must_use]
    pub fn reject(self) -> Self {
        self.then("reject", &Attributes::new().put(1, number(2)).put(2, [3]))
    }

    /// Hands a copy to whoever listens to this group (nfnetlink_log).
    #[must_use]
    pub fn log(self, group: u16, prefix: &str) -> Self {
        self.then("log", &Attributes::new().put(1, group.to_be_bytes()).text(2, prefix))
    }

    /// What `nft` shows behind the rule.
    #[must_use]
    pub fn comment(mut self, text: &str) -> Self {
        self.comment = text.chars().filter(|c| *c != '"' && !c.is_control()).take(COMMENT_MAX / 4).collect();
        self
    }
}

impl Rule {
    pub(crate) fn expressions(&self) -> &Attributes {
        &self.expressions
    }

    pub(crate) fn comment_text(&self) -> &str {
        &self.comment
    }

    /// Comment and digest, as the kernel keeps them for us.
    pub(crate) fn userdata(&self) -> Vec<u8> {
        let mut data = Vec::new();
        if !self.comment.is_empty() {
            let text = [self.comment.as_bytes(), &[0]].concat();
            data.extend([n::USERDATA_COMMENT, u8::try_from(text.len()).unwrap_or(0)]);
            data.extend(text);
        }
        data.extend([n::USERDATA_DIGEST, 16]);
        data.extend(self.digest());
        data
    }

    /// Equal for rules that do the same and say the same.
    pub fn digest(&self) -> [u8; 16] {
        digest(&[self.expressions.as_bytes(), self.comment.as_bytes()].concat())
    }

    fn then(mut self, name: &str, data: &Attributes) -> Self {
        self.expressions = self.expressions.and(&expression(name, data));
        self
    }

    fn load(mut self, field: Field) -> Self {
        self.expressions = self.expressions.and(&field.load(n::REGISTER));
        self
    }

    fn compare(self, operator: u32, value: &[u8]) -> Self {
        let value = Attributes::new().put(n::DATA_VALUE, value);
        let compare = Attributes::new().put(1, number(n::REGISTER)).put(2, number(operator)).nest(3, &value);
        self.then("cmp", &compare)
    }

    fn mask(self, mask: &[u8]) -> Self {
        let length = u32::try_from(mask.len()).unwrap_or(0);
        let bitwise = Attributes::new()
            .put(1, number(n::REGISTER))
            .put(2, number(n::REGISTER))
            .put(3, number(length))
            .nest(4, &Attributes::new().put(n::DATA_VALUE, mask))
            .nest(5, &Attributes::new().put(n::DATA_VALUE, vec![0; mask.len()]));
        self.then("bitwise", &bitwise)
    }

    fn look_up(mut self, fields: &[Field], lookup: Attributes) -> Self {
        let mut register = n::REGISTER;
        for field in fields {
            self.expressions = self.expressions.and(&field.load(register));
            register += u32::try_from(field.length().div_ceil(4)).unwrap_or(0);
        }
        self.then("lookup", &lookup.put(2, number(n::REGISTER)))
    }

    fn load_address(self, address: IpAddr) -> Self {
        let value = Attributes::new().put(n::DATA_VALUE, Value::from(address).as_bytes());
        self.then("immediate", &Attributes::new().put(1, number(n::REGISTER)).nest(2, &value))
    }

    /// Kind 0 counts, 1 draws.
    fn generate(self, modulus: u32, kind: u32) -> Self {
        let generator = Attributes::new()
            .put(1, number(n::REGISTER))
            .put(2, number(modulus))
            .put(3, number(kind))
            .put(4, number(0));
        self.then("numgen", &generator)
    }

    fn store_mark(self) -> Self {
        self.then("meta", &Attributes::new().put(2, number(3)).put(3, number(n::REGISTER)))
    }

    /// Kind 0 translates sources, 1 destinations.
    fn translate(self, kind: u32, family: Family) -> Self {
        let nat = Attributes::new()
            .put(1, number(kind))
            .put(2, number(u32::from(family.number())))
            .put(3, number(n::REGISTER));
        self.then("nat", &nat)
    }
}

pub(crate) fn expression(name: &str, data: &Attributes) -> Attributes {
    let whole = Attributes::new().text(n::EXPRESSION_NAME, name).nest(n::EXPRESSION_DATA, data);
    Attributes::new().nest(n::LIST_ELEMENT, &whole)
}

/// nf_tables writes its own numbers in network order.
pub(crate) fn number(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

fn prefix_mask(bytes: usize, prefix: u8) -> Vec<u8> {
    let bits = |byte: usize| usize::from(prefix).saturating_sub(byte * 8).min(8);
    (0..bytes).map(|byte| u8::try_from(0xff00_u16 >> bits(byte) & 0xff).unwrap_or(0xff)).collect()
}

/// FNV-1a of 128 bits: the same for ever, which the standard library's hashes do not promise.
fn digest(bytes: &[u8]) -> [u8; 16] {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_becomes_a_mask() {
        assert_eq!(prefix_mask(4, 0), [0, 0, 0, 0]);
        assert_eq!(prefix_mask(4, 12), [255, 240, 0, 0]);
        assert_eq!(prefix_mask(4, 32), [255; 4]);
        assert_eq!(prefix_mask(16, 9)[..3], [255, 128, 0]);
    }

    #[test]
    fn a_verdict_is_an_immediate_of_register_zero() {
        let expected: &[u8] = &[
            48, 0, 1, 128, // list element
            14, 0, 1, 0, b'i', b'm', b'm', b'e', b'd', b'i', b'a', b't', b'e', 0, 0, 0, //
            28, 0, 2, 128, // data of the expression
            8, 0, 1, 0, 0, 0, 0, 0, // register
            16, 0, 2, 128, // data to load
            12, 0, 2, 128, // verdict
            8, 0, 1, 0, 0, 0, 0, 1, // accept
        ];
        assert_eq!(Rule::new().accept().expressions().as_bytes(), expected);
    }

    #[test]
    fn the_digest_tells_rules_apart() {
        let one = Rule::new().equal(Field::InputDevice, 1_u32).accept();
        assert_eq!(one.digest(), one.clone().digest());
        assert_ne!(one.digest(), Rule::new().equal(Field::InputDevice, 2_u32).accept().digest());
        assert_ne!(one.digest(), one.clone().comment("why").digest());
    }
}
