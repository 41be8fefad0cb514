//! Lengths of files and functions, and the committed list of those that are too long. The list may only
//! shrink: an entry says how long a thing may be, and has to follow it down.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::code;
use crate::tidy::Breach;

pub(crate) const PATH: &str = "xtask/ratchet.txt";

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 100;

const HEADER: &str = "\
# Files over 500 lines and functions over 100, with their lengths. This list may only shrink:
# `cargo xtask tidy --lower` lowers it to what is there. Nothing is added; split instead.
";

/// What is measured: `PATH`, or `PATH::FUNCTION`.
pub(crate) type Thing = String;

/// The length of one file or function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Length {
    pub(crate) thing: Thing,
    pub(crate) lines: usize,
    pub(crate) max: usize,
}

impl Length {
    fn is_too_long(&self) -> bool {
        self.lines > self.max
    }
}

/// The things that may be too long, each with its allowance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ratchet(BTreeMap<Thing, usize>);

impl FromStr for Ratchet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lines = text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty() && !l.starts_with('#'));
        let mut entries = BTreeMap::new();
        for (i, line) in lines {
            let entry = line.split_once(' ').and_then(|(n, thing)| Some((thing.trim(), n.parse().ok()?)));
            let Some((thing, allowed)) = entry else {
                return Err(format!("line {}: want `LINES PATH` or `LINES PATH::FUNCTION`", i + 1));
            };
            entries.insert(thing.to_owned(), allowed);
        }
        Ok(Self(entries))
    }
}

impl fmt::Display for Ratchet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEADER)?;
        self.0.iter().try_for_each(|(thing, lines)| writeln!(f, "{lines} {thing}"))
    }
}

impl Ratchet {
    /// Every allowance at most as large as the thing is, and none that is no longer needed.
    pub(crate) fn lowered(&self, lengths: &[Length]) -> Self {
        let longest = longest(lengths);
        let entries = self.0.iter().filter_map(|(thing, allowed)| {
            let length = longest.get(thing.as_str()).filter(|l| l.is_too_long())?;
            Some((thing.clone(), length.lines.min(*allowed)))
        });
        Self(entries.collect())
    }
}

/// The lengths of one file and of its functions.
pub(crate) fn measure(path: &str, text: &str) -> Vec<Length> {
    let file = Length { thing: path.to_owned(), lines: text.lines().count(), max: FILE_LINES_MAX };
    let functions = code::functions(&code::mask(text)).into_iter().map(|f| Length {
        thing: format!("{path}::{}", f.name),
        lines: f.lines,
        max: FUNCTION_LINES_MAX,
    });
    std::iter::once(file).chain(functions).collect()
}

pub(crate) fn check(ratchet: &Ratchet, lengths: &[Length]) -> Vec<Breach> {
    let longest = longest(lengths);
    let grown = longest.values().filter_map(|l| {
        let allowed = ratchet.0.get(&l.thing).copied().unwrap_or(0).max(l.max);
        (l.lines > allowed)
            .then(|| Breach::new(&*l.thing, format!("{} lines, at most {allowed}: split it", l.lines)))
    });
    let slack = ratchet.0.iter().filter_map(|(thing, allowed)| {
        let lines = longest.get(thing.as_str()).filter(|l| l.is_too_long()).map_or(0, |l| l.lines);
        (lines < *allowed).then(|| {
            Breach::new(
                &**thing,
                format!("listed with {allowed} lines but shorter now: run `cargo xtask tidy --lower`"),
            )
        })
    });
    grown.chain(slack).collect()
}

/// Functions of one name in one file share an entry: the longest counts.
fn longest(lengths: &[Length]) -> BTreeMap<&str, &Length> {
    let mut longest: BTreeMap<&str, &Length> = BTreeMap::new();
    for length in lengths {
        let seen = longest.entry(&length.thing).or_insert(length);
        if length.lines > seen.lines {
            *seen = length;
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(thing: &str, lines: usize) -> Length {
        Length { thing: thing.into(), lines, max: 100 }
    }

    fn breaches(list: &str, lines: usize) -> usize {
        check(&list.parse().unwrap(), &[length("a.rs::f", lines)]).len()
    }

    #[test]
    fn long_things_need_an_entry_and_entries_only_shrink() {
        assert_eq!(breaches("", 100), 0);
        assert_eq!(breaches("", 101), 1);
        assert_eq!(breaches("120 a.rs::f", 120), 0);
        assert_eq!(breaches("120 a.rs::f", 121), 1, "grown");
        assert_eq!(breaches("120 a.rs::f", 119), 1, "the entry has to follow it down");
        assert_eq!(breaches("120 a.rs::f", 90), 1, "the entry has to go");
        assert_eq!(breaches("120 gone.rs", 90), 1, "the entry has to go");
    }

    #[test]
    fn lowering_never_raises() {
        let list: Ratchet = "# kept short\n120 a.rs::f\n130 b.rs::g\n140 c.rs::h\n".parse().unwrap();
        let now = [length("a.rs::f", 110), length("b.rs::g", 200), length("c.rs::h", 40)];
        assert_eq!(list.lowered(&now), "110 a.rs::f\n130 b.rs::g\n".parse().unwrap());
    }

    #[test]
    fn a_malformed_list_names_the_line() {
        let error = "# x\nlong a.rs\n".parse::<Ratchet>().unwrap_err();
        assert!(error.starts_with("line 2:"), "{error}");
    }
}
