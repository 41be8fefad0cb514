//! Query strings: `application/x-www-form-urlencoded` pairs (WHATWG URL standard, 5.1).

use client::percent_decode;

/// The pairs of a query, decoded.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: Option<&str>) -> Self {
        let pairs = text.unwrap_or("").split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (percent_decode(key), percent_decode(value))
                })
                .collect(),
        )
    }

    /// The first value of a key, or nothing.
    pub(crate) fn get(&self, key: &str) -> &str {
        self.0.iter().find(|(k, _)| k == key).map_or("", |(_, v)| v.as_str())
    }

    /// All values of a key, in order.
    pub(crate) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Whether a flag is set: `key`, `key=true` or `key=1`.
    pub(crate) fn flag(&self, key: &str) -> bool {
        self.0.iter().any(|(k, v)| k == key && matches!(v.as_str(), "" | "true" | "1"))
    }
}
