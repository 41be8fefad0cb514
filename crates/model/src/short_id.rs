//! Ids such as `i-0123456789abcdef0`, for protocols that know objects by them.

use crate::ObjectMeta;

/// The one region of a cloud, where a protocol has regions. Terraform takes for a region what begins with two letters and
/// ends with a number.
pub const REGION: &str = "my-corten-1";
/// The zone that every cloud begins with.
const DEFAULT_ZONE: &str = "default";

/// A zone's name beside its region's: `my-corten-1a` for the one that every cloud begins with, else `my-corten-1-NAME`.
pub fn zone_in_region(zone: &str) -> String {
    match zone {
        "" | DEFAULT_ZONE => format!("{REGION}a"),
        other => format!("{REGION}-{other}"),
    }
}

/// Digits of an id after its prefix.
const DIGITS: usize = 17;

/// The id of an object: its name where that has the form of one, else the first 17 hexadecimal digits of its uid.
/// Objects made through such a protocol are named by their id, so that they are found at once and have one name
/// everywhere.
pub fn short_id(prefix: &str, meta: &ObjectMeta) -> String {
    if is_short_id(prefix, &meta.name) {
        return meta.name.clone();
    }
    let digits: String = meta.uid.as_str().chars().filter(char::is_ascii_hexdigit).take(DIGITS).collect();
    format!("{prefix}-{digits}")
}

/// Whether a text is the prefix, `-` and 17 hexadecimal digits in lower case.
pub fn is_short_id(prefix: &str, text: &str) -> bool {
    let digits = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-'));
    let plain = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    digits.is_some_and(|digits| digits.len() == DIGITS && digits.bytes().all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Uid;

    #[test]
    fn a_name_that_is_an_id_stays_and_others_get_that_of_their_uid() {
        let meta = |name: &str| ObjectMeta {
            uid: Uid::parse("0123abcd-4567-89ab-cdef-0123456789ab").expect("a uid"),
            ..ObjectMeta::named(name)
        };
        let check = |name: &str, expected: &str| assert_eq!(short_id("i", &meta(name)), expected, "{name}");
        check("web", "i-0123abcd456789abc");
        check("i-00000000000000001", "i-00000000000000001");
        check("i-0000000000000000", "i-0123abcd456789abc");
        check("vpc-00000000000000001", "i-0123abcd456789abc");
        assert_eq!(short_id("vpc", &meta("vpc-00000000000000001")), "vpc-00000000000000001");
    }
}
