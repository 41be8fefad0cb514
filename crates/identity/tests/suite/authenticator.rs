//! Tokens in, principals out.

use identity::{Authentication, Authenticator, Principal, Refused, Token};
use model::identity::{AccessKey, AccessKeySpec, User, UserSpec};
use model::{ObjectMeta, Timestamp};

const NOW: Timestamp = Timestamp(1_000_000);

fn key(name: &str, user: &str, token: &Token) -> AccessKey {
    let spec = AccessKeySpec {
        user: user.into(),
        token_sha256: token.digest().to_hex(),
        ..AccessKeySpec::default()
    };
    AccessKey::new(ObjectMeta::named(name), spec)
}

fn person(name: &str, groups: &[&str]) -> User {
    let groups = groups.iter().map(ToString::to_string).collect();
    User::new(ObjectMeta::named(name), UserSpec { groups, ..UserSpec::default() })
}

fn table() -> (Authenticator, Token) {
    let token = Token::generate(&[1; 32]);
    let mut table = Authenticator::default();
    table.upsert_key(&key("laptop", "ann", &token));
    table.upsert_user(&person("ann", &["staff", "corten:admins"]));
    (table, token)
}

#[test]
fn a_token_is_its_users_and_carries_no_reserved_group() {
    let (table, token) = table();
    let how = Authentication::Token { key: "laptop".into() };
    let ann = Principal { user: "ann".into(), groups: vec!["staff".into()], how };
    assert_eq!(table.authenticate(&token, NOW), Ok(ann));
}

#[test]
fn malformed_unknown_and_revoked_tokens_get_one_answer() {
    let (mut table, token) = table();
    let stranger = Token::generate(&[2; 32]);
    let cut = Token::presented(&token.expose()[..49]);
    let digest = Token::presented(token.digest().to_hex());
    for wrong in [stranger, cut, digest, Token::presented(""), Token::presented("\u{1f9a6}")] {
        assert_eq!(table.authenticate(&wrong, NOW), Err(Refused::Unknown));
    }
    table.remove_key("laptop");
    assert_eq!(table.authenticate(&token, NOW), Err(Refused::Unknown));
}

#[test]
fn keys_expire_at_their_time() {
    let (mut table, token) = table();
    let mut key = key("laptop", "ann", &token);
    key.spec.expires = Some(NOW);
    table.upsert_key(&key);
    assert!(table.authenticate(&token, Timestamp(NOW.0 - 1)).is_ok());
    assert_eq!(table.authenticate(&token, NOW), Err(Refused::Expired { key: "laptop".into(), at: NOW }));
}

#[test]
fn disabled_and_deleted_users_are_refused() {
    let (mut table, token) = table();
    let mut ann = person("ann", &[]);
    ann.spec.disabled = true;
    table.upsert_user(&ann);
    let refused = Err(Refused::NoUser { user: "ann".into() });
    assert_eq!(table.authenticate(&token, NOW), refused);
    table.upsert_user(&person("ann", &[]));
    assert!(table.authenticate(&token, NOW).is_ok());
    table.remove_user("ann");
    assert_eq!(table.authenticate(&token, NOW), refused);
}

#[test]
fn a_copied_digest_does_not_take_a_token_over() {
    let (mut table, token) = table();
    let created = |mut key: AccessKey, at: i64| {
        key.metadata.creation_timestamp = Some(Timestamp(at));
        key
    };
    table.upsert_user(&person("eve", &[]));
    table.upsert_key(&created(key("a-copy", "eve", &token), 20));
    table.upsert_key(&created(key("laptop", "ann", &token), 10));
    let user = |table: &Authenticator| table.authenticate(&token, NOW).map(|p| p.user);
    assert_eq!(user(&table), Ok("ann".into()));
    table.remove_key("laptop");
    assert_eq!(user(&table), Ok("eve".into()));
}

#[test]
fn a_key_with_a_broken_digest_lets_no_one_in() {
    let (mut table, token) = table();
    let mut key = key("laptop", "ann", &token);
    key.spec.token_sha256 = "12".into();
    table.upsert_key(&key);
    assert_eq!(table.authenticate(&token, NOW), Err(Refused::Unknown));
}
