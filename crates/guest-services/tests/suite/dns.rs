//! DNS: what the VPC's names answer, what is forwarded and how, and how long a reply may be.

use guest_services::dns::{Pending, Step, Transport, answer};
use guest_services::{Directory, RecordData, Zone, ZoneError};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use proptest::prelude::*;

use crate::support::{WEB, directory};

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(77, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn ask_in(directory: &Directory, transport: Transport, message: &Message) -> Step {
    answer(directory, WEB, transport, &message.to_vec().unwrap())
}

fn reply(message: &Message) -> Message {
    match ask_in(&directory(), Transport::Udp, message) {
        Step::Reply(bytes) => Message::from_vec(&bytes).unwrap(),
        other => panic!("{message:?} gives {other:?}"),
    }
}

fn describe(message: &Message) -> String {
    let records: Vec<String> = message.answers.iter().map(|r| format!("{} {}", r.name, r.data)).collect();
    let code = format!("{:?}", message.response_code);
    if records.is_empty() { code } else { format!("{code}: {}", records.join(", ")) }
}

fn check(name: &str, kind: RecordType, expected: &str) {
    let found = match ask_in(&directory(), Transport::Udp, &query(name, kind)) {
        Step::Silence => "silence".to_owned(),
        Step::Forward(pending) => {
            let question = Message::from_vec(&pending.question(1).unwrap()).unwrap();
            format!("forward {} {}", question.queries[0].name, question.queries[0].query_type)
        }
        Step::Reply(bytes) => describe(&Message::from_vec(&bytes).unwrap()),
    };
    assert_eq!(found, expected, "{name} {kind}");
}

#[test]
fn names_of_the_vpc_are_answered() {
    use RecordType::{A, AAAA, CNAME, MX, NS, PTR, SRV, TXT};
    check("web.demo.internal.", A, "NoError: web.demo.internal. 10.0.0.5");
    check("WEB.Demo.internal.", A, "NoError: WEB.Demo.internal. 10.0.0.5");
    check("web.demo.internal.", AAAA, "NoError: web.demo.internal. fd12:3456::5");
    check("web.demo.internal.", TXT, "NoError");
    check("none.demo.internal.", A, "NXDomain");
    let alias = "NoError: www.demo.internal. web.demo.internal.";
    check("www.demo.internal.", A, &format!("{alias}, web.demo.internal. 10.0.0.5"));
    check("www.demo.internal.", CNAME, alias);
    check("loop.demo.internal.", A, "ServFail");
    check("x.y.apps.demo.internal.", A, "NoError: x.y.apps.demo.internal. 10.0.0.7");
    check("apps.demo.internal.", A, "NoError");
    check("deep.demo.internal.", A, "NoError");
    check("b.deep.demo.internal.", A, "NXDomain");
    check("a.deep.demo.internal.", TXT, "NoError: a.deep.demo.internal. onetwo");
    check("demo.internal.", MX, "NoError: demo.internal. 10 web.demo.internal.");
    check("_http._tcp.demo.internal.", SRV, "NoError: _http._tcp.demo.internal. 0 5 80 web.demo.internal.");
    check("demo.internal.", NS, "NoError");
    check("5.0.0.10.in-addr.arpa.", PTR, "NoError: 5.0.0.10.in-addr.arpa. web.demo.internal.");
    check("9.0.0.10.in-addr.arpa.", PTR, "NXDomain");
    check("0.0.10.in-addr.arpa.", PTR, "NoError");
    check("localhost.", A, "NoError: localhost. 127.0.0.1");
    check("printer.local.", A, "NXDomain");
}

#[test]
fn other_names_are_forwarded_when_recursion_is_asked_for() {
    use RecordType::{A, ANY, PTR};
    check("example.com.", A, "forward example.com. A");
    check("demo.internal.example.com.", A, "forward demo.internal.example.com. A");
    check("xdemo.internal.", A, "forward xdemo.internal. A");
    check("8.8.8.8.in-addr.arpa.", PTR, "forward 8.8.8.8.in-addr.arpa. PTR");
    check("out.demo.internal.", A, "forward example.com. A");
    check("example.com.", ANY, "Refused");
    let mut iterative = query("example.com.", A);
    iterative.metadata.recursion_desired = false;
    assert_eq!(describe(&reply(&iterative)), "Refused");
    let alone = Directory { upstreams: vec![], ..directory() };
    let Step::Reply(bytes) = ask_in(&alone, Transport::Udp, &query("example.com.", A)) else {
        panic!("forwarded")
    };
    assert_eq!(Message::from_vec(&bytes).unwrap().response_code, ResponseCode::Refused);
}

#[test]
fn what_is_no_plain_query_is_refused() {
    let web = || query("web.demo.internal.", RecordType::A);
    check("demo.internal.", RecordType::AXFR, "Refused");
    check("demo.internal.", RecordType::IXFR, "Refused");
    let mut two = web();
    two.add_query(Query::query(Name::from_ascii("a.").unwrap(), RecordType::A));
    assert_eq!(describe(&reply(&two)), "FormErr");
    let mut chaos = web();
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(describe(&reply(&chaos)), "Refused");
    let mut update = web();
    update.metadata.op_code = OpCode::Update;
    assert_eq!(reply(&update).response_code, ResponseCode::NotImp);
    let mut new = web();
    new.set_edns(Edns::new().set_version(1).clone());
    // BADVERS; 16 is BADSIG too, and that is the name hickory decodes it to.
    assert_eq!(u16::from(reply(&new).response_code), 16);
    let mut response = web();
    response.metadata.message_type = MessageType::Response;
    assert!(matches!(ask_in(&directory(), Transport::Udp, &response), Step::Silence));
    let stranger = answer(&directory(), 99, Transport::Udp, &web().to_vec().unwrap());
    assert!(matches!(stranger, Step::Silence));
    assert!(matches!(answer(&directory(), WEB, Transport::Udp, &[0; 11]), Step::Silence));
    assert!(matches!(
        answer(&directory(), WEB, Transport::Udp, &[0, 1, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0]),
        Step::Reply(_)
    ));
}

#[test]
fn records_in_a_query_are_not_decoded() {
    let with_records = |op_code| {
        let mut message = query("web.demo.internal.", RecordType::A);
        message.metadata.op_code = op_code;
        message.add_authority(Record::from_rdata(Name::root(), 1, RData::A(A([10, 0, 0, 1].into()))));
        let found = reply(&message);
        assert_eq!((found.id, found.op_code), (77, op_code));
        found.response_code
    };
    assert_eq!(with_records(OpCode::Query), ResponseCode::FormErr);
    assert_eq!(with_records(OpCode::Update), ResponseCode::NotImp);
}

#[test]
fn the_header_is_right_and_negative_answers_tell_for_how_long() {
    let found = reply(&query("web.demo.internal.", RecordType::A));
    assert_eq!(found.id, 77);
    assert!(found.authoritative && found.recursion_available && found.recursion_desired);
    assert_eq!(found.answers[0].ttl, 60);
    assert!(found.edns.is_none(), "the client spoke no EDNS");
    let missing = reply(&query("none.demo.internal.", RecordType::A));
    assert_eq!(missing.authorities[0].record_type(), RecordType::SOA);
    assert_eq!(missing.authorities[0].ttl, 5);
}

#[test]
fn long_answers_are_cut_over_udp_and_whole_over_tcp() {
    let length = |transport, edns: Option<u16>| {
        let mut message = query("many.demo.internal.", RecordType::A);
        if let Some(size) = edns {
            message.set_edns(Edns::new().set_max_payload(size).clone());
        }
        let Step::Reply(bytes) = ask_in(&directory(), transport, &message) else { panic!("no reply") };
        let reply = Message::from_vec(&bytes).unwrap();
        assert_eq!(reply.edns.is_some(), edns.is_some());
        assert_eq!(reply.truncation, reply.answers.is_empty());
        (reply.answers.len(), bytes.len() <= 1232)
    };
    assert_eq!(length(Transport::Udp, None), (0, true));
    assert_eq!(length(Transport::Udp, Some(100)), (0, true));
    assert_eq!(length(Transport::Udp, Some(65535)), (0, true), "no more than fits a link");
    assert_eq!(length(Transport::Tcp, None), (100, false));
}

fn pending(name: &str) -> Pending {
    match ask_in(&directory(), Transport::Udp, &query(name, RecordType::A)) {
        Step::Forward(pending) => *pending,
        other => panic!("{other:?}"),
    }
}

fn upstream_answer(question: &[u8]) -> Message {
    let mut message = Message::from_vec(question).unwrap().into_response();
    let name = message.queries[0].name.clone();
    message.add_answer(Record::from_rdata(name, 30, RData::A(A([198, 51, 100, 7].into()))));
    message
}

#[test]
fn a_resolvers_answer_comes_back_under_the_clients_id() {
    let pending = pending("out.demo.internal.");
    let question = pending.question(4711).unwrap();
    let bytes = pending.finish(4711, Some(&upstream_answer(&question).to_vec().unwrap()));
    let found = Message::from_vec(&bytes).unwrap();
    assert_eq!(found.id, 77);
    assert!(!found.authoritative);
    assert_eq!(describe(&found), "NoError: out.demo.internal. example.com., example.com. 198.51.100.7");
}

#[test]
fn an_answer_to_another_question_is_no_answer() {
    let finish = |change: fn(&mut Message), id| {
        let pending = pending("example.com.");
        let mut message = upstream_answer(&pending.question(4711).unwrap());
        change(&mut message);
        describe(&Message::from_vec(&pending.finish(id, Some(&message.to_vec().unwrap()))).unwrap())
    };
    assert!(finish(|_| {}, 4711).starts_with("NoError:"));
    assert_eq!(finish(|_| {}, 4712), "ServFail");
    assert_eq!(finish(|m| m.metadata.message_type = MessageType::Query, 4711), "ServFail");
    assert_eq!(finish(|m| m.queries[0].name = Name::from_ascii("evil.com.").unwrap(), 4711), "ServFail");
    let silent = pending("example.com.").finish(1, None);
    assert_eq!(describe(&Message::from_vec(&silent).unwrap()), "ServFail");
    assert!(!pending("example.com.").finish(1, Some(&[1, 2, 3])).is_empty());
}

#[test]
fn zones_take_only_what_they_can_answer() {
    let mut zone = Zone::new("Demo.internal.").unwrap();
    assert_eq!(zone.name(), "demo.internal");
    let a = || RecordData::A([10, 0, 0, 1].into());
    assert!(matches!(zone.insert("web.other", 1, a()), Err(ZoneError::Outside { .. })));
    assert!(matches!(zone.insert("xdemo.internal", 1, a()), Err(ZoneError::Outside { .. })));
    assert!(matches!(zone.insert("a b.demo.internal", 1, a()), Err(ZoneError::Name(_))));
    assert!(matches!(zone.insert("", 1, a()), Err(ZoneError::Name(_))));
    zone.insert("web.demo.internal", 1, a()).unwrap();
    let alias = RecordData::Cname("x.demo.internal".into());
    assert_eq!(
        zone.insert("web.demo.internal", 1, alias),
        Err(ZoneError::BesideAlias("web.demo.internal".into()))
    );
    for _ in 0..2 {
        let alias = RecordData::Cname("x.demo.internal".into());
        zone.insert("y.demo.internal", 1, alias).expect("the same record twice is one");
    }
    let long = RecordData::Txt(vec!["x".repeat(256)]);
    assert_eq!(zone.insert("t.demo.internal", 1, long), Err(ZoneError::Text(256)));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = answer(&directory(), WEB, Transport::Udp, &bytes);
        let _ = pending("example.com.").finish(1, Some(&bytes));
    }

    #[test]
    fn a_changed_query_never_panics_and_a_reply_never_outgrows_its_limit(
        spots in proptest::collection::vec((0usize..60, any::<u8>()), 0..6)
    ) {
        let mut bytes = query("many.demo.internal.", RecordType::A).to_vec().unwrap();
        for (spot, value) in spots {
            if let Some(byte) = bytes.get_mut(spot) {
                *byte = value;
            }
        }
        if let Step::Reply(reply) = answer(&directory(), WEB, Transport::Udp, &bytes) {
            prop_assert!(reply.len() <= 1232);
            prop_assert!(Message::from_vec(&reply).is_ok());
        }
    }
}
