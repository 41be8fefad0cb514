//! What fuzzers feed: what strangers write and this crate reads, and what it writes itself. Each function holds what
//! came out against a law and panics where it is broken. `fuzz/` beside this crate's code has the inputs that are worth
//! keeping; they are tried with every test run.

#[cfg(test)]
#[path = "../../../fuzz/corpus.rs"]
mod corpus;

use std::collections::BTreeMap;

use quick_xml::Reader;
use quick_xml::events::Event;

use crate::params::Params;
use crate::xml::Xml;

/// How deep names are followed, and elements put into each other.
const DEPTH_MAX: usize = 8;
const NAMES: [&str; 4] = ["a", "item", "Name2", "tagSet"];

/// A request in the query protocol.
///
/// # Panics
///
/// Where parameters are not what was sent.
pub fn query(data: &[u8]) {
    let Ok(params) = Params::parse(data, &[]) else { return };
    let values = params.clone().into_values();
    let again = Params::parse(encoded(&values).as_bytes(), &[]).expect("what was read can be written");
    assert_eq!(again, params, "what is written is what was read");
    follow(&params, 0);
    for name in values.keys() {
        let rest = params.without(name);
        assert!(!rest.has(name), "{name:?} is still there");
        assert_ne!(rest.fingerprint(&[]), params.fingerprint(&[]), "{name:?} is not in the fingerprint");
        if params.flag(name).is_ok_and(|flag| flag.is_some())
            || params.number(name).is_ok_and(|n| n.is_some())
        {
            assert!(params.get(name).is_some(), "{name:?} has a value");
        }
    }
}

/// Everything that can be found below names.
fn follow(params: &Params, depth: usize) {
    if depth >= DEPTH_MAX {
        return;
    }
    let values = params.clone().into_values();
    let mut firsts: Vec<&str> = values.keys().map(|name| name.split('.').next().unwrap_or(name)).collect();
    firsts.dedup();
    for name in firsts {
        let below = params.below(name).into_values();
        let list = params.list(name);
        assert!(
            list.iter().all(|value| below.values().any(|v| v == value)),
            "{name:?} lists what it has not"
        );
        for entry in params.structs(name) {
            assert!(!entry.is_empty(), "{name:?} has an entry without anything");
            follow(&entry, depth + 1);
        }
        follow(&params.below(name), depth + 1);
    }
}

fn encoded(values: &BTreeMap<String, String>) -> String {
    let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<Vec<_>>().concat();
    let pairs: Vec<String> = values.iter().map(|(k, v)| format!("{}={}", encode(k), encode(v))).collect();
    pairs.join("&")
}

/// Something that is written: elements, lists and text, as the bytes say.
///
/// # Panics
///
/// Where a reader of XML finds anything else than what was written.
pub fn xml(data: &[u8]) {
    let mut program = data.iter().copied();
    let mut expected = Vec::new();
    let document = Xml::document("Root", if data.len().is_multiple_of(2) { "" } else { "urn:x" }, |x| {
        write(x, &mut program, &mut expected, 0);
    });
    let found = read(&document);
    let mut all = vec![Found::Start("Root".into())];
    all.extend(joined(expected));
    all.push(Found::End("Root".into()));
    assert_eq!(found, all, "{document}");
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    Start(String),
    Text(String),
    End(String),
}

fn write(x: &mut Xml, program: &mut dyn Iterator<Item = u8>, expected: &mut Vec<Found>, depth: usize) {
    while let Some(step) = program.next() {
        let name = NAMES[usize::from(step >> 4) % NAMES.len()];
        match step % 6 {
            0 => return,
            1 if depth < DEPTH_MAX => {
                expected.push(Found::Start(name.into()));
                x.node(name, |x| write(x, program, expected, depth + 1));
                expected.push(Found::End(name.into()));
            }
            2 => {
                let text = text(program);
                expected.extend([
                    Found::Start(name.into()),
                    Found::Text(clean(&text)),
                    Found::End(name.into()),
                ]);
                x.text(name, &text);
            }
            3 => {
                let text = text(program);
                if !text.is_empty() {
                    let inner = Found::Text(clean(&text));
                    expected.extend([Found::Start(name.into()), inner, Found::End(name.into())]);
                }
                x.given(name, &text);
            }
            4 if depth < DEPTH_MAX => {
                expected.push(Found::Start(name.into()));
                let items = 0..usize::from(step >> 6);
                x.list(name, items, |x, _| {
                    expected.push(Found::Start("item".into()));
                    write(x, program, expected, depth + 1);
                    expected.push(Found::End("item".into()));
                });
                expected.push(Found::End(name.into()));
            }
            _ => {
                let text = text(program);
                expected.push(Found::Text(clean(&text)));
                x.out_text(&text);
            }
        }
    }
}

/// So many bytes as the next one says.
fn text(program: &mut dyn Iterator<Item = u8>) -> String {
    let length = usize::from(program.next().unwrap_or(0) % 32);
    let bytes: Vec<u8> = program.take(length).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What XML can hold of a text.
fn clean(text: &str) -> String {
    let can_be = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    text.chars().map(|c| if can_be(c) { c } else { '\u{fffd}' }).collect()
}

/// Texts beside each other are one, and none where there is nothing in it.
fn joined(found: Vec<Found>) -> Vec<Found> {
    let mut out: Vec<Found> = Vec::new();
    for next in found {
        match (out.last_mut(), next) {
            (Some(Found::Text(last)), Found::Text(text)) => last.push_str(&text),
            (_, Found::Text(text)) if text.is_empty() => {}
            (_, next) => out.push(next),
        }
    }
    out
}

/// What another's reader makes of a document.
fn read(document: &str) -> Vec<Found> {
    let mut reader = Reader::from_str(document);
    let mut found = Vec::new();
    let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    loop {
        match reader.read_event().expect("it is well formed") {
            Event::Decl(_) => {}
            Event::Start(start) => found.push(Found::Start(name(start.name().as_ref()))),
            Event::End(end) => found.push(Found::End(name(end.name().as_ref()))),
            Event::Text(text) => found.push(Found::Text(text.xml10_content().expect("text").into_owned())),
            Event::GeneralRef(reference) => {
                let c = reference.resolve_char_ref().expect("a character").map(String::from);
                let entity = reference.decode().expect("text");
                let named = || quick_xml::escape::resolve_xml_entity(&entity).map(str::to_owned);
                found.push(Found::Text(c.or_else(named).expect("an entity of XML itself")));
            }
            Event::Eof => break,
            other => panic!("nobody wrote {other:?}"),
        }
    }
    // The line break behind the declaration belongs to no element.
    let found = found.into_iter().skip_while(|first| matches!(first, Found::Text(text) if text == "\n"));
    joined(found.collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::corpus::{changed, changes, kept, replay};

    proptest! {
        #[test]
        fn no_query_like_those_kept_breaks_a_law(which: Index, changes in changes()) {
            super::query(&changed(kept("query", which), &changes));
        }

        #[test]
        fn no_document_like_those_kept_breaks_a_law(which: Index, changes in changes()) {
            super::xml(&changed(kept("xml", which), &changes));
        }
    }

    #[test]
    fn kept_queries_break_no_law() {
        replay("query", super::query);
    }

    #[test]
    fn kept_documents_break_no_law() {
        replay("xml", super::xml);
    }
}
