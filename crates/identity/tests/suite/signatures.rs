//! Signed requests: AWS's own test vectors, and every way around a signature that others have left open.

use identity::aws::{Message, Presented, SignatureError};
use identity::{Authenticator, MasterKey, Principal, Secret};
use model::identity::{AccessKey, AccessKeySpec, User, UserSpec};
use model::{ObjectMeta, Timestamp};
use proptest::prelude::*;

use crate::signer::{Draft, ID, SECRET};

const VECTORS: &str = include_str!("../aws4_testsuite.json");
/// 2015-08-30T12:36:00Z, when the vectors were signed.
const NOW: Timestamp = Timestamp(1_440_938_160_000);

/// A request of the suite as text: head, empty line, body.
fn parse(text: &str) -> (String, String, String, Vec<(String, String)>, String) {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let first = lines.next().expect("a request line").trim_end_matches(" HTTP/1.1");
    let (method, target) = first.split_once(' ').expect("a method");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let header = |line: &str| {
        let (name, value) = line.split_once(':').expect("a header");
        (name.to_ascii_lowercase(), value.to_owned())
    };
    (method.into(), path.into(), query.into(), lines.map(header).collect(), body.into())
}

#[test]
fn the_vectors_of_aws_are_understood() {
    let suite: serde_json::Value = serde_json::from_str(VECTORS).expect("JSON");
    let secret = Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
    let mut tried = 0;
    for vector in suite["vectors"].as_array().expect("vectors") {
        let name = vector["name"].as_str().expect("a name");
        let (method, path, query, mut headers, body) = parse(vector["request"].as_str().expect("a request"));
        let authorization = vector["authorization"].as_str().expect("a signature");
        headers.push(("authorization".into(), authorization.into()));
        let headers = headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
        let message = Message { method: &method, path: &path, query: &query, headers, body: body.as_bytes() };
        let presented = Presented::read(&message, NOW);
        let presented = presented.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(presented.is_signed_with(&secret), "{name}");
        assert!(!presented.is_signed_with(&Secret::new("another")), "{name}");
        tried += 1;
    }
    assert!(tried >= 30, "{tried}");
}

fn table() -> Authenticator {
    let master = MasterKey::new([9; 32]);
    let mut spec = AccessKeySpec { user: "ann".into(), access_key_id: ID.into(), ..AccessKeySpec::default() };
    spec.sealed_secret = master.seal(&spec.seal_owner(), SECRET, &[3; 32]).expect("sealed");
    let mut table = Authenticator::new(Some(master));
    table.upsert_key(&AccessKey::new(ObjectMeta::named("laptop"), spec));
    let user = UserSpec { groups: vec!["staff".into()], ..UserSpec::default() };
    table.upsert_user(&User::new(ObjectMeta::named("ann"), user));
    table
}

fn verify(table: &Authenticator, draft: &Draft) -> Result<Principal, SignatureError> {
    let here = |service: &str, region: &str| service == "ec2" && region == "here";
    table.verify(&draft.message(), here, NOW).map(|signer| signer.principal)
}

#[track_caller]
fn incomplete(draft: &Draft) {
    let found = verify(&table(), draft);
    assert!(matches!(found, Err(SignatureError::Incomplete(_))), "{found:?}");
}

#[test]
fn a_signed_request_is_its_users() {
    for draft in [Draft::new().signed(), Draft::new().presigned(600)] {
        let ann = verify(&table(), &draft).expect("verified");
        assert_eq!((ann.user.as_str(), ann.how.to_string().as_str()), ("ann", "signature laptop"));
    }
    let mut draft = Draft::new();
    draft.query = "b=2&a=%C3%A4+x".into();
    let signer = table().verify(&draft.presigned(600).message(), |_, _| true, NOW).expect("verified");
    assert_eq!(signer.parameters, [("b".into(), "2".into()), ("a".into(), "\u{e4}+x".into())]);
    assert_eq!(signer.project, "default");
}

