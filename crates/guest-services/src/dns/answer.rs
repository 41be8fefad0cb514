//! From a guest's query to the reply, or to the question that a resolver has to answer first.

use hickory_proto::op::{Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, RecordType};

use super::Transport;
use super::lookup::{Finding, look_up};
use super::pending::Pending;
use super::reply::{Frame, soa};
use crate::directory::Directory;

/// What to do about a query.
#[derive(Debug)]
pub enum Step {
    /// Not a query: anything said could become a loop.
    Silence,
    Reply(Vec<u8>),
    /// Ask a resolver for [`Pending::question`], then [`Pending::finish`].
    Forward(Box<Pending>),
}

/// Answers a query from the port at `interface`; nothing where there is no port.
pub fn answer(directory: &Directory, interface: u32, transport: Transport, bytes: &[u8]) -> Step {
    if !directory.ports.contains_key(&interface) {
        return Step::Silence;
    }
    let Some(query) = decode(bytes) else {
        return malformed(bytes);
    };
    if query.message_type == MessageType::Response {
        return Step::Silence;
    }
    let frame = Frame::of(&query, transport);
    let question = match admit(&query) {
        Ok(question) => question.clone(),
        Err(code) => return Step::Reply(frame.refuse(code)),
    };
    decide(directory, frame, question, query.recursion_desired)
}

/// Decodes a message that can be a plain query: it has no records but EDNS. Others are not decoded, so that no
/// decoder of any sort of record is a guest's to try out.
fn decode(bytes: &[u8]) -> Option<Message> {
    const ADDITIONALS_MAX: u16 = 1;
    let [_, _, _, _, _, _, an0, an1, ns0, ns1, ar0, ar1] = *bytes.first_chunk()?;
    let is_plain = [an0, an1, ns0, ns1] == [0; 4] && u16::from_be_bytes([ar0, ar1]) <= ADDITIONALS_MAX;
    if is_plain { Message::from_vec(bytes).ok() } else { None }
}

/// Answers what is not decoded when at least its header is there, so that the client need not wait.
fn malformed(query: &[u8]) -> Step {
    const RESPONSE_BIT: u8 = 0x80;
    match query {
        [id0, id1, flags, ..] if query.len() >= 12 && flags & RESPONSE_BIT == 0 => {
            let id = u16::from_be_bytes([*id0, *id1]);
            let op_code = OpCode::from_u8((flags >> 3) & 15);
            let is_query = op_code == OpCode::Query;
            let code = if is_query { ResponseCode::FormErr } else { ResponseCode::NotImp };
            let reply = Message::error_msg(id, op_code, code);
            reply.to_vec().map_or(Step::Silence, Step::Reply)
        }
        _ => Step::Silence,
    }
}

fn admit(query: &Message) -> Result<&Query, ResponseCode> {
    if query.op_code != OpCode::Query {
        return Err(ResponseCode::NotImp);
    }
    if query.edns.as_ref().is_some_and(|edns| edns.version() != 0) {
        return Err(ResponseCode::BADVERS);
    }
    let [question] = query.queries.as_slice() else {
        return Err(ResponseCode::FormErr);
    };
    if question.query_class != DNSClass::IN {
        return Err(ResponseCode::Refused);
    }
    match question.query_type {
        // A zone is nobody's to copy.
        RecordType::AXFR | RecordType::IXFR => Err(ResponseCode::Refused),
        _ => Ok(question),
    }
}

fn decide(directory: &Directory, frame: Frame, question: Query, is_recursion_desired: bool) -> Step {
    let (records, finding) = look_up(directory, &question);
    match finding {
        Finding::Found => Step::Reply(frame.answer(ResponseCode::NoError, records, None)),
        Finding::NoData(zone) => Step::Reply(frame.answer(ResponseCode::NoError, records, soa(&zone))),
        Finding::NoName(zone) => Step::Reply(frame.answer(ResponseCode::NXDomain, records, soa(&zone))),
        Finding::Loop => Step::Reply(frame.refuse(ResponseCode::ServFail)),
        // What is outside is told to those who ask for recursion only, and never everything at once.
        Finding::Outside(_)
            if !is_recursion_desired
                || directory.upstreams.is_empty()
                || question.query_type == RecordType::ANY =>
        {
            if records.is_empty() {
                Step::Reply(frame.refuse(ResponseCode::Refused))
            } else {
                Step::Reply(frame.answer(ResponseCode::NoError, records, None))
            }
        }
        Finding::Outside(name) => {
            let mut asked = question;
            asked.name = name;
            Step::Forward(Box::new(Pending::new(frame, asked, records)))
        }
    }
}

/// The id and the rest of a query's header that the reply repeats.
pub(super) fn header_of(query: &Message) -> Metadata {
    let mut header = Metadata::response_from_request(&query.metadata);
    header.recursion_available = true;
    header
}
