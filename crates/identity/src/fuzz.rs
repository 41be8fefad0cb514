//! What fuzzers feed: one function for each thing that strangers write and this crate reads. Each holds what came out
//! against a law and panics where it is broken. `fuzz/` beside this crate's code has the inputs that are worth keeping;
//! they are tried with every test run.

#[allow(dead_code)] // The suite makes more of it.
#[path = "../tests/suite/signer.rs"]
mod signer;

#[cfg(test)]
#[path = "../../../fuzz/corpus.rs"]
mod corpus;

use std::fmt::Write;

use model::Timestamp;

use crate::Secret;
use crate::aws::{Message, Presented};
use crate::iam::{Document, Facts, Names, Permissions, Resource, Verdict};
use signer::{Draft, SECRET};

/// 2015-08-30T12:36:00Z, when drafts are signed.
const NOW: Timestamp = Timestamp(1_440_938_160_000);
const ALL: &str = r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
const NONE: &str = r#"{"Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}"#;

/// A policy and a question: the action, the resource (some of them after a `~`) and facts, a line each; an empty line;
/// the document.
///
/// # Panics
///
/// Where a law of decisions is broken.
pub fn policy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (question, document) = text.split_once("\n\n").unwrap_or(("ec2:RunInstances\n*", text));
    let mut lines = question.lines();
    let (action, resource) = (lines.next().unwrap_or(""), lines.next().unwrap_or("*"));
    let mut facts = Facts::default();
    for line in lines {
        match line.split_once('=') {
            Some((key, value)) => facts.set(key, value),
            None => facts.knows(line),
        };
    }
    let resource = match resource.strip_prefix('~') {
        Some(some) => Resource::SomeOf(some.to_owned()),
        None => Resource::One(resource.to_owned()),
    };
    trusted(document, action, &facts);
    let Ok(read) = Document::policy(document) else { return };
    let _ = read.resources();
    let own = Permissions::of(vec![("own".into(), read.clone())]);
    let fixed = |text: &str| Document::policy(text).expect("invariant: it is a policy");
    let decide = |permissions: &Permissions, facts: &Facts| permissions.decide(action, &resource, facts);
    let verdict = decide(&own, &facts);
    let denied = decide(&own.clone().and("none", fixed(NONE)), &facts);
    assert!(matches!(denied, Verdict::Denied { .. }), "a denial wins: {denied:?}");
    let raised = decide(&own.clone().and("all", fixed(ALL)), &facts);
    let was_denied = matches!(verdict, Verdict::Denied { .. });
    assert_eq!(was_denied, matches!(raised, Verdict::Denied { .. }), "an allowance lifts no denial");
    assert!(was_denied || raised.is_allowed(), "what is not denied can be allowed: {raised:?}");
    let bounded = decide(&Permissions::of(vec![("all".into(), fixed(ALL))]).bounded("own", read), &facts);
    assert_eq!(bounded.is_allowed(), verdict.is_allowed(), "a bound allows what it would allow by itself");
    if !verdict.is_allowed() {
        return;
    }
    // What is not known never helped: it is allowed whatever becomes known.
    for key in document.split(['"', '{', '}', ',']).map(str::trim).filter(|key| key.contains(':')) {
        let is_said = question.lines().skip(2).any(|line| {
            let said = line.split_once('=').map_or(line, |(said, _)| said);
            said.eq_ignore_ascii_case(key)
        });
        if is_said {
            continue;
        }
        for value in ["", "a", "1", "true", "2030-01-01T00:00:00Z", "10.1.2.3"] {
            let mut more = facts.clone();
            more.set(key, value);
            assert!(decide(&own, &more).is_allowed(), "allowed until {key} was {value:?}");
        }
        let mut more = facts.clone();
        more.knows(key);
        assert!(decide(&own, &more).is_allowed(), "allowed until {key} was known to be missing");
    }
    if let Resource::SomeOf(arn) = &resource {
        for text in ["", "x", "i-12"] {
            let one = Resource::One(arn.replace('*', text));
            let found = own.decide(action, &one, &facts);
            assert!(found.is_allowed(), "some are allowed, and {one:?} is not: {found:?}");
        }
    }
}

