//! A query that waits for a resolver: the question to ask, and the reply once there is an answer.

use std::io;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::Record;

use super::reply::{Frame, UDP_MAX};

/// A guest's query whose answer is elsewhere.
#[derive(Debug)]
pub struct Pending {
    frame: Frame,
    asked: Query,
    before: Vec<Record>,
}

impl Pending {
    pub(super) fn new(frame: Frame, asked: Query, before: Vec<Record>) -> Self {
        Self { frame, asked, before }
    }

    /// The message to ask a resolver, under an id the caller draws at random. Written anew: nothing that a guest
    /// put beside its question leaves the host.
    pub fn question(&self, id: u16) -> io::Result<Vec<u8>> {
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(self.asked.clone());
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_MAX).set_version(0).set_dnssec_ok(self.frame.wants_dnssec());
        message.set_edns(edns);
        message.to_vec().map_err(io::Error::other)
    }

    /// The reply to the guest. Without a resolver's answer to this very question it says so (SERVFAIL).
    pub fn finish(self, id: u16, upstream: Option<&[u8]>) -> Vec<u8> {
        let answer = upstream.and_then(|bytes| Message::from_vec(bytes).ok());
        match answer.filter(|answer| self.is_answered_by(answer, id)) {
            Some(answer) => self.frame.relay(self.before, answer),
            None => self.frame.refuse(ResponseCode::ServFail),
        }
    }

    fn is_answered_by(&self, answer: &Message, id: u16) -> bool {
        let is_same = |q: &Query| {
            q.name == self.asked.name
                && q.query_type == self.asked.query_type
                && q.query_class == self.asked.query_class
        };
        answer.id == id
            && answer.message_type == MessageType::Response
            && !answer.truncation
            && matches!(answer.queries.as_slice(), [question] if is_same(question))
    }
}
