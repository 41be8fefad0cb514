//! The parameters of a request in the query protocol: `Filter.1.Value.2=x` is the second value of the first filter.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::failure::Failure;

/// Most parameters of one request.
const PARAMETERS_MAX: usize = 2_000;
/// Highest index of a list.
const INDEX_MAX: usize = 1_000;

/// Parameters by name, or those below one name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Params {
    /// How the names began in the request, for messages.
    at: String,
    values: BTreeMap<String, String>,
}

impl Params {
    /// Reads a form (WHATWG URL standard, 5.1), and adds what the query string said.
    pub(crate) fn parse(body: &[u8], query: &[(String, String)]) -> Result<Self, Failure> {
        let text = std::str::from_utf8(body).map_err(|_| malformed("the body is no text"))?;
        let mut params = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            params.insert(decode(key)?, decode(value)?)?;
        }
        for (key, value) in query {
            params.insert(key.clone(), value.clone())?;
        }
        Ok(params)
    }

    fn insert(&mut self, key: String, value: String) -> Result<(), Failure> {
        if self.values.len() >= PARAMETERS_MAX {
            return Err(malformed(&format!("there are more than {PARAMETERS_MAX} parameters")));
        }
        if let Some(key) = (self.values.contains_key(&key)).then_some(key.clone()) {
            return Err(malformed(&format!("the parameter {key} is given twice")));
        }
        self.values.insert(key, value);
        Ok(())
    }

    /// The parameters whose first part no one of these names.
    pub(crate) fn unknown<'a>(&'a self, known: &'a [&str]) -> impl Iterator<Item = &'a str> {
        let is_known = |name: &str| {
            known
                .iter()
                .any(|k| name.strip_prefix(k).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
        };
        self.values.keys().map(String::as_str).filter(move |name| !is_known(name))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// A value; empty counts as not given.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Those of these names and values.
    pub(crate) fn of(values: BTreeMap<String, String>) -> Self {
        Self { at: String::new(), values }
    }

    pub(crate) fn into_values(self) -> BTreeMap<String, String> {
        self.values
    }

    /// All but one parameter and what is below it.
    pub(crate) fn without(&self, name: &str) -> Self {
        let mut rest = self.clone();
        let below =
            |key: &str| key.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        rest.values.retain(|key, _| !below(key));
        rest
    }

    pub(crate) fn put(&mut self, name: &str, value: &str) {
        self.values.insert(name.to_owned(), value.to_owned());
    }

    /// All values, whatever they are called.
    pub(crate) fn values(&self) -> impl Iterator<Item = &str> {
        self.values.values().map(String::as_str)
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or("")
    }

    /// Whether there is such a parameter, or one below it.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name) || !self.below(name).is_empty()
    }

    pub(crate) fn require(&self, name: &str) -> Result<&str, Failure> {
        self.get(name).ok_or_else(|| Failure::missing(&self.full(name)))
    }

    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Failure> {
        match self.get(name).map(str::to_ascii_lowercase).as_deref() {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(other) => Err(self.invalid(name, other, "must be true or false")),
        }
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, Failure> {
        let Some(text) = self.get(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| self.invalid(name, text, "must be a number"))
    }

    pub(crate) fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
        &self,
        name: &str,
    ) -> Result<Option<T>, Failure> {
        let Some(text) = self.get(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|e| Failure::value(format!("{}: {e}", self.full(name))))
    }

    pub(crate) fn invalid(&self, name: &str, given: &str, why: &str) -> Failure {
        let given: String = given.chars().take(80).collect();
        Failure::value(format!("Value ({given}) for parameter {} is invalid: it {why}", self.full(name)))
    }

    /// The values of a list, in order: `Name.1`, `Name.2`.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let below = self.below(name);
        let mut values: Vec<(usize, String)> =
            below.values.iter().filter_map(|(key, value)| Some((index(key)?, value.clone()))).collect();
        values.sort_by_key(|(i, _)| *i);
        values.into_iter().map(|(_, value)| value).filter(|value| !value.is_empty()).collect()
    }

    /// The entries of a list of structures, in order.
    pub(crate) fn structs(&self, name: &str) -> Vec<Params> {
        let below = self.below(name);
        let mut entries: BTreeMap<usize, Params> = BTreeMap::new();
        for (key, value) in &below.values {
            let (first, rest) = key.split_once('.').unwrap_or((key, ""));
            let Some(i) = index(first).filter(|_| !rest.is_empty()) else { continue };
            let entry = entries
                .entry(i)
                .or_insert_with(|| Params { at: format!("{}{i}.", below.at), values: BTreeMap::new() });
            entry.values.insert(rest.to_owned(), value.clone());
        }
        entries.into_values().collect()
    }

    /// The parameters below a name, without it.
    pub(crate) fn below(&self, name: &str) -> Params {
        let prefix = format!("{name}.");
        let own = self.values.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix));
        let values = own.map(|(key, value)| (key[prefix.len()..].to_owned(), value.clone())).collect();
        Params { at: format!("{}{prefix}", self.at), values }
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.at)
    }

    /// All of it, as one text that is the same for the same parameters.
    pub(crate) fn fingerprint(&self, without: &[&str]) -> String {
        let own = self.values.iter().filter(|(key, _)| !without.contains(&key.as_str()));
        let mut out = String::new();
        for (key, value) in own {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{}:{key}={}:{value}", key.len(), value.len());
        }
        out
    }
}