/// The forms of documents that stand with what they are about.
fn trusted(document: &str, action: &str, facts: &Facts) {
    let who = [("AWS", "arn:aws:iam::123456789012:user/ann"), ("Service", "ec2.amazonaws.com")];
    if let Ok(trust) = Document::trust(document) {
        let _ = trust.trusts(&who, action, facts);
        assert!(!trust.trusts(&[], action, facts) || document.contains('*'), "nobody is trusted");
    }
    if let Ok(read) = Document::of_resource(document) {
        let names = Names { allowed: &who, denied: &who };
        let resource = Resource::One("arn:aws:s3:::bucket/key".into());
        let verdict = read.decide_for(names, action, &resource, facts);
        assert!(!verdict.is_allowed() || document.contains("Allow"), "{verdict:?}");
        let _ = read.is_public();
    }
}

/// A request as a stranger may send it, a line each: method, path, query, headers up to an empty line; the body.
///
/// # Panics
///
/// Where it counts as signed by who did not sign it.
pub fn request(data: &[u8]) {
    let mut lines = data.splitn(4, |b| *b == b'\n');
    let mut text = || lines.next().and_then(|line| std::str::from_utf8(line).ok()).unwrap_or("");
    let (method, path, query) = (text(), text(), text());
    let mut rest = lines.next().unwrap_or_default();
    let mut headers: Vec<(String, &[u8])> = Vec::new();
    while let Some(end) = rest.iter().position(|b| *b == b'\n') {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        let Some(colon) = line.iter().position(|b| *b == b':') else { break };
        headers.push((String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase(), &line[colon + 1..]));
    }
    let headers: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let authorizations = headers.iter().filter(|(name, _)| *name == "authorization");
    let _ = Presented::is_claimed(query, authorizations.map(|(_, value)| *value));
    let message = Message { method, path, query, headers, body: rest };
    if let Ok(presented) = Presented::read(&message, NOW) {
        assert!(!presented.is_signed_with(&Secret::new("nobody has it")), "a signature was found by chance");
    }
}

/// What a request is made of, in parts that end with a zero byte: how it is written and changed, path, header, body, and
/// the names and values of its query. It is signed by a signer that is written apart; as it is, and in every other way
/// of writing the same, it is understood; once changed, it is not.
///
/// # Panics
///
/// Where that is broken.
pub fn signature(data: &[u8]) {
    let mut parts = data.split(|b| *b == 0).map(String::from_utf8_lossy);
    let mut part = || parts.next().map(std::borrow::Cow::into_owned).unwrap_or_default();
    let (how, path, header, body) = (part(), part(), part(), part());
    let mut pairs: Vec<(String, String)> = Vec::new();
    while pairs.len() < 8 {
        let (name, value) = (part(), part());
        if name.is_empty() || name.starts_with("X-Amz-") {
            break;
        }
        pairs.push((name, value));
    }
    let way = how.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
    let mut draft = Draft::new();
    draft.path = wire_path(&path);
    draft.body = body.into_bytes();
    // Where a line ends, a header ends: servers let none through.
    let header = header.replace(['\r', '\n'], " ");
    // What counts as a space beside the two of HTTP is told apart by nobody.
    if header.chars().all(|c| !c.is_whitespace() || matches!(c, ' ' | '\t')) {
        draft.headers.push(("x-amz-note".into(), header));
    }
    draft.query = pairs
        .iter()
        .map(|(k, v)| format!("{}={}", Draft::encode(k), Draft::encode(v)))
        .collect::<Vec<_>>()
        .join("&");
    let in_query = way.is_multiple_of(2);
    let mut signed = if in_query { draft.presigned(600) } else { draft.signed() };
    assert!(understood(&signed), "what was signed is not understood: {signed:?}");
    signed.query = written_otherwise(&signed.query, way);
    assert!(understood(&signed), "written otherwise it is not understood: {signed:?}");
    change(&mut signed, way / 7);
    assert!(!understood(&signed), "it was changed, and is understood: {signed:?}");
}

