//! An answer before it has a form: XML, JSON and CBOR are made of the same tree.

use ciborium::Value;
use model::Timestamp;
use serde_json::json;

use crate::xml::Xml;

/// CBOR's tag of times (RFC 8949, 3.4.2).
const EPOCH: u64 = 1;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tree {
    Text(String),
    Number(f64),
    Time(Timestamp),
    List(Vec<Tree>),
    Map(Vec<(&'static str, Tree)>),
}

impl Tree {
    pub(super) fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    pub(crate) fn xml(&self) -> Xml {
        let mut x = Xml::new();
        self.write(&mut x);
        x
    }

    fn write(&self, x: &mut Xml) {
        match self {
            Self::Text(text) => {
                x.out_text(text);
            }
            Self::Number(number) => {
                x.out_text(number);
            }
            Self::Time(at) => {
                x.out_text(at);
            }
            Self::List(items) => {
                for item in items {
                    x.node("member", |x| item.write(x));
                }
            }
            Self::Map(fields) => {
                for (name, value) in fields {
                    x.node(name, |x| value.write(x));
                }
            }
        }
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Number(number) => json!(number),
            Self::Time(at) => json!(seconds(*at)),
            Self::List(items) => items.iter().map(Self::json).collect(),
            Self::Map(fields) => {
                fields.iter().map(|(name, value)| ((*name).to_owned(), value.json())).collect()
            }
        }
    }

    pub(crate) fn cbor(&self) -> Vec<u8> {
        let mut out = Vec::new();
        // Writing to memory cannot fail.
        let _ = ciborium::into_writer(&self.value(), &mut out);
        out
    }

    fn value(&self) -> Value {
        match self {
            Self::Text(text) => Value::Text(text.clone()),
            Self::Number(number) => Value::Float(*number),
            Self::Time(at) => Value::Tag(EPOCH, Box::new(Value::Float(seconds(*at)))),
            Self::List(items) => Value::Array(items.iter().map(Self::value).collect()),
            Self::Map(fields) => Value::Map(
                fields.iter().map(|(name, value)| (Value::Text((*name).to_owned()), value.value())).collect(),
            ),
        }
    }
}

#[allow(clippy::cast_precision_loss)] // Milliseconds of the next thousands of years are below 2^53.
fn seconds(at: Timestamp) -> f64 {
    at.0 as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tree_has_three_forms() {
        let tree = Tree::Map(vec![
            ("A", Tree::List(vec![Tree::Number(1.5), Tree::Number(2.0)])),
            ("B", Tree::Time(Timestamp(1500))),
            ("C", Tree::text("<")),
        ]);
        let xml = "<A><member>1.5</member><member>2</member></A><B>1970-01-01T00:00:01.500Z</B><C>&lt;</C>";
        assert_eq!(tree.xml().into_string(), xml);
        assert_eq!(tree.json(), json!({"A": [1.5, 2.0], "B": 1.5, "C": "<"}));
        let read: Value = ciborium::from_reader(tree.cbor().as_slice()).expect("CBOR");
        let map = read.as_map().expect("a map");
        assert_eq!(map[1].1, Value::Tag(1, Box::new(Value::Float(1.5))));
    }
}
