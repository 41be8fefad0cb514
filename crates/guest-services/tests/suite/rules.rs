//! Who may read metadata: IMDSv2 and the attacks it is there for.

use std::sync::Arc;
use std::time::Duration;

use guest_services::metadata::{Call, Outcome, Reply, Service};
use guest_services::{CredentialError, Directory, MetadataOptions, RoleCredentials};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;

use crate::support::{DB, WEB, directory};

const TOKEN: &str = "X-aws-ec2-metadata-token";
const TTL: &str = "X-aws-ec2-metadata-token-ttl-seconds";
const ID: &str = "/latest/meta-data/instance-id";

/// A service and a clock that stands where it is put.
pub(crate) struct Asker {
    service: Service,
    pub(crate) directory: Directory,
    now: Duration,
}

impl Asker {
    pub(crate) fn new() -> Self {
        Self {
            service: Service::new(100, 10_000).unwrap(),
            directory: directory(),
            now: Duration::from_secs(50),
        }
    }

    fn outcome(&self, port: u32, method: &Method, path: &str, headers: &[(&str, &str)]) -> Option<Outcome> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        self.service.answer(&self.directory, port, &Call { method, path, headers: &map }, self.now)
    }

    fn call(&self, port: u32, method: Method, path: &str, headers: &[(&str, &str)]) -> Reply {
        match self.outcome(port, &method, path, headers) {
            Some(Outcome::Reply(reply)) => reply,
            other => panic!("{method} {path} gives {other:?}"),
        }
    }

    pub(crate) fn token(&self, port: u32) -> String {
        let reply = self.call(port, Method::PUT, "/latest/api/token", &[(TTL, "60")]);
        assert_eq!(reply.status, 200);
        String::from_utf8(reply.body.to_vec()).unwrap()
    }

    fn status(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> u16 {
        self.call(WEB, method, path, headers).status.as_u16()
    }

    /// Text at a path, with a good token.
    pub(crate) fn get(&self, port: u32, path: &str) -> Result<String, u16> {
        let reply = self.call(port, Method::GET, path, &[(TOKEN, &self.token(port))]);
        let text = String::from_utf8(reply.body.to_vec()).unwrap();
        if reply.status == 200 { Ok(text) } else { Err(reply.status.as_u16()) }
    }

    fn with_options(&mut self, change: impl Fn(&mut MetadataOptions)) {
        let port = self.directory.ports.get_mut(&WEB).unwrap();
        let mut instance = (**port.instance.as_ref().unwrap()).clone();
        change(&mut instance.options);
        port.instance = Some(Arc::new(instance));
    }
}

#[test]
fn a_session_lets_read_until_it_ends() {
    let mut asker = Asker::new();
    let token = asker.token(WEB);
    let read = |asker: &Asker| asker.status(Method::GET, ID, &[(TOKEN, &token)]);
    assert_eq!(read(&asker), 200);
    asker.now += Duration::from_millis(59_999);
    assert_eq!(read(&asker), 200);
    asker.now += Duration::from_millis(1);
    assert_eq!(read(&asker), 401);
}

#[test]
fn a_session_says_its_length_and_how_far_it_travels() {
    let asker = Asker::new();
    let put = |port, ttl| asker.call(port, Method::PUT, "/latest/api/token", &[(TTL, ttl)]).session;
    assert_eq!(put(WEB, "21600"), Some((21_600, 1)));
    assert_eq!(put(DB, "1"), Some((1, 2)));
    for wrong in ["0", "21601", "-1", "", "abc", "1.5", "99999999999999999999"] {
        assert_eq!(asker.status(Method::PUT, "/latest/api/token", &[(TTL, wrong)]), 400, "{wrong}");
    }
    assert_eq!(asker.status(Method::PUT, "/latest/api/token", &[]), 400);
    assert_eq!(asker.status(Method::PUT, "/latest/api/token", &[(TTL, "60"), (TTL, "60")]), 400);
}

#[test]
fn a_forger_that_can_only_get_reads_nothing() {
    let asker = Asker::new();
    for path in
        ["/", "/latest", ID, "/latest/user-data", "/openstack/latest/user_data", "/latest/nocloud/meta-data"]
    {
        assert_eq!(asker.status(Method::GET, path, &[]), 401, "{path}");
        assert_eq!(asker.status(Method::HEAD, path, &[]), 401, "{path}");
    }
    // Nor does it learn what is there.
    assert_eq!(asker.status(Method::GET, "/latest/nothing", &[]), 401);
    assert_eq!(asker.status(Method::GET, "/latest/api/token", &[(TTL, "60")]), 405);
    assert_eq!(asker.status(Method::POST, "/latest/api/token", &[(TTL, "60")]), 405);
    for method in [Method::POST, Method::DELETE, Method::OPTIONS, Method::PATCH, Method::TRACE, Method::PUT] {
        assert_eq!(asker.status(method, ID, &[]), 405);
    }
}

#[test]
fn a_forger_with_fixed_headers_reads_nothing() {
    let asker = Asker::new();
    let good = asker.token(WEB);
    let other = Asker::new().token(WEB);
    let neighbour = asker.token(DB);
    let cut = &good[..good.len() - 4];
    let doubled = format!("{good}{good}");
    for wrong in ["", "x", "AAAA", "Bearer abc", cut, &doubled, &neighbour, &other] {
        assert_eq!(asker.status(Method::GET, ID, &[(TOKEN, wrong)]), 401, "{wrong}");
    }
    assert_eq!(asker.status(Method::GET, ID, &[(TOKEN, &good), (TOKEN, &good)]), 401);
    assert_eq!(asker.status(Method::GET, ID, &[("Metadata-Flavor", "Google"), ("Metadata", "true")]), 401);
}

