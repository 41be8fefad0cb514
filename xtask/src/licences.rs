//! Licences of all dependencies against the list that deny.toml allows.

use std::collections::BTreeSet;

use cargo_metadata::Metadata;

use crate::tidy::{Breach, TidyError};

pub(crate) const PATH: &str = "deny.toml";

/// The licences of the `allow` list.
pub(crate) fn allowed(deny_toml: &str) -> Result<BTreeSet<String>, TidyError> {
    let list = deny_toml.split_once("\nallow = [").and_then(|(_, rest)| rest.split_once(']'));
    let Some((list, _)) = list else {
        return Err(TidyError::Licences("has no list `allow = [...]` of licences".into()));
    };
    // Odd pieces between quotes are the names.
    Ok(list.split('"').skip(1).step_by(2).map(str::to_owned).collect())
}

pub(crate) fn check(allowed: &BTreeSet<String>, metadata: &Metadata) -> Vec<Breach> {
    let used: BTreeSet<_> = metadata.resolve.iter().flat_map(|r| &r.nodes).map(|node| &node.id).collect();
    let mut breaches = Vec::new();
    for package in metadata.packages.iter().filter(|p| used.contains(&p.id)) {
        let at = format!("{} {}", package.name, package.version);
        match package.license.as_deref() {
            Some(licence) if is_allowed(licence, allowed) => {}
            Some(licence) => breaches.push(Breach::new(at, format!("licence {licence} is not in {PATH}"))),
            None => breaches.push(Breach::new(at, "states no licence")),
        }
    }
    breaches
}

/// Whether an SPDX expression can be satisfied with allowed licences alone.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    // Older crates write `MIT/Apache-2.0` for a choice.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { words: &words, allowed };
    let satisfied = parser.either();
    satisfied && parser.words.is_empty()
}

/// Recursive descent: `either` is OR, `both` is AND, `one` a licence or a bracket.
struct Parser<'a> {
    words: &'a [&'a str],
    allowed: &'a BTreeSet<String>,
}

impl Parser<'_> {
    fn either(&mut self) -> bool {
        let mut satisfied = self.both();
        while self.eat("OR") {
            satisfied |= self.both();
        }
        satisfied
    }

    fn both(&mut self) -> bool {
        let mut satisfied = self.one();
        while self.eat("AND") {
            satisfied &= self.one();
        }
        satisfied
    }

    fn one(&mut self) -> bool {
        if self.eat("(") {
            let satisfied = self.either();
            return self.eat(")") && satisfied;
        }
        let [first, rest @ ..] = self.words else { return false };
        self.words = rest;
        if let ["WITH", exception, rest @ ..] = self.words {
            self.words = rest;
            // An exception only adds permissions, so the plain licence suffices too.
            return self.allowed.contains(&format!("{first} WITH {exception}"))
                || self.allowed.contains(*first);
        }
        self.allowed.contains(*first)
    }

    fn eat(&mut self, word: &str) -> bool {
        let is_next = self.words.first() == Some(&word);
        if is_next {
            self.words = &self.words[1..];
        }
        is_next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expression: &str, expected: bool) {
        let list = allowed("[licenses]\nallow = [\n  \"MIT\",\n  \"ISC\", # a comment\n]\n").unwrap();
        assert_eq!(is_allowed(expression, &list), expected, "{expression}");
    }

    #[test]
    fn reads_spdx_expressions() {
        check("MIT", true);
        check("GPL-3.0", false);
        check("GPL-3.0 OR MIT", true);
        check("GPL-3.0/MIT", true);
        check("GPL-3.0 AND MIT", false);
        check("(GPL-3.0 OR MIT) AND ISC", true);
        check("GPL-3.0 OR (MIT AND ISC)", true);
        check("MIT WITH LLVM-exception", true);
        check("MIT AND", false);
        check("MIT)", false);
        check("", false);
    }
}
