//! The canonical form of a request: what both sides make of it before they sign. Each part is written in one way only,
//! and what cannot be written so is refused.

use super::presented::SignatureError;

/// A query's pairs, decoded. `+` is a plus: whoever reads the parameters reads them here, so nothing is read in another
/// way than it was signed.
pub(super) fn query_pairs(query: &str) -> Result<Vec<(String, String)>, SignatureError> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(key)?, decode(value)?))
        })
        .collect()
}

/// The pairs encoded and in order. `except` is left out.
pub(super) fn query(pairs: &[(String, String)], except: &str) -> String {
    let own = pairs.iter().filter(|(key, _)| key != except);
    let mut encoded: Vec<(String, String)> =
        own.map(|(key, value)| (encode(key.as_bytes(), false), encode(value.as_bytes(), false))).collect();
    encoded.sort_unstable();
    let mut out = String::new();
    for (key, value) in encoded {
        if !out.is_empty() {
            out.push('&');
        }
        out.push_str(&key);
        out.push('=');
        out.push_str(&value);
    }
    out
}

/// The path without `.`, `..` and double slashes (RFC 3986, 6.2.2), and encoded once more: that is the rule for every
/// service but S3.
pub(super) fn path(raw: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in raw.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            other => kept.push(other),
        }
    }
    let mut out = String::from("/");
    out.push_str(&encode(kept.join("/").as_bytes(), true));
    if raw.len() > 1
        && !kept.is_empty()
        && (raw.ends_with('/') || raw.ends_with("/.") || raw.ends_with("/.."))
    {
        out.push('/');
    }
    out
}

/// A header's value with spaces folded: none at the ends, one between words.
pub(super) fn header_value(raw: &[u8], out: &mut Vec<u8>) {
    let words = raw.split(|b| *b == b' ' || *b == b'\t').filter(|word| !word.is_empty());
    for (i, word) in words.enumerate() {
        if i > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(word);
    }
}

/// Everything but RFC 3986's unreserved characters as `%XX`.
pub(super) fn encode(bytes: &[u8], keep_slash: bool) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
        if plain || (keep_slash && *byte == b'/') {
            out.push(char::from(*byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
    out
}

fn decode(text: &str) -> Result<String, SignatureError> {
    let bad = || SignatureError::Incomplete("the query string has an escape that is none".into());
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut nibble =
            || bytes.next().and_then(|b| char::from(b).to_digit(16)).and_then(|n| u8::try_from(n).ok());
        let (high, low) = (nibble().ok_or_else(bad)?, nibble().ok_or_else(bad)?);
        out.push(high << 4 | low);
    }
    String::from_utf8(out).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_in_one_way() {
        for (raw, expected) in [
            ("/", "/"),
            ("", "/"),
            ("//", "/"),
            ("/./", "/"),
            ("/..", "/"),
            ("/a/../b", "/b"),
            ("/a/./b/", "/a/b/"),
            ("/a//b//", "/a/b/"),
            ("/a b", "/a%20b"),
            ("/%41", "/%2541"),
            ("/-_.~", "/-_.~"),
        ] {
            assert_eq!(path(raw), expected, "{raw}");
        }
    }

    #[test]
    fn queries_are_sorted_as_they_are_written() {
        for (raw, expected) in [
            ("", ""),
            ("&&", ""),
            ("b=2&a=1", "a=1&b=2"),
            ("a=2&a=1&a", "a=&a=1&a=2"),
            ("a+b=c+d", "a%2Bb=c%2Bd"),
            ("%61=%31", "a=1"),
            ("%C3%A4=1&z=2", "%C3%A4=1&z=2"),
        ] {
            assert_eq!(query(&query_pairs(raw).expect(raw), ""), expected, "{raw}");
        }
        for wrong in ["a=%", "a=%4", "a=%zz", "%ff=1", "a=%C3"] {
            assert!(query_pairs(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn spaces_are_folded() {
        let check = |raw: &str, expected: &str| {
            let mut out = Vec::new();
            header_value(raw.as_bytes(), &mut out);
            assert_eq!(out, expected.as_bytes(), "{raw:?}");
        };
        check("  a   b\t c  ", "a b c");
        check("", "");
        check("\"a   b\"", "\"a b\"");
    }
}
