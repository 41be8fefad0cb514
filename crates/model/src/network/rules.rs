//! Rules that several kinds of this group share.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Address, Cidr};
use crate::{FieldErrors, Name};

// serde's skip_serializing_if hands out a reference.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A name of another object that has to be given.
pub(super) fn require_name(field: &str, name: &str, what: &str, errors: &mut FieldErrors) {
    if name.is_empty() {
        errors.push(field, format!("must name {what}"));
    } else {
        check_name(field, name, errors);
    }
}

/// A name of another object, where one is given.
pub(super) fn check_name(field: &str, name: &str, errors: &mut FieldErrors) {
    if let (false, Err(e)) = (name.is_empty(), Name::new(name)) {
        errors.push(field, e.to_string());
    }
}

/// A list of names of other objects: each once, and not too many.
pub(super) fn check_names(field: &str, names: &[String], max: usize, errors: &mut FieldErrors) {
    if names.len() > max {
        errors.push(field, format!("has {} entries, at most {max} are allowed", names.len()));
    }
    let mut seen = BTreeSet::new();
    for (i, name) in names.iter().enumerate() {
        let at = format!("{field}[{i}]");
        require_name(&at, name, "an object", errors);
        if !seen.insert(name) {
            errors.push(at, format!("{name:?} is named twice; once is enough"));
        }
    }
}

pub(super) fn at_most<T>(field: &str, items: &[T], max: usize, errors: &mut FieldErrors) {
    if items.len() > max {
        errors.push(field, format!("has {} entries, at most {max} are allowed", items.len()));
    }
}

/// An address that a guest may have: not loopback, link-local, multicast or unspecified.
pub(super) fn check_address(field: &str, address: Address, errors: &mut FieldErrors) {
    errors.require(
        is_ordinary(address.0),
        field,
        "must be an address of one machine: not loopback, link-local, multicast or unspecified",
    );
}

/// A network of addresses that guests may have.
pub(super) fn check_network(field: &str, cidr: &Cidr, lengths: (u8, u8), errors: &mut FieldErrors) {
    let (shortest, longest) = lengths;
    if !(shortest..=longest).contains(&cidr.prefix_len()) {
        errors.push(field, format!("{cidr} must be a /{shortest} to a /{longest}"));
    }
    let range = cidr.range();
    errors.require(
        is_ordinary(range.first()) && is_ordinary(range.last()),
        field,
        "must hold addresses of machines: not loopback, link-local, multicast or unspecified",
    );
}

fn is_ordinary(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let first = v4.octets()[0];
            first != 0 && first < 224 && !v4.is_loopback() && !v4.is_link_local()
        }
        IpAddr::V6(v6) => {
            let first = v6.segments()[0];
            // Global unicast (2000::/3) and unique local (fc00::/7), by RFC 4291 and RFC 4193.
            (first & 0xe000) == 0x2000 || (first & 0xfe00) == 0xfc00
        }
    }
}
