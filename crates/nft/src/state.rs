//! What a declared table is compared with: a table as it was read from the kernel, or one that was written before and
//! that nobody has touched since.

use std::collections::BTreeSet;

use crate::declared::{Actual, DeclaredChain, Table};
use crate::objects::{Base, Element, Set};

#[derive(Clone, Copy)]
pub(crate) enum State<'a> {
    Nothing,
    Kernel(&'a Actual),
    Declared(&'a Table),
}

impl<'a> State<'a> {
    pub(crate) fn exists(self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Kernel(actual) => actual.exists,
            Self::Declared(_) => true,
        }
    }

    /// What makes the chain see packets, if there is such a chain.
    #[allow(clippy::option_option, reason = "whether there is a chain, and whether it hangs at a hook")]
    pub(crate) fn chain(self, name: &str) -> Option<Option<Base>> {
        match self {
            Self::Nothing => None,
            Self::Kernel(actual) => actual.chains.get(name).map(|chain| chain.base),
            Self::Declared(table) => table.chains.get(name).map(|chain| chain.base),
        }
    }

    pub(crate) fn has_some_rules(self, name: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Kernel(actual) => actual.chains.get(name).is_some_and(|chain| !chain.rules.is_empty()),
            Self::Declared(table) => table.chains.get(name).is_some_and(|chain| !chain.rules.is_empty()),
        }
    }

    /// Whether the chain is as declared; one that is not there is like an empty one.
    pub(crate) fn has_rules(self, name: &str, declared: &DeclaredChain) -> bool {
        let found = match self {
            Self::Nothing => None,
            Self::Kernel(actual) => actual.chains.get(name).map(|found| {
                let same = found.rules.iter().zip(&declared.rules).all(|(a, b)| a.digest == Some(b.digest()));
                found.base == declared.base && found.rules.len() == declared.rules.len() && same
            }),
            Self::Declared(table) => table.chains.get(name).map(|found| found == declared),
        };
        found.unwrap_or(declared.rules.is_empty())
    }

    /// Whether there is a set of this name, and of another kind.
    pub(crate) fn is_other_set(self, name: &str, wanted: &Set) -> bool {
        match self {
            Self::Nothing => false,
            Self::Kernel(actual) => actual.sets.get(name).is_some_and(|(found, _)| !found.is(wanted)),
            Self::Declared(table) => table.sets.get(name).is_some_and(|found| found.set != *wanted),
        }
    }

    /// Elements of a set, if there is such a set.
    pub(crate) fn elements(self, name: &str) -> Option<&'a BTreeSet<Element>> {
        match self {
            Self::Nothing => None,
            Self::Kernel(actual) => actual.sets.get(name).map(|(_, elements)| elements),
            Self::Declared(table) => table.sets.get(name).map(|set| &*set.elements),
        }
    }

    pub(crate) fn chains(self) -> Box<dyn Iterator<Item = &'a String> + 'a> {
        match self {
            Self::Nothing => Box::new(std::iter::empty()),
            Self::Kernel(actual) => Box::new(actual.chains.keys()),
            Self::Declared(table) => Box::new(table.chains.keys()),
        }
    }

    pub(crate) fn sets(self) -> Box<dyn Iterator<Item = &'a String> + 'a> {
        match self {
            Self::Nothing => Box::new(std::iter::empty()),
            Self::Kernel(actual) => Box::new(actual.sets.keys()),
            Self::Declared(table) => Box::new(table.sets.keys()),
        }
    }
}
