//! The kernel's answers as values. What is of a kind that we never make is passed over.

use sys::netlink::{Answer, attribute, attributes};

use crate::numbers as n;
use crate::objects::{Base, Chain, ChainKind, Element, ElementData, Family, Hook, Policy, Set, Verdict};

/// A rule as the kernel keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelRule {
    pub chain: String,
    pub handle: u64,
    pub comment: Option<String>,
    /// [`crate::Rule::digest`] of the rule it was made from; `None` when others made it.
    pub digest: Option<[u8; 16]>,
}

/// A set as the kernel keeps it; compare with [`Self::is`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelSet {
    pub name: String,
    flags: u32,
    key_type: u32,
    key_length: u32,
}

impl KernelSet {
    /// Whether it is of this kind.
    pub fn is(&self, set: &Set) -> bool {
        (self.flags, self.key_type, self.key_length) == (set.flags(), set.key_type(), set.key_length())
    }
}

/// Attributes of an answer, behind its struct nfgenmsg.
pub(crate) fn body(answer: &Answer) -> &[u8] {
    answer.body.get(4..).unwrap_or_default()
}

pub(crate) fn number(bytes: &[u8], kind: u16) -> Option<u32> {
    attribute(bytes, kind)?.try_into().ok().map(u32::from_be_bytes)
}

fn text(bytes: &[u8], kind: u16) -> Option<String> {
    let value = attribute(bytes, kind)?;
    Some(String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned())
}

fn family(answer: &Answer) -> Option<Family> {
    Family::from_number(*answer.body.first()?)
}

pub(crate) fn table(answer: &Answer) -> Option<(Family, String)> {
    Some((family(answer)?, text(body(answer), n::TABLE_NAME)?))
}

pub(crate) fn chain(answer: &Answer) -> Option<(Family, String, Chain)> {
    let (family, bytes) = (family(answer)?, body(answer));
    let base = attribute(bytes, n::CHAIN_HOOK).and_then(|hook| {
        Some(Base {
            kind: ChainKind::parse(&text(bytes, n::CHAIN_TYPE)?)?,
            hook: Hook::from_number(number(hook, n::HOOK_NUMBER)?, family)?,
            priority: number(hook, n::HOOK_PRIORITY)?.cast_signed(),
            policy: if number(bytes, n::CHAIN_POLICY)? == 0 { Policy::Drop } else { Policy::Accept },
        })
    });
    Some((family, text(bytes, n::CHAIN_TABLE)?, Chain { name: text(bytes, n::CHAIN_NAME)?, base }))
}

pub(crate) fn rule(answer: &Answer, of_table: &str) -> Option<KernelRule> {
    let bytes = body(answer);
    text(bytes, n::RULE_TABLE).filter(|table| table == of_table)?;
    let userdata = attribute(bytes, n::RULE_USERDATA).unwrap_or_default();
    let comment = userdata_value(userdata, n::USERDATA_COMMENT);
    Some(KernelRule {
        chain: text(bytes, n::RULE_CHAIN)?,
        handle: attribute(bytes, n::RULE_HANDLE)?.try_into().ok().map(u64::from_be_bytes)?,
        comment: comment.map(|c| String::from_utf8_lossy(c.strip_suffix(&[0]).unwrap_or(c)).into_owned()),
        digest: userdata_value(userdata, n::USERDATA_DIGEST).and_then(|digest| digest.try_into().ok()),
    })
}

/// User data is a run of kind, length, value.
fn userdata_value(mut data: &[u8], kind: u8) -> Option<&[u8]> {
    loop {
        let (found, length) = (*data.first()?, usize::from(*data.get(1)?));
        let value = data.get(2..2 + length)?;
        if found == kind {
            return Some(value);
        }
        data = &data[2 + length..];
    }
}

pub(crate) fn set(answer: &Answer) -> Option<KernelSet> {
    let bytes = body(answer);
    Some(KernelSet {
        name: text(bytes, n::SET_NAME)?,
        flags: number(bytes, n::SET_FLAGS).unwrap_or(0) & (n::SET_FLAG_INTERVAL | n::SET_FLAG_MAP),
        key_type: number(bytes, n::SET_KEY_TYPE)?,
        key_length: number(bytes, n::SET_KEY_LENGTH)?,
    })
}

pub(crate) fn elements(answer: &Answer) -> Vec<Element> {
    let list = attribute(body(answer), n::ELEMENTS_LIST).unwrap_or_default();
    attributes(list).filter_map(|(_, bytes)| element(bytes)).collect()
}

/// Packets that matched each element, by its key, in a set whose elements count.
pub(crate) fn counts(answer: &Answer) -> Vec<(Vec<u8>, u64)> {
    let list = attribute(body(answer), n::ELEMENTS_LIST).unwrap_or_default();
    attributes(list).filter_map(|(_, bytes)| count(bytes)).collect()
}

fn count(bytes: &[u8]) -> Option<(Vec<u8>, u64)> {
    let key = attribute(attribute(bytes, n::ELEMENT_KEY)?, n::DATA_VALUE)?.to_vec();
    let counter = attribute(attribute(bytes, n::ELEMENT_EXPRESSION)?, n::EXPRESSION_DATA)?;
    let packets = attribute(counter, n::COUNTER_PACKETS)?.try_into().ok().map(u64::from_be_bytes)?;
    Some((key, packets))
}

fn element(bytes: &[u8]) -> Option<Element> {
    let key = attribute(attribute(bytes, n::ELEMENT_KEY)?, n::DATA_VALUE)?.to_vec();
    let flags = number(bytes, n::ELEMENT_FLAGS).unwrap_or(0);
    let data = attribute(bytes, n::ELEMENT_DATA).and_then(|data| {
        match (attribute(data, n::DATA_VERDICT), attribute(data, n::DATA_VALUE)) {
            (Some(verdict), _) => {
                let code = number(verdict, n::VERDICT_CODE)?.cast_signed();
                Verdict::from_code(code, text(verdict, n::VERDICT_CHAIN)).map(ElementData::Verdict)
            }
            (None, Some(value)) => Some(ElementData::Value(value.to_vec())),
            (None, None) => None,
        }
    });
    Some(Element { key: key.into(), ends_interval: flags & n::ELEMENT_INTERVAL_END != 0, data })
}