#[test]
fn what_a_proxy_forwards_is_refused() {
    let asker = Asker::new();
    let token = asker.token(WEB);
    let forwarded = ("X-Forwarded-For", "10.0.0.5");
    assert_eq!(asker.status(Method::PUT, "/latest/api/token", &[(TTL, "60"), forwarded]), 403);
    assert_eq!(asker.status(Method::GET, ID, &[(TOKEN, &token), forwarded]), 403);
    assert_eq!(asker.status(Method::GET, ID, &[(TOKEN, &token), ("X-Forwarded-For", "")]), 403);
}

#[test]
fn a_name_that_was_bound_anew_helps_no_forger() {
    // The Host header is free, as EC2's is: it is the token that a page behind such a name cannot have.
    let asker = Asker::new();
    assert_eq!(asker.status(Method::GET, ID, &[("Host", "evil.example")]), 401);
    assert_eq!(asker.status(Method::GET, ID, &[("Host", "evil.example"), (TOKEN, &asker.token(WEB))]), 200);
}

#[test]
fn who_asks_is_told_by_the_port_alone() {
    let asker = Asker::new();
    let claims = [("Host", "10.0.0.5"), ("X-Instance-ID", "i-0000000000000000a"), ("X-Real-IP", "10.0.0.5")];
    let reply = asker.call(DB, Method::GET, ID, &claims);
    assert_eq!(reply.body, "i-0000000000000000b");
    assert_eq!(asker.outcome(0, &Method::GET, ID, &claims), None, "without a mark nothing is answered");
    assert_eq!(asker.outcome(99, &Method::PUT, "/latest/api/token", &[(TTL, "60")]), None);
}

#[test]
fn without_a_token_only_where_the_instance_says_so() {
    let mut asker = Asker::new();
    assert_eq!(asker.call(DB, Method::GET, ID, &[]).status, 200);
    assert_eq!(
        asker.call(DB, Method::GET, ID, &[(TOKEN, "bad")]).status,
        401,
        "a bad token is never ignored"
    );
    asker.with_options(|options| options.requires_token = false);
    assert_eq!(asker.status(Method::GET, ID, &[]), 200);
    asker.with_options(|options| options.is_enabled = false);
    assert_eq!(asker.status(Method::GET, ID, &[]), 403);
    assert_eq!(asker.status(Method::PUT, "/latest/api/token", &[(TTL, "60")]), 403);
}

#[test]
fn one_port_cannot_ask_more_than_its_share() {
    let asker = Asker { service: Service::new(1, 2).unwrap(), ..Asker::new() };
    let statuses = [(); 3].map(|()| asker.call(DB, Method::GET, ID, &[]).status.as_u16());
    assert_eq!(statuses, [200, 200, 503]);
    assert_eq!(asker.status(Method::GET, ID, &[]), 401, "another port has its own share");
}

#[test]
fn keys_are_the_roles_of_the_instance_only() {
    let asker = Asker::new();
    let token = asker.token(WEB);
    let ask = |name: &str| {
        let path = format!("/latest/meta-data/iam/security-credentials/{name}");
        asker.outcome(WEB, &Method::GET, &path, &[(TOKEN, &token)]).unwrap()
    };
    assert!(matches!(ask("reader"), Outcome::Role { role, .. } if role == "reader"));
    assert!(matches!(ask("admin"), Outcome::Reply(reply) if reply.status == 404));
    assert!(matches!(ask(""), Outcome::Reply(reply) if reply.body == "reader"));
    let keys = RoleCredentials {
        access_key_id: "AKIA1".into(),
        secret_access_key: "secret".into(),
        session_token: "session".into(),
        last_updated: "2026-11-26T12:00:00Z".into(),
        expiration: "2026-11-26T13:00:00Z".into(),
    };
    assert!(!format!("{keys:?}").contains("secret"));
    let document: serde_json::Value = serde_json::from_slice(&Service::keys(Ok(keys)).body).unwrap();
    assert_eq!(document["SecretAccessKey"], "secret");
    assert_eq!(document["Code"], "Success");
    let failed = Service::keys(Err(CredentialError::Unavailable("no".into())));
    assert_eq!(failed.status, 503);
}

proptest! {
    #[test]
    fn arbitrary_requests_never_panic(path in ".{0,200}", token in "[ -~]{0,140}", is_put in any::<bool>()) {
        let asker = Asker::new();
        let method = if is_put { Method::PUT } else { Method::GET };
        let _ = asker.outcome(WEB, &method, &path, &[(TOKEN, &token), (TTL, &token)]);
        let _ = asker.outcome(DB, &method, &path, &[]);
    }

    #[test]
    fn a_changed_token_is_never_good(spot in 0usize..64, value in "[A-Za-z0-9_-]") {
        let asker = Asker::new();
        let good = asker.token(WEB);
        let mut changed = good.clone();
        changed.replace_range(spot..=spot, &value);
        prop_assume!(changed != good);
        prop_assert_eq!(asker.status(Method::GET, ID, &[(TOKEN, &changed)]), 401);
    }
}
