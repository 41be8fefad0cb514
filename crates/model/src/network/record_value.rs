//! What one answer of a DnsRecord says, out of its text in the form of a zone file (RFC 1035, section 5).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::RecordType;
use super::text::clip;

/// Most bytes of one piece of text (RFC 1035, section 3.3).
const TEXT_MAX: usize = 255;

/// An answer, parsed. Names are full ones, without the dot at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordValue {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Cname(String),
    Ptr(String),
    Ns(String),
    Txt(Vec<String>),
    Mx { preference: u16, exchange: String },
    Srv { priority: u16, weight: u16, port: u16, target: String },
    Caa { flags: u8, tag: String, value: String },
}

impl RecordValue {
    /// Reads `text` as an answer of that type; the error says what it should look like.
    pub fn parse(record_type: RecordType, text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let wrong = |form: &str| format!("{:?} is not {form}", clip(text));
        match record_type {
            RecordType::A => text.parse().map(Self::A).map_err(|_| wrong("an IPv4 address")),
            RecordType::Aaaa => text.parse().map(Self::Aaaa).map_err(|_| wrong("an IPv6 address")),
            RecordType::Cname => name(text).map(Self::Cname).ok_or_else(|| wrong(NAME)),
            RecordType::Ptr => name(text).map(Self::Ptr).ok_or_else(|| wrong(NAME)),
            RecordType::Ns => name(text).map(Self::Ns).ok_or_else(|| wrong(NAME)),
            RecordType::Txt => pieces(text)
                .map(Self::Txt)
                .ok_or_else(|| wrong("text, or pieces of text in double quotes, each of at most 255 bytes")),
            RecordType::Mx => {
                mx(&words).ok_or_else(|| wrong("a preference and a host, as in 10 mail.example.org"))
            }
            RecordType::Srv => {
                let form = "priority, weight, port and host, as in 0 5 5060 sip.example.org";
                srv(&words).ok_or_else(|| wrong(form))
            }
            RecordType::Caa => {
                caa(text).ok_or_else(|| wrong("flags, tag and value, as in 0 issue \"ca.example.org\""))
            }
        }
    }
}

const NAME: &str = "a full domain name, as in www.example.org";

fn mx(words: &[&str]) -> Option<RecordValue> {
    let [preference, exchange] = words else { return None };
    Some(RecordValue::Mx { preference: preference.parse().ok()?, exchange: name(exchange)? })
}

fn srv(words: &[&str]) -> Option<RecordValue> {
    let [priority, weight, port, target] = words else { return None };
    Some(RecordValue::Srv {
        priority: priority.parse().ok()?,
        weight: weight.parse().ok()?,
        port: port.parse().ok()?,
        target: name(target)?,
    })
}

fn caa(text: &str) -> Option<RecordValue> {
    let mut words = text.splitn(3, ' ');
    let flags = words.next()?.parse().ok()?;
    let tag = words.next().filter(|tag| !tag.is_empty() && tag.bytes().all(|b| b.is_ascii_alphanumeric()))?;
    let mut value = pieces(words.next()?)?;
    let (Some(value), true) = (value.pop(), value.is_empty()) else { return None };
    Some(RecordValue::Caa { flags, tag: tag.to_owned(), value })
}

/// A name of at least one label; labels may begin with an underscore (RFC 8552).
fn name(text: &str) -> Option<String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(plain) && !label.starts_with('-')
    };
    (text.len() <= 253 && text.split('.').all(is_label)).then(|| text.to_ascii_lowercase())
}

/// `"one" "two"`, with `\"` and `\\` inside; or plain text, which is one piece and cut where it is too long.
fn pieces(text: &str) -> Option<Vec<String>> {
    if !text.starts_with('"') {
        let mut pieces = vec![String::new()];
        for c in text.chars() {
            if pieces.last().is_some_and(|piece| piece.len() + c.len_utf8() > TEXT_MAX) {
                pieces.push(String::new());
            }
            pieces.last_mut()?.push(c);
        }
        return Some(pieces);
    }
    let mut pieces = Vec::new();
    let mut rest = text.chars();
    while !rest.as_str().trim().is_empty() {
        let opening = rest.by_ref().find(|c| !c.is_ascii_whitespace())?;
        if opening != '"' {
            return None;
        }
        pieces.push(quoted(&mut rest)?);
    }
    pieces.iter().all(|piece| piece.len() <= TEXT_MAX).then_some(pieces)
}

/// Up to the closing quote.
fn quoted(rest: &mut std::str::Chars<'_>) -> Option<String> {
    let mut piece = String::new();
    loop {
        match rest.next()? {
            '"' => return Some(piece),
            '\\' => piece.push(rest.next()?),
            c => piece.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(record_type: RecordType, text: &str) -> RecordValue {
        RecordValue::parse(record_type, text).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn answers_in_the_form_of_zone_files() {
        let host = || "mail.example.org".to_owned();
        assert_eq!(read(RecordType::Cname, "Mail.example.org."), RecordValue::Cname(host()));
        assert_eq!(
            read(RecordType::Mx, "10  mail.example.org"),
            RecordValue::Mx { preference: 10, exchange: host() }
        );
        assert_eq!(
            read(RecordType::Srv, "0 5 5060 mail.example.org."),
            RecordValue::Srv { priority: 0, weight: 5, port: 5060, target: host() }
        );
        assert_eq!(
            read(RecordType::Caa, "0 issue \"ca.example.org\""),
            RecordValue::Caa { flags: 0, tag: "issue".into(), value: "ca.example.org".into() }
        );
    }

    #[test]
    fn text_in_pieces() {
        let text = |text: &str| match read(RecordType::Txt, text) {
            RecordValue::Txt(pieces) => pieces,
            other => panic!("{other:?}"),
        };
        assert_eq!(text("v=spf1 -all"), ["v=spf1 -all"]);
        assert_eq!(text(r#""a b" "c\"d" "#), ["a b", "c\"d"]);
        let long: Vec<usize> = text(&"x".repeat(300)).iter().map(String::len).collect();
        assert_eq!(long, [255, 45]);
    }

    #[test]
    fn what_cannot_be_an_answer_says_what_can() {
        for (record_type, text, form) in [
            (RecordType::A, "10.0.0", "an IPv4 address"),
            (RecordType::Mx, "mail.example.org", "a preference"),
            (RecordType::Srv, "0 5 70000 a.b", "priority"),
            (RecordType::Cname, "two words", "a full domain name"),
            (RecordType::Txt, "\"open", "double quotes"),
            (RecordType::Txt, "\"a\" b", "double quotes"),
            (RecordType::Caa, "0 issue", "flags"),
        ] {
            let said = RecordValue::parse(record_type, text).unwrap_err();
            assert!(said.contains(form), "{text}: {said}");
        }
    }
}