#[test]
fn an_unknown_key_and_a_wrong_signature_are_one_answer() {
    let mut unknown = Draft::new();
    unknown.id = "AKIAUNKNOWNUNKNOWN00".into();
    let mut wrong = Draft::new();
    wrong.secret = "another".into();
    for draft in [unknown.signed(), wrong.signed()] {
        assert_eq!(verify(&table(), &draft), Err(SignatureError::Refused));
    }
    let mut gone = table();
    gone.remove_key("laptop");
    assert_eq!(verify(&gone, &Draft::new().signed()), Err(SignatureError::Refused));
    assert_eq!(verify(&gone.emptied(), &Draft::new().signed()), Err(SignatureError::Refused));
}

#[test]
fn nothing_that_was_signed_can_be_changed() {
    let change: [fn(&mut Draft); 8] = [
        |d| d.method = "GET".into(),
        |d| d.path = "/other".into(),
        |d| d.query = "a=1".into(),
        |d| d.body = b"Action=TerminateInstances".to_vec(),
        |d| d.set("host", "elsewhere"),
        |d| d.set("x-amz-target", "another"),
        |d| d.set("content-type", "text/plain"),
        |d| d.set("x-amz-date", "20150830T123601Z"),
    ];
    for (i, change) in change.into_iter().enumerate() {
        let mut draft = Draft::new();
        draft.headers.push(("x-amz-target".into(), "one".into()));
        let mut draft = draft.signed();
        change(&mut draft);
        assert_eq!(verify(&table(), &draft), Err(SignatureError::Refused), "{i}");
    }
}

#[test]
fn headers_of_aws_are_signed_or_not_there() {
    let mut draft = Draft::new().signed();
    draft.headers.push(("x-amz-copy-source".into(), "/bucket/key".into()));
    incomplete(&draft);
    let mut draft = Draft::new().presigned(600);
    draft.headers.push(("x-amz-copy-source".into(), "/bucket/key".into()));
    incomplete(&draft);
    for left_out in ["host", ""] {
        let mut draft = Draft::new();
        draft.left_out = left_out.into();
        draft.only = left_out.is_empty();
        incomplete(&draft.signed());
    }
}

#[test]
fn the_hash_that_was_sent_chooses_nothing() {
    for hash in
        ["UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", ""]
    {
        let mut draft = Draft::new();
        draft.headers.push(("x-amz-content-sha256".into(), hash.into()));
        incomplete(&draft.signed());
    }
}

#[test]
fn a_signature_is_in_one_place_and_in_one_form() {
    let signed = Draft::new().signed();
    let mut both = signed.clone();
    both.query = Draft::new().presigned(600).query;
    incomplete(&both);
    for name in ["authorization", "host", "x-amz-date"] {
        let mut twice = signed.clone();
        let value = twice.get(name);
        twice.headers.push((name.into(), value));
        incomplete(&twice);
    }
    for (from, to) in [
        ("AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA512 "),
        ("AWS4-HMAC-SHA256 ", "AWS4-ECDSA-P256-SHA256 "),
        ("Signature=", "Signature=00, Signature="),
        ("Signature=", "Signature=0"),
        ("Credential=", "Credentials="),
        ("/aws4_request", "/aws4"),
        ("SignedHeaders=", "SignedHeaders=x;"),
        ("20150830/", "20150831/"),
    ] {
        let mut draft = signed.clone();
        let value = draft.get("authorization").replacen(from, to, 1);
        draft.set("authorization", &value);
        incomplete(&draft);
    }
    let presigned = Draft::new().presigned(600);
    for parameter in presigned.query.split('&').filter(|p| p.starts_with("X-Amz-")) {
        let mut twice = presigned.clone();
        twice.query = format!("{}&{parameter}", presigned.query);
        incomplete(&twice);
        let mut without = presigned.clone();
        without.query = presigned.query.split('&').filter(|p| *p != parameter).collect::<Vec<_>>().join("&");
        incomplete(&without);
    }
}

