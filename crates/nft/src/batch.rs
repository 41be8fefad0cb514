//! Changes that take effect together or not at all, in the order in which they are written down.

use sys::netlink::{Attributes, Message, flags};

use crate::numbers::{self as n, message};
use crate::objects::{Chain, Element, Family, Policy, Set};
use crate::rule::{Rule, number};

/// Elements of one message: their list is one attribute and must stay well below 64 KiB.
const ELEMENTS_MAX: usize = 256;

/// Operations on tables and what is in them. Each knows its own name, for the day the kernel refuses it.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    pub(crate) operations: Vec<(String, Message)>,
}

impl Batch {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// What the batch does, one sentence per operation.
    pub fn describe(&self) -> impl Iterator<Item = &str> {
        self.operations.iter().map(|(what, _)| what.as_str())
    }

    /// Everything of another one, behind what is here.
    pub fn append(&mut self, mut other: Self) {
        self.operations.append(&mut other.operations);
    }

    /// A table that exists stays as it is.
    pub fn add_table(&mut self, family: Family, table: &str) {
        let what = format!("add table {} {table}", family.as_str());
        let attributes = Attributes::new().text(n::TABLE_NAME, table);
        self.push(what, message::NEW_TABLE, flags::CREATE, family, &attributes);
    }

    pub fn delete_table(&mut self, family: Family, table: &str) {
        let what = format!("delete table {} {table}", family.as_str());
        let attributes = Attributes::new().text(n::TABLE_NAME, table);
        self.push(what, message::DELETE_TABLE, 0, family, &attributes);
    }

    /// Of a chain that exists only the policy may differ.
    pub fn add_chain(&mut self, family: Family, table: &str, chain: &Chain) {
        let what = format!("add chain {} {table} {}", family.as_str(), chain.name);
        let mut attributes = Attributes::new().text(n::CHAIN_TABLE, table).text(n::CHAIN_NAME, &chain.name);
        if let Some(base) = chain.base {
            let hook = Attributes::new()
                .put(n::HOOK_NUMBER, number(base.hook.number(family)))
                .put(n::HOOK_PRIORITY, base.priority.to_be_bytes());
            let policy = u32::from(base.policy == Policy::Accept);
            attributes = attributes
                .nest(n::CHAIN_HOOK, &hook)
                .put(n::CHAIN_POLICY, number(policy))
                .text(n::CHAIN_TYPE, base.kind.as_str());
        }
        self.push(what, message::NEW_CHAIN, flags::CREATE, family, &attributes);
    }

    /// Its rules are flushed before, and nothing jumps there any more.
    pub fn delete_chain(&mut self, family: Family, table: &str, chain: &str) {
        let what = format!("delete chain {} {table} {chain}", family.as_str());
        let attributes = Attributes::new().text(n::CHAIN_TABLE, table).text(n::CHAIN_NAME, chain);
        self.push(what, message::DELETE_CHAIN, 0, family, &attributes);
    }

    /// Deletes all rules of a chain that has some.
    pub fn flush_chain(&mut self, family: Family, table: &str, chain: &str) {
        let what = format!("flush chain {} {table} {chain}", family.as_str());
        let attributes = Attributes::new().text(n::RULE_TABLE, table).text(n::RULE_CHAIN, chain);
        self.push(what, message::DELETE_RULE, 0, family, &attributes);
    }

    /// Behind the rules that the chain has.
    pub fn append_rule(&mut self, family: Family, table: &str, chain: &str, rule: &Rule) {
        self.add_rule(family, table, chain, rule, flags::APPEND);
    }

    /// Before the rules that the chain has.
    pub fn insert_rule(&mut self, family: Family, table: &str, chain: &str, rule: &Rule) {
        self.add_rule(family, table, chain, rule, 0);
    }

    pub fn delete_rule(&mut self, family: Family, table: &str, chain: &str, handle: u64) {
        let what = format!("delete rule {handle} of {} {table} {chain}", family.as_str());
        let attributes = Attributes::new()
            .text(n::RULE_TABLE, table)
            .text(n::RULE_CHAIN, chain)
            .put(n::RULE_HANDLE, handle.to_be_bytes());
        self.push(what, message::DELETE_RULE, 0, family, &attributes);
    }

    /// A set that exists must be of the same kind.
    pub fn add_set(&mut self, family: Family, table: &str, set: &Set) {
        let what = format!("add set {} {table} {}", family.as_str(), set.name);
        // The kernel wants an id, which tells the sets of one batch apart.
        let id = u32::try_from(self.operations.len() + 1).unwrap_or(u32::MAX);
        let attributes = Attributes::new()
            .text(n::SET_TABLE, table)
            .text(n::SET_NAME, &set.name)
            .and(&set.attributes())
            .put(n::SET_ID, number(id));
        self.push(what, message::NEW_SET, flags::CREATE, family, &attributes);
    }

    pub fn delete_set(&mut self, family: Family, table: &str, set: &str) {
        let what = format!("delete set {} {table} {set}", family.as_str());
        let attributes = Attributes::new().text(n::SET_TABLE, table).text(n::SET_NAME, set);
        self.push(what, message::DELETE_SET, 0, family, &attributes);
    }

    pub fn add_elements<'a>(
        &mut self,
        family: Family,
        table: &str,
        set: &str,
        elements: impl IntoIterator<Item = &'a Element>,
    ) {
        self.elements("add", message::NEW_ELEMENT, flags::CREATE, (family, table, set), elements);
    }

    /// Elements that are not there make the batch fail.
    pub fn delete_elements<'a>(
        &mut self,
        family: Family,
        table: &str,
        set: &str,
        elements: impl IntoIterator<Item = &'a Element>,
    ) {
        self.elements("delete", message::DELETE_ELEMENT, 0, (family, table, set), elements);
    }

    fn add_rule(&mut self, family: Family, table: &str, chain: &str, rule: &Rule, place: u16) {
        let why = rule.comment_text();
        let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
        let what = format!("add rule to {} {table} {chain}{why}", family.as_str());
        let attributes = Attributes::new()
            .text(n::RULE_TABLE, table)
            .text(n::RULE_CHAIN, chain)
            .nest(n::RULE_EXPRESSIONS, rule.expressions())
            .put(n::RULE_USERDATA, rule.userdata());
        self.push(what, message::NEW_RULE, flags::CREATE | place, family, &attributes);
    }

    fn elements<'a>(
        &mut self,
        verb: &str,
        kind: u16,
        flags: u16,
        (family, table, set): (Family, &str, &str),
        elements: impl IntoIterator<Item = &'a Element>,
    ) {
        let elements: Vec<&Element> = elements.into_iter().collect();
        for some in elements.chunks(ELEMENTS_MAX) {
            let what = format!("{verb} {} elements of {} {table} {set}", some.len(), family.as_str());
            let list = some
                .iter()
                .fold(Attributes::new(), |list, element| list.nest(n::LIST_ELEMENT, &element.attributes()));
            let attributes = Attributes::new()
                .text(n::ELEMENTS_TABLE, table)
                .text(n::ELEMENTS_SET, set)
                .nest(n::ELEMENTS_LIST, &list);
            self.push(what, kind, flags, family, &attributes);
        }
    }

    fn push(&mut self, what: String, kind: u16, flags: u16, family: Family, attributes: &Attributes) {
        let message = Message::new(n::SUBSYSTEM << 8 | kind, flags, &head(family.number(), 0), attributes);
        self.operations.push((what, message));
    }
}

/// struct nfgenmsg: the family, version 0, and a resource in network order.
pub(crate) fn head(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}
