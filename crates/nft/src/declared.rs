//! A table as it should be, and the batch that leads there from what is. The kernel's rules are recognised by the
//! digest they carry, so that nothing is written that is there already, and sets change by their elements.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::batch::Batch;
use crate::connection::Connection;
use crate::error::NftError;
use crate::objects::{Base, Chain, Element, Family, Set};
use crate::read::{KernelRule, KernelSet};
use crate::rule::Rule;
use crate::state::State;

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
    /// May be shared with another table; those that share it need no comparing.
    pub elements: Arc<BTreeSet<Element>>,
}

/// A table as the kernel has it.
#[derive(Debug, Clone, Default)]
pub struct Actual {
    pub exists: bool,
    pub chains: BTreeMap<String, ActualChain>,
    pub(crate) sets: BTreeMap<String, (KernelSet, BTreeSet<Element>)>,
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
    /// Something that was there goes; where not, there is only more than before.
    pub takes_away: bool,
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
        self.shared_set(set, Arc::new(elements.into_iter().collect()));
    }

    /// As [`Self::set`], with elements that another table may have too.
    pub fn shared_set(&mut self, set: Set, elements: Arc<BTreeSet<Element>>) {
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
        self.difference_to(State::Kernel(actual))
    }

    /// What leads here from another table, for whoever knows that the kernel has exactly that one: see
    /// [`Connection::commit_if`].
    pub fn difference_from(&self, before: &Self) -> Difference {
        self.difference_to(State::Declared(before))
    }

    fn difference_to(&self, before: State<'_>) -> Difference {
        let mut difference = Difference::default();
        if before.exists() && self.is_of_another_make(before) {
            // A chain's hook and a set's kind cannot change: the table is made anew, in the same moment.
            difference.batch.delete_table(self.family, &self.name);
            difference.takes_away = true;
            self.write(State::Nothing, &mut difference);
        } else {
            self.write(before, &mut difference);
        }
        difference
    }

    fn is_of_another_make(&self, before: State<'_>) -> bool {
        let hook = |base: Option<Base>| base.map(|b| (b.kind, b.hook, b.priority));
        let chain = |(name, chain): (&String, &DeclaredChain)| {
            before.chain(name).is_some_and(|found| hook(found) != hook(chain.base))
        };
        let set = |(name, set): (&String, &DeclaredSet)| before.is_other_set(name, &set.set);
        self.chains.iter().any(chain) || self.sets.iter().any(set)
    }

    /// The order is the kernel's: what is referred to exists before, and is no longer referred to when it goes.
    fn write(&self, before: State<'_>, difference: &mut Difference) {
        let (family, table) = (self.family, self.name.as_str());
        if !before.exists() {
            difference.batch.add_table(family, table);
        }
        for (name, declared) in &self.sets {
            if before.elements(name).is_none() {
                difference.batch.add_set(family, table, &declared.set);
            }
        }
        for (name, declared) in &self.chains {
            if before.chain(name) != Some(declared.base) {
                let chain = Chain { name: name.clone(), base: declared.base };
                difference.batch.add_chain(family, table, &chain);
            }
        }
        let changed: Vec<(&String, &DeclaredChain)> =
            self.chains.iter().filter(|(name, chain)| !before.has_rules(name, chain)).collect();
        let stale: Vec<&String> = before.chains().filter(|name| !self.chains.contains_key(*name)).collect();
        for name in changed.iter().map(|(name, _)| *name).chain(stale.iter().copied()) {
            if before.has_some_rules(name) {
                difference.takes_away = true;
                difference.batch.flush_chain(family, table, name);
            }
        }
        self.write_elements(before, difference);
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
        for name in before.sets().filter(|name| !self.sets.contains_key(*name)) {
            difference.takes_away = true;
            difference.sets.push((name.clone(), false));
            difference.batch.delete_set(family, table, name);
        }
    }

    fn write_elements(&self, before: State<'_>, difference: &mut Difference) {
        let (family, table) = (self.family, self.name.as_str());
        let none = BTreeSet::new();
        let found = |name: &String| before.elements(name).unwrap_or(&none);
        let changed: Vec<(&String, &DeclaredSet)> =
            self.sets.iter().filter(|(name, set)| differ(found(name), &set.elements)).collect();
        for (name, declared) in &changed {
            // Ends of intervals mean something only with their beginnings: these sets change as a whole.
            let kept = if declared.set.interval { &none } else { &*declared.elements };
            let extra: Vec<&Element> = found(name).difference(kept).collect();
            if !extra.is_empty() {
                difference.takes_away = true;
                difference.sets.push(((*name).clone(), false));
                difference.batch.delete_elements(family, table, name, extra);
            }
        }
        // Of sets that go as well: an element may be all that still refers to a chain that goes.
        for name in before.sets().filter(|name| !self.sets.contains_key(*name)) {
            difference.batch.delete_elements(family, table, name, found(name));
        }
        for (name, declared) in &changed {
            let there = if declared.set.interval { &none } else { found(name) };
            let missing: Vec<&Element> = declared.elements.difference(there).collect();
            if !missing.is_empty() {
                difference.sets.push(((*name).clone(), true));
                difference.batch.add_elements(family, table, name, missing);
            }
        }
    }
}

/// Quick where they are one and the same.
fn differ(a: &BTreeSet<Element>, b: &BTreeSet<Element>) -> bool {
    !std::ptr::eq(a, b) && a != b
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