#[test]
fn requests_are_of_now_and_of_here() {
    let at = |date: &str| {
        let mut draft = Draft::new();
        draft.date = date.into();
        draft
    };
    let check = |draft: Draft, ok: bool| {
        let found = verify(&table(), &draft);
        assert_eq!(found.is_ok(), ok, "{} {found:?}", draft.date);
        assert!(ok || matches!(found, Err(SignatureError::Expired(_))), "{found:?}");
    };
    for (date, ok) in [
        ("20150830T122100Z", true),
        ("20150830T122059Z", false),
        ("20150830T125100Z", true),
        ("20150830T125101Z", false),
        ("20140830T123600Z", false),
    ] {
        check(at(date).signed(), ok);
    }
    check(at("20150830T122600Z").presigned(600), true);
    check(at("20150830T122559Z").presigned(600), false);
    check(at("20150823T123600Z").presigned(604_800), true);
    incomplete(&Draft::new().presigned(604_801));
    incomplete(&Draft::new().presigned(0));
    incomplete(&at("2015-08-30T12:36:00Z").signed());
    for (region, service) in [("there", "ec2"), ("here", "s3")] {
        let mut draft = Draft::new();
        (draft.region, draft.service) = (region.into(), service.into());
        assert!(matches!(verify(&table(), &draft.signed()), Err(SignatureError::Scope(_))));
    }
}

#[test]
fn an_expired_key_is_told_to_its_holder_alone() {
    let master = MasterKey::new([9; 32]);
    let mut spec = AccessKeySpec { user: "ann".into(), access_key_id: ID.into(), ..AccessKeySpec::default() };
    spec.sealed_secret = master.seal(&spec.seal_owner(), SECRET, &[3; 32]).expect("sealed");
    spec.expires = Some(NOW);
    let mut expired = table();
    expired.upsert_key(&AccessKey::new(ObjectMeta::named("laptop"), spec));
    assert!(matches!(verify(&expired, &Draft::new().signed()), Err(SignatureError::NotUsable(_))));
    let mut wrong = Draft::new();
    wrong.secret = "another".into();
    assert_eq!(verify(&expired, &wrong.signed()), Err(SignatureError::Refused));
    let mut nobody = table();
    nobody.remove_user("ann");
    assert!(matches!(verify(&nobody, &Draft::new().signed()), Err(SignatureError::NotUsable(_))));
}

proptest! {
    /// Whatever is sent, it is read without a panic, and a signature over other bytes is none.
    #[test]
    fn no_request_is_anyones_by_chance(
        path in "/?[ -~]{0,40}", query in "[ -~\u{e4}]{0,80}", name in "[a-z-]{1,20}", value in "[ -~]{0,80}",
        body in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut draft = Draft::new().signed();
        (draft.path, draft.query, draft.body) = (path, query, body);
        draft.headers.push((name, value));
        prop_assert!(verify(&table(), &draft).is_err());
    }

    /// What is signed is understood, whatever it is made of.
    #[test]
    fn what_is_signed_is_understood(
        segments in proptest::collection::vec("[a-zA-Z0-9._~!$'()*,;:@ -]{0,8}", 0..4),
        pairs in proptest::collection::vec(("[a-zA-Z0-9 /+=&\u{e4}%]{1,8}", "[a-zA-Z0-9 /+=&\u{e4}%]{0,8}"), 0..5),
        body in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut draft = Draft::new();
        draft.path = format!("/{}", segments.join("/").replace(' ', "%20"));
        draft.query = pairs.iter().map(|(k, v)| format!("{}={}", Draft::encode(k), Draft::encode(v))).collect::<Vec<_>>().join("&");
        draft.body = body;
        for draft in [draft.clone().signed(), draft.presigned(60)] {
            let found = verify(&table(), &draft);
            prop_assert!(found.is_ok(), "{:?} {:?}", draft, found);
        }
    }
}