fn understood(draft: &Draft) -> bool {
    Presented::read(&draft.message(), NOW)
        .is_ok_and(|presented| presented.is_signed_with(&Secret::new(SECRET)))
}

/// A path as it can come over the wire.
fn wire_path(text: &str) -> String {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#');
    format!("/{}", text.chars().filter(|c| plain(*c)).collect::<String>())
}

/// The same query in another order, and with other escapes.
fn written_otherwise(query: &str, way: usize) -> String {
    let mut pairs: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).collect();
    let turn = way % pairs.len().max(1);
    pairs.rotate_left(turn);
    let mut out = String::new();
    for (at, c) in pairs.join("&").char_indices() {
        if c.is_ascii_alphanumeric() && !in_escape(&pairs.join("&"), at) && (at + way).is_multiple_of(5) {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{:02x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

fn in_escape(text: &str, at: usize) -> bool {
    let bytes = text.as_bytes();
    (1..=2).any(|back| at >= back && bytes[at - back] == b'%')
}

/// Changes one thing that the signature covers.
fn change(draft: &mut Draft, way: usize) {
    match way % 5 {
        0 => draft.body.push(b'x'),
        1 => draft.method.push('X'),
        2 => draft.path.push_str("x/y"),
        3 => {
            let host = draft.get("host");
            draft.set("host", &format!("{host}0"));
        }
        _ => draft.query.push_str("&Extra=1"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::corpus::{changed, changes, kept, replay};
    use super::{NOW, SECRET};
    use crate::Secret;
    use crate::aws::{Message, Presented};

    /// Made by `signed.py` beside it.
    const SIGNED: &str = include_str!("../fuzz/signed.json");

    #[test]
    fn what_botocore_signed_is_understood_and_nothing_that_was_changed_after() {
        let requests: serde_json::Value = serde_json::from_str(SIGNED).expect("JSON");
        let requests = requests.as_array().expect("a list");
        for (number, request) in requests.iter().enumerate() {
            let text = |name: &str| request[name].as_str().expect(name).to_owned();
            let [mut method, mut path, mut query, mut body] = ["method", "path", "query", "body"].map(text);
            let headers = request["headers"].as_object().expect("headers");
            let mut headers: Vec<(&str, String)> = headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str().expect("text").to_owned()))
                .collect();
            for changed in [false, true] {
                if changed {
                    match number % 5 {
                        0 => method.push('X'),
                        1 => path.push_str("x/y"),
                        2 => query.push_str("&Extra=1"),
                        3 => body.push('x'),
                        _ => headers
                            .iter_mut()
                            .filter(|(name, _)| *name == "x-amz-note")
                            .for_each(|(_, v)| v.push('z')),
                    }
                }
                let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
                let message =
                    Message { method: &method, path: &path, query: &query, headers, body: body.as_bytes() };
                let presented = Presented::read(&message, NOW);
                let signed = presented.is_ok_and(|presented| presented.is_signed_with(&Secret::new(SECRET)));
                assert_eq!(signed, !changed, "{number}: {message:?}");
            }
        }
        assert!(requests.len() >= 100, "{}", requests.len());
    }

    proptest! {
        #[test]
        fn no_policy_like_those_kept_breaks_a_law(which: Index, changes in changes()) {
            super::policy(&changed(kept("policy", which), &changes));
        }

        #[test]
        fn no_request_like_those_kept_breaks_a_law(which: Index, changes in changes()) {
            super::request(&changed(kept("request", which), &changes));
        }

        #[test]
        fn no_signature_like_those_kept_breaks_a_law(which: Index, changes in changes()) {
            super::signature(&changed(kept("signature", which), &changes));
        }
    }

    #[test]
    fn kept_policies_break_no_law() {
        replay("policy", super::policy);
    }

    #[test]
    fn kept_requests_break_no_law() {
        replay("request", super::request);
    }

    #[test]
    fn kept_signatures_break_no_law() {
        replay("signature", super::signature);
    }
}
