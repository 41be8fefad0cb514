//! The form of a reply: header, EDNS, length. Says nothing of its content.

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{RData, Record};

use super::Transport;
use super::answer::header_of;
use crate::zone::absolute;

/// Longest reply over UDP without EDNS (RFC 1035), and the longest with it: no link fragments it (RFC 9715).
const PLAIN_MAX: u16 = 512;
pub(super) const UDP_MAX: u16 = 1232;
/// Seconds for which "there is no such name" is remembered: a new instance's name has to be seen soon.
const NEGATIVE_TTL: u32 = 5;

/// What of a query its reply repeats, and how long the reply may be.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    header: Metadata,
    queries: Vec<Query>,
    /// Whether the client speaks EDNS, and wants DNSSEC's records.
    edns: Option<bool>,
    limit: usize,
}

impl Frame {
    pub(super) fn of(query: &Message, transport: Transport) -> Self {
        let limit = match (transport, &query.edns) {
            (Transport::Tcp, _) => u16::MAX,
            (Transport::Udp, Some(edns)) => edns.max_payload().clamp(PLAIN_MAX, UDP_MAX),
            (Transport::Udp, None) => PLAIN_MAX,
        };
        Self {
            header: header_of(query),
            // One question, or none: a reply repeats no more than was understood.
            queries: query.queries.iter().take(1).cloned().collect(),
            edns: query.edns.as_ref().map(|edns| edns.flags().dnssec_ok),
            limit: usize::from(limit),
        }
    }

    pub(super) fn wants_dnssec(&self) -> bool {
        self.edns.unwrap_or(false)
    }

    /// A reply from our own data.
    pub(super) fn answer(&self, code: ResponseCode, records: Vec<Record>, soa: Option<Record>) -> Vec<u8> {
        let mut reply = self.message(code);
        reply.metadata.authoritative = true;
        reply.add_answers(records);
        reply.add_authorities(soa);
        self.encode(reply)
    }

    /// A reply without data.
    pub(super) fn refuse(&self, code: ResponseCode) -> Vec<u8> {
        self.encode(self.message(code))
    }

    /// A resolver's reply, with the records that led to its question put before.
    pub(super) fn relay(&self, before: Vec<Record>, upstream: Message) -> Vec<u8> {
        let mut reply = self.message(upstream.response_code);
        reply.metadata.authentic_data = upstream.authentic_data && before.is_empty();
        reply.add_answers(before);
        reply.add_answers(upstream.answers);
        reply.add_authorities(upstream.authorities);
        reply.add_additionals(upstream.additionals);
        self.encode(reply)
    }

    fn message(&self, code: ResponseCode) -> Message {
        let mut reply = Message::new(self.header.id, MessageType::Response, OpCode::Query);
        reply.metadata = self.header;
        reply.metadata.response_code = code;
        reply.add_queries(self.queries.iter().cloned());
        if let Some(is_dnssec_ok) = self.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_MAX).set_version(0).set_dnssec_ok(is_dnssec_ok);
            reply.set_edns(edns);
        }
        reply
    }

    /// A reply that is too long loses all of its records and tells the client to ask over TCP: half of a set of
    /// records would be taken for the whole (RFC 2181, section 9).
    fn encode(&self, reply: Message) -> Vec<u8> {
        match reply.to_vec() {
            Ok(bytes) if bytes.len() <= self.limit => bytes,
            Ok(_) => reply.truncate().to_vec().unwrap_or_default(),
            Err(_) => self.message(ResponseCode::ServFail).to_vec().unwrap_or_default(),
        }
    }
}

/// The record that tells how long a negative answer counts (RFC 2308).
pub(super) fn soa(zone: &str) -> Option<Record> {
    let name = absolute(zone)?;
    let contact = absolute(&format!("hostmaster.{zone}")).unwrap_or_else(|| name.clone());
    let negative = NEGATIVE_TTL;
    let data = SOA::new(name.clone(), contact, 1, 3600, 600, 86400, negative);
    Some(Record::from_rdata(name, negative, RData::SOA(data)))
}
