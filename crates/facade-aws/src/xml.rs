//! A writer of XML: elements and text, escaped. No attributes but the namespace, no comments, nothing to configure.

use std::fmt::{self, Display, Write};

/// A document, or a part of one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Xml {
    out: String,
}

impl Xml {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    #[cfg(test)]
    pub(crate) fn into_string(self) -> String {
        self.out
    }

    /// An element with text.
    pub(crate) fn text(&mut self, name: &str, value: impl Display) -> &mut Self {
        self.node(name, |x| {
            x.out_text(value);
        })
    }

    /// An element with text, where there is some.
    pub(crate) fn given(&mut self, name: &str, value: impl AsRef<str>) -> &mut Self {
        if value.as_ref().is_empty() { self } else { self.text(name, value.as_ref()) }
    }

    /// Text by itself, inside of an element.
    pub(crate) fn out_text(&mut self, value: impl Display) -> &mut Self {
        // Writing to a String cannot fail.
        let _ = write!(Escaped(&mut self.out), "{value}");
        self
    }

    /// An element with others in it.
    pub(crate) fn node(&mut self, name: &str, inner: impl FnOnce(&mut Self)) -> &mut Self {
        debug_assert!(name.bytes().all(|b| b.is_ascii_alphanumeric()), "{name} is no name of an element");
        self.out.push('<');
        self.out.push_str(name);
        self.out.push('>');
        inner(self);
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
        self
    }

    /// EC2's form of a list.
    pub(crate) fn list<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut each: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        self.node(name, |x| {
            for item in items {
                x.node("item", |x| each(x, item));
            }
        })
    }

    /// The other services' form of a list.
    pub(crate) fn members<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut each: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        self.node(name, |x| {
            for item in items {
                x.node("member", |x| each(x, item));
            }
        })
    }

    /// Something already written.
    pub(crate) fn append(&mut self, part: &Xml) -> &mut Self {
        self.out.push_str(&part.out);
        self
    }

    /// A document of this root.
    pub(crate) fn document(root: &str, namespace: &str, inner: impl FnOnce(&mut Self)) -> String {
        let mut x = Self { out: String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n") };
        x.out.push('<');
        x.out.push_str(root);
        if !namespace.is_empty() {
            // Namespaces are our own words.
            let _ = write!(x.out, " xmlns=\"{namespace}\"");
        }
        x.out.push('>');
        inner(&mut x);
        let _ = write!(x.out, "</{root}>");
        x.out
    }
}

/// Escapes what is written to it. Characters that XML 1.0 cannot hold at all are replaced.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // What needs nothing is taken over in whole runs.
        let mut done = 0;
        for (at, c) in text.char_indices() {
            let instead = match c {
                '&' => "&amp;",
                '<' => "&lt;",
                '>' => "&gt;",
                '"' => "&quot;",
                '\'' => "&apos;",
                // A reader would make a line break of it.
                '\r' => "&#13;",
                '\t' | '\n' => continue,
                '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => "\u{fffd}",
                _ => continue,
            };
            self.0.push_str(&text[done..at]);
            self.0.push_str(instead);
            done = at + c.len_utf8();
        }
        self.0.push_str(&text[done..]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn elements_lists_and_text() {
        let mut x = Xml::new();
        x.text("a", 1).given("b", "").list("set", ["<", "&"], |x, item| {
            x.text("v", item);
        });
        assert_eq!(x.into_string(), "<a>1</a><set><item><v>&lt;</v></item><item><v>&amp;</v></item></set>");
        let document = Xml::document("R", "urn:x", |x| {
            x.text("a", "]]>\0\r");
        });
        assert_eq!(
            document,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<R xmlns=\"urn:x\"><a>]]&gt;\u{fffd}&#13;</a></R>"
        );
    }

    /// What a reader makes of text.
    fn unescape(text: &str) -> String {
        let named = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&#13;", "\r")];
        named.iter().fold(text.to_owned(), |t, (from, to)| t.replace(from, to)).replace("&amp;", "&")
    }

    proptest! {
        /// Text comes out as it went in, and is never anything but text.
        #[test]
        fn text_is_text(text in any::<String>()) {
            let mut x = Xml::new();
            x.text("v", &text);
            let out = x.into_string();
            let inner = out.strip_prefix("<v>").and_then(|o| o.strip_suffix("</v>")).expect("an element");
            prop_assert!(!inner.contains(['<', '>', '"', '\'', '\0', '\r']));
            let clean: String = text
                .chars()
                .map(|c| {
                    let bad = c < ' ' && !matches!(c, '\t' | '\n' | '\r') || matches!(c, '\u{fffe}' | '\u{ffff}');
                    if bad { '\u{fffd}' } else { c }
                })
                .collect();
            prop_assert_eq!(unescape(inner), clean);
        }
    }
}
