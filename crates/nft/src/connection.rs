//! A socket to nf_tables of one network namespace: commits batches and lists what there is.

use std::io;

use nix::errno::Errno;
use sys::netlink::{Answer, Attributes, Message, NetlinkError, Outcome, Protocol, Socket};

use crate::batch::{Batch, head};
use crate::error::NftError;
use crate::numbers::{self as n, message};
use crate::objects::{Chain, Element, Family};
use crate::read::{self, KernelRule, KernelSet};

/// Speaks with the network namespace it was opened in.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
}

impl Connection {
    /// To the network namespace of the calling thread.
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: Socket::open(Protocol::Netfilter)? })
    }

    /// All of the batch takes effect at one moment, or nothing does. An empty batch is a success.
    pub fn commit(&mut self, batch: &Batch) -> Result<(), NftError> {
        self.send(batch, &Attributes::new())
    }

    /// As [`Self::commit`], if [`Self::generation`] still is this one; [`NftError::is_outdated`] says that it is not. An
    /// empty batch looks at nothing.
    pub fn commit_if(&mut self, generation: u32, batch: &Batch) -> Result<(), NftError> {
        self.send(batch, &Attributes::new().put(n::BATCH_GENERATION, generation.to_be_bytes()))
    }

    fn send(&mut self, batch: &Batch, condition: &Attributes) -> Result<(), NftError> {
        if batch.is_empty() {
            return Ok(());
        }
        let of = batch.len();
        let mut messages = Vec::with_capacity(of + 2);
        messages.push(Message::new(n::BATCH_BEGIN, 0, &head(0, n::SUBSYSTEM), condition));
        messages.extend(batch.operations.iter().map(|(_, message)| message.clone()));
        // One acknowledgement is enough, and it is delivered after the commit. The end of a batch is
        // acknowledged by new kernels only, so the last operation asks for it.
        messages[of].flags |= Socket::ACKNOWLEDGE;
        messages.push(Message::new(n::BATCH_END, 0, &head(0, n::SUBSYSTEM), &Attributes::new()));
        let outcomes = self.socket.batch(&messages).map_err(NftError::read("commit a batch"))?;
        judge(batch, outcomes)
    }

    /// Changes with every commit in this namespace, whoever makes it.
    pub fn generation(&mut self) -> Result<u32, NftError> {
        let ask = ask(message::GET_GENERATION, 0, &Attributes::new());
        let answers = self.socket.request(&ask).map_err(NftError::read("read the generation"))?;
        let id = answers.first().and_then(|a| read::number(read::body(a), n::GENERATION_ID));
        id.ok_or(NetlinkError::Garbled).map_err(NftError::read("read the generation"))
    }

    pub fn tables(&mut self) -> Result<Vec<(Family, String)>, NftError> {
        let answers = self.dump(message::GET_TABLE, 0, &Attributes::new(), "list tables")?;
        Ok(answers.iter().filter_map(read::table).collect())
    }

    /// Chains of every table of every family, each with its family and table.
    pub fn chains(&mut self) -> Result<Vec<(Family, String, Chain)>, NftError> {
        let answers = self.dump(message::GET_CHAIN, 0, &Attributes::new(), "list chains")?;
        Ok(answers.iter().filter_map(read::chain).collect())
    }

    /// Rules of a table, each chain's in their order.
    pub fn rules(&mut self, family: Family, table: &str) -> Result<Vec<KernelRule>, NftError> {
        let only = Attributes::new().text(n::RULE_TABLE, table);
        let answers = self.dump(message::GET_RULE, family.number(), &only, "list rules")?;
        Ok(answers.iter().filter_map(|a| read::rule(a, table)).collect())
    }

    pub fn sets(&mut self, family: Family, table: &str) -> Result<Vec<KernelSet>, NftError> {
        let only = Attributes::new().text(n::SET_TABLE, table);
        let answers = self.dump(message::GET_SET, family.number(), &only, "list sets")?;
        Ok(answers.iter().filter_map(read::set).collect())
    }

    pub fn elements(&mut self, family: Family, table: &str, set: &str) -> Result<Vec<Element>, NftError> {
        let only = Attributes::new().text(n::ELEMENTS_TABLE, table).text(n::ELEMENTS_SET, set);
        let answers = self.dump(message::GET_ELEMENT, family.number(), &only, "list elements")?;
        Ok(answers.iter().flat_map(read::elements).collect())
    }

    /// Packets that matched each element of a [`crate::Set::counting`], by the element's key. A set that is not there has
    /// counted nothing.
    pub fn counts(
        &mut self,
        family: Family,
        table: &str,
        set: &str,
    ) -> Result<Vec<(Vec<u8>, u64)>, NftError> {
        let only = Attributes::new().text(n::ELEMENTS_TABLE, table).text(n::ELEMENTS_SET, set);
        match self.dump(message::GET_ELEMENT, family.number(), &only, "list counts") {
            Err(NftError::Read { source, .. }) if source.is(Errno::ENOENT) => Ok(Vec::new()),
            answers => Ok(answers?.iter().flat_map(read::counts).collect()),
        }
    }

    fn dump(
        &mut self,
        kind: u16,
        family: u8,
        attributes: &Attributes,
        what: &'static str,
    ) -> Result<Vec<Answer>, NftError> {
        self.socket.dump(&ask(kind, family, attributes)).map_err(NftError::read(what))
    }
}

fn ask(kind: u16, family: u8, attributes: &Attributes) -> Message {
    Message::new(n::SUBSYSTEM << 8 | kind, 0, &head(family, 0), attributes)
}

/// The first refusal counts: those behind it are often its consequence. The acknowledgement of the last operation
/// says nothing while there is one.
fn judge(batch: &Batch, outcomes: Vec<Outcome>) -> Result<(), NftError> {
    let of = batch.len();
    let mut acknowledged = false;
    let mut refused: Option<(usize, NetlinkError)> = None;
    for Outcome { index, result } in outcomes {
        match result {
            Ok(()) => acknowledged |= index == of,
            // Index 0 is the beginning of the batch, which stands for the whole.
            Err(e) if refused.as_ref().is_none_or(|(first, _)| *first == 0) => refused = Some((index, e)),
            Err(_) => {}
        }
    }
    match refused {
        None if acknowledged => Ok(()),
        None => Err(NftError::Unanswered { of }),
        Some((number, source)) => match number.checked_sub(1).and_then(|i| batch.operations.get(i)) {
            Some((what, _)) => Err(NftError::Refused { operation: what.clone(), number, of, source }),
            None => Err(NftError::Commit { of, source }),
        },
    }
}
