//! S3's answers: documents of elements and text. No attribute and no foreign entity means anything in them.

use quick_xml::Reader;
use quick_xml::events::Event;

use crate::failure::{Exit, Failure};

/// How deep elements may lie in each other.
const DEPTH_MAX: usize = 16;

/// An element with what is in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    name: String,
    text: String,
    children: Vec<Element>,
}

impl Element {
    /// The outermost element of a document.
    pub(super) fn read(document: &[u8]) -> Result<Self, Failure> {
        read(document)
            .ok_or_else(|| Failure::failed("the server's answer cannot be read: it is no XML of S3's"))
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.name == name
    }

    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The text of a child; empty where there is none.
    pub(super) fn text(&self, name: &str) -> &str {
        self.children.iter().find(|child| child.name == name).map_or("", |child| child.text.as_str())
    }

    pub(super) fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or(0)
    }

    pub(super) fn is_true(&self, name: &str) -> bool {
        self.text(name) == "true"
    }

    /// A key or prefix, which lists have encoded.
    pub(super) fn key(&self, name: &str) -> String {
        client::percent_decode(self.text(name))
    }
}

fn read(document: &[u8]) -> Option<Element> {
    let mut reader = Reader::from_reader(document);
    let mut open = vec![Element::default()];
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) => {
                let name = String::from_utf8(start.local_name().as_ref().to_vec()).ok()?;
                open.push(Element { name, ..Element::default() });
                if open.len() > DEPTH_MAX {
                    return None;
                }
            }
            Event::Empty(start) => {
                let name = String::from_utf8(start.local_name().as_ref().to_vec()).ok()?;
                open.last_mut()?.children.push(Element { name, ..Element::default() });
            }
            Event::End(_) => {
                let done = open.pop()?;
                open.last_mut()?.children.push(done);
            }
            Event::Text(text) => open.last_mut()?.text.push_str(&text.decode().ok()?),
            Event::CData(text) => open.last_mut()?.text.push_str(&text.decode().ok()?),
            Event::GeneralRef(entity) => {
                let written = entity.decode().ok()?;
                let text = &mut open.last_mut()?.text;
                match entity.resolve_char_ref().ok()? {
                    Some(c) => text.push(c),
                    None => text.push_str(quick_xml::escape::resolve_xml_entity(&written)?),
                }
            }
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
            // No document type, and with it no entities of its own.
            Event::DocType(_) => return None,
            Event::Eof => break,
        }
    }
    let [document] = <[Element; 1]>::try_from(open).ok()?;
    document.children.into_iter().next()
}

/// A refusal, in the words of whoever refuses. `what` was asked for.
pub(super) fn refusal(what: &str, status: u16, document: &[u8]) -> Failure {
    told(what, status, &read(document).unwrap_or_default())
}

/// The same, where the document was read already.
pub(super) fn told(what: &str, status: u16, said: &Element) -> Failure {
    let (code, message) = (said.text("Code"), said.text("Message"));
    let exit = match status {
        404 => Exit::NotFound,
        401 | 403 => Exit::Refused,
        _ => Exit::Failed,
    };
    // The answer to HEAD is a number alone.
    let why = match (status, code, message) {
        (404, "", _) => "there is no such object or bucket".to_owned(),
        (403, "", _) => "this is not allowed".to_owned(),
        (_, "", _) => format!("the server answered {status}"),
        (_, code, "") => code.to_owned(),
        (_, code, message) => format!("{} ({code})", message.trim_end_matches('.')),
    };
    Failure::new(exit, format!("{what}: {why}"))
}

/// Text as it stands in a document.
pub(super) fn escaped(text: &str) -> String {
    quick_xml::escape::escape(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read() {
        let text = br#"<?xml version="1.0" encoding="UTF-8"?>
            <ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>true</IsTruncated>
            <Contents><Key>a%20b</Key><Size>3</Size><ETag>&quot;x&#38;y&quot;</ETag></Contents>
            <Contents><Key>c</Key></Contents><Empty/></ListBucketResult>"#;
        let list = Element::read(text).unwrap();
        assert!(list.is_true("IsTruncated"));
        let keys: Vec<String> = list.all("Contents").map(|object| object.key("Key")).collect();
        assert_eq!(keys, ["a b", "c"]);
        let first = list.all("Contents").next().unwrap();
        assert_eq!((first.number("Size"), first.text("ETag")), (3, "\"x&y\""));
    }

    #[test]
    fn what_is_no_document_is_refused() {
        let deep = "<a>".repeat(DEPTH_MAX + 1);
        for text in ["", "x", "<a>", "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "<a>&b;</a>", &deep] {
            assert!(Element::read(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn refusals_say_who_and_why() {
        let text =
            b"<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>";
        let failure = refusal("s3://a/b", 404, text);
        assert_eq!(failure, Failure::not_found("s3://a/b: The specified key does not exist (NoSuchKey)"));
        assert_eq!(refusal("s3://a/b", 403, b"").exit, Exit::Refused);
    }
}