fn index(text: &str) -> Option<usize> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten().filter(|i| *i <= INDEX_MAX)
}

fn malformed(why: &str) -> Failure {
    Failure::new("MalformedQueryString", why)
}

fn decode(text: &str) -> Result<String, Failure> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
                let byte = digit().zip(digit()).and_then(|(high, low)| u8::try_from(high << 4 | low).ok());
                out.push(byte.ok_or_else(|| malformed("the body has an escape that is none"))?);
            }
            other => out.push(other),
        }
    }
    String::from_utf8(out).map_err(|_| malformed("the body is no text"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn params(text: &str) -> Params {
        Params::parse(text.as_bytes(), &[]).expect(text)
    }

    #[test]
    fn lists_and_structures_are_in_order() {
        let p = params("Id.10=j&Id.2=b&Id.1=a&Id=x&Id.=y&Id.x=z&Id.1.More=n");
        assert_eq!(p.list("Id"), ["a", "b", "j"]);
        let p = params(
            "Filter.2.Name=b&Filter.1.Name=a&Filter.1.Value.1=x&Filter.1.Value.2=y+z&Filters.1.Name=c",
        );
        let filters = p.structs("Filter");
        assert_eq!(filters.len(), 2);
        assert_eq!(
            (filters[0].text("Name"), filters[0].list("Value")),
            ("a", vec!["x".into(), "y z".into()])
        );
        assert_eq!(filters[1].require("Value").unwrap_err(), Failure::missing("Filter.2.Value"));
    }

    #[test]
    fn values_are_read_strictly() {
        let p = params("A=true&B=0&C=maybe&N=7&M=x&E=");
        assert_eq!((p.flag("A"), p.flag("B"), p.flag("E")), (Ok(Some(true)), Ok(Some(false)), Ok(None)));
        assert_eq!(p.number("N"), Ok(Some(7)));
        for code in [p.flag("C").unwrap_err().code, p.number("M").unwrap_err().code] {
            assert_eq!(code, "InvalidParameterValue");
        }
        assert_eq!(p.require("E").unwrap_err().code, "MissingParameter");
        for wrong in ["a=%", "a=%g0", "a=%ff", "a=1&a=2"] {
            assert_eq!(
                Params::parse(wrong.as_bytes(), &[]).unwrap_err().code,
                "MalformedQueryString",
                "{wrong}"
            );
        }
    }

    #[test]
    fn what_is_not_known_is_named() {
        let p = params("Action=x&Id.1=a&Identity=b&Idx=c");
        assert_eq!(p.unknown(&["Action", "Id"]).collect::<Vec<_>>(), ["Identity", "Idx"]);
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200), name in "[A-Z.0-9]{0,6}") {
            if let Ok(p) = Params::parse(&body, &[]) {
                let _ = (p.list(&name), p.structs(&name), p.below(&name), p.flag(&name).is_ok());
            }
        }

        #[test]
        fn what_was_written_is_read(pairs in proptest::collection::btree_map("[A-Za-z.0-9]{1,8}", any::<String>(), 0..8)) {
            let encode = |text: &str| text.bytes().map(|b| format!("%{b:02x}")).collect::<Vec<_>>().concat();
            let body: Vec<String> = pairs.iter().map(|(k, v)| format!("{}={}", encode(k), encode(v))).collect();
            let read = Params::parse(body.join("&").as_bytes(), &[]).expect("a form");
            prop_assert_eq!(read.values, pairs);
        }
    }
}
