//! A table as it should be, and the batch that leads there from what is. The kernel's rules are recognised by the
//! digest they carry, so that nothing is written that is there already, and sets change by their elements.

use std::collections::{BTreeMap, BTreeSet};

use crate::batch::Batch;
use crate::connection::Connection;
use crate::error::NftError;
use crate::objects::{Base, Chain, Element, Family, Set};
use crate::read::{KernelRule, KernelSet};
use crate::rule::Rule;

/// A whole table; what it does not name is taken out of the kernel's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub family: Family,
    pub name: String,
    pub chains: BTreeMap<String, DeclaredChain>,
    pub sets: BTreeMap<String, DeclaredSet>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeclaredChain {
    pub base: Option<Base>,
    pub rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredSet {
    pub set: Set,
    pub elements: BTreeSet<Element>,
}

/// A table as the kernel has it.
#[derive(Debug, Clone, Default)]
pub struct Actual {
    pub exists: bool,
    pub chains: BTreeMap<String, ActualChain>,
    sets: BTreeMap<String, (KernelSet, BTreeSet<Element>)>,
}

#[derive(Debug, Clone, Default)]
pub struct ActualChain {
    pub base: Option<Base>,
    pub rules: Vec<KernelRule>,
}

/// What has to change, as a batch to commit and in words to tell.
#[derive(Debug, Clone, Default)]
pub struct Difference {
    pub batch: Batch,
    /// Names of chains whose rules differ, and of sets whose elements do; true for what is missing.
    pub chains: Vec<(String, bool)>,
    pub sets: Vec<(String, bool)>,
}

impl Table {
    pub fn new(family: Family, name: impl Into<String>) -> Self {
        Self { family, name: name.into(), chains: BTreeMap::new(), sets: BTreeMap::new() }
    }

    pub fn base_chain(&mut self, name: &str, base: Base, rules: Vec<Rule>) {
        self.chains.insert(name.into(), DeclaredChain { base: Some(base), rules });
    }

    pub fn chain(&mut self, name: &str, rules: Vec<Rule>) {
        self.chains.insert(name.into(), DeclaredChain { base: None, rules });
    }

    pub fn set(&mut self, set: Set, elements: impl IntoIterator<Item = Element>) {
        let elements = elements.into_iter().collect();
        self.sets.insert(set.name.clone(), DeclaredSet { set, elements });
    }

    /// Makes the kernel's table this one, at one moment; tells how many operations that took.
    pub fn apply(&self, connection: &mut Connection) -> Result<usize, NftError> {
        let actual = Actual::read(connection, self.family, &self.name)?;
        let difference = self.difference(&actual);
        connection.commit(&difference.batch)?;
        Ok(difference.batch.len())
    }

    pub fn difference(&self, actual: &Actual) -> Difference {
        let mut difference = Difference::default();
        if actual.exists && self.is_of_another_make(actual) {
            // A chain's hook and a set's kind cannot change: the table is made anew, in the same moment.
            difference.batch.delete_table(self.family, &self.name);
            self.write(&Actual::default(), &mut difference);
        } else {
            self.write(actual, &mut difference);
        }
        difference
    }

    fn is_of_another_make(&self, actual: &Actual) -> bool {
        let hook = |base: Option<Base>| base.map(|b| (b.kind, b.hook, b.priority));
        let chain = |(name, chain): (&String, &DeclaredChain)| {
            actual.chains.get(name).is_some_and(|found| hook(found.base) != hook(chain.base))
        };
        let set = |(name, set): (&String, &DeclaredSet)| {
            actual.sets.get(name).is_some_and(|(found, _)| !found.is(&set.set))
        };
        self.chains.iter().any(chain) || self.sets.iter().any(set)
    }

    /// The order is the kernel's: what is referred to exists before, and is no longer referred to when it goes.
    fn write(&self, actual: &Actual, difference: &mut Difference) {
        let (family, table) = (self.family, self.name.as_str());
        if !actual.exists {
            difference.batch.add_table(family, table);
        }
        for (name, declared) in &self.sets {
            if !actual.sets.contains_key(name) {
                difference.batch.add_set(family, table, &declared.set);
            }
        }
        for (name, declared) in &self.chains {
            if actual.chains.get(name).is_none_or(|found| found.base != declared.base) {
                let chain = Chain { name: name.clone(), base: declared.base };
                difference.batch.add_chain(family, table, &chain);
            }
        }
        let changed: Vec<(&String, &DeclaredChain)> =
            self.chains.iter().filter(|(name, chain)| !has_rules(actual.chains.get(*name), chain)).collect();
        let stale: Vec<&String> =
            actual.chains.keys().filter(|name| !self.chains.contains_key(*name)).collect();
        for name in changed.iter().map(|(name, _)| *name).chain(stale.iter().copied()) {
            if actual.chains.get(name).is_some_and(|found| !found.rules.is_empty()) {
                difference.batch.flush_chain(family, table, name);
            }
        }
        self.write_elements(actual, difference);
        for (name, chain) in changed {
            difference.chains.push((name.clone(), true));
            for rule in &chain.rules {
                difference.batch.append_rule(family, table, name, rule);
            }
        }
        for name in stale {
            difference.chains.push((name.clone(), false));
            difference.batch.delete_chain(family, table, name);
        }
        for name in actual.sets.keys().filter(|name| !self.sets.contains_key(*name)) {
            difference.sets.push((name.clone(), false));
            difference.batch.delete_set(family, table, name);
        }
    }

    fn write_elements(&self, actual: &Actual, difference: &mut Difference) {
        let (family, table) = (self.family, self.name.as_str());
        let none = BTreeSet::new();
        let found = |name: &String| actual.sets.get(name).map_or(&none, |(_, elements)| elements);
        // Ends of intervals mean something only with their beginnings: these sets change as a whole.
        let anew = |name: &String, declared: &DeclaredSet| {
            declared.set.interval && *found(name) != declared.elements
        };
        for (name, declared) in &self.sets {
            let kept = if anew(name, declared) { &none } else { &declared.elements };
            let extra: Vec<&Element> = found(name).difference(kept).collect();
            if !extra.is_empty() {
                difference.sets.push((name.clone(), false));
                difference.batch.delete_elements(family, table, name, extra);
            }
        }
        // Of sets that go as well: an element may be all that still refers to a chain that goes.
        for (name, (_, elements)) in actual.sets.iter().filter(|(name, _)| !self.sets.contains_key(*name)) {
            difference.batch.delete_elements(family, table, name, elements);
        }
        for (name, declared) in &self.sets {
            let there = if anew(name, declared) { &none } else { found(name) };
            let missing: Vec<&Element> = declared.elements.difference(there).collect();
            if !missing.is_empty() {
                difference.sets.push((name.clone(), true));
                difference.batch.add_elements(family, table, name, missing);
            }
        }
    }
}

fn has_rules(found: Option<&ActualChain>, declared: &DeclaredChain) -> bool {
    let Some(found) = found else { return declared.rules.is_empty() };
    found.base == declared.base
        && found.rules.len() == declared.rules.len()
        && found.rules.iter().zip(&declared.rules).all(|(found, rule)| found.digest == Some(rule.digest()))
}

impl Actual {
    pub fn read(connection: &mut Connection, family: Family, table: &str) -> Result<Self, NftError> {
        if !connection.tables()?.iter().any(|(f, name)| (*f, name.as_str()) == (family, table)) {
            return Ok(Self::default());
        }
        let mut actual = Self { exists: true, ..Self::default() };
        for (f, of_table, chain) in connection.chains()? {
            if (f, of_table.as_str()) == (family, table) {
                actual.chains.insert(chain.name, ActualChain { base: chain.base, rules: Vec::new() });
            }
        }
        for rule in connection.rules(family, table)? {
            actual.chains.entry(rule.chain.clone()).or_default().rules.push(rule);
        }
        for set in connection.sets(family, table)? {
            let elements = connection.elements(family, table, &set.name)?.into_iter().collect();
            actual.sets.insert(set.name.clone(), (set, elements));
        }
        Ok(actual)
    }

    /// Elements of a set, where there is one.
    pub fn elements(&self, set: &str) -> impl Iterator<Item = &Element> {
        self.sets.get(set).into_iter().flat_map(|(_, elements)| elements)
    }
}
