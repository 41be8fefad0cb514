//! The rules of the metadata service: who may ask, how, and what is answered. Pure but for the session key.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use model::Uid;
use serde_json::json;

use super::ec2::pretty;
use super::instance::{CredentialError, Instance, RoleCredentials};
use super::layout::{Place, find, is_version, parts};
use super::token::{TTL_SECONDS, Tokens};
use crate::directory::Directory;
use crate::limit::Rate;

const TOKEN: &str = "x-aws-ec2-metadata-token";
const TOKEN_TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const FORWARDED_FOR: &str = "x-forwarded-for";
/// Longest path that is looked at.
const PATH_MAX: usize = 1024;

/// A request, as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    pub method: &'a Method,
    pub path: &'a str,
    pub headers: &'a HeaderMap,
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Reply(Reply),
    /// Fetch the keys of the instance's role, then [`Service::keys`].
    Role {
        instance: Uid,
        role: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: StatusCode,
    pub content_type: &'static str,
    pub body: Bytes,
    /// Seconds of a new session, and how many hops this reply may travel.
    pub session: Option<(u32, u8)>,
}

/// Answers for the ports of a VPC.
#[derive(Debug)]
pub struct Service {
    tokens: Tokens,
    rate: Rate,
}

impl Service {
    /// `None` when the system has no random numbers.
    pub fn new(requests_per_second: u32, burst: u32) -> Option<Self> {
        Some(Self { tokens: Tokens::new().ok()?, rate: Rate::new(requests_per_second, burst) })
    }

    /// Answers a call from the port at `interface`; `None`: there is nobody there to answer, say nothing. `now`
    /// is a monotonic clock's.
    pub fn answer(
        &self,
        directory: &Directory,
        interface: u32,
        call: &Call<'_>,
        now: Duration,
    ) -> Option<Outcome> {
        let instance = directory.ports.get(&interface)?.instance.as_deref()?;
        if !self.rate.admit(interface, now) {
            return Some(refuse(StatusCode::SERVICE_UNAVAILABLE));
        }
        Some(self.judge(instance, call, now))
    }

    fn judge(&self, instance: &Instance, call: &Call<'_>, now: Duration) -> Outcome {
        // A proxy that forwards without thinking adds this header; none that serves the guest itself does.
        if !instance.options.is_enabled || call.headers.contains_key(FORWARDED_FOR) {
            return refuse(StatusCode::FORBIDDEN);
        }
        let Some(parts) = (call.path.len() <= PATH_MAX).then(|| parts(call.path)).flatten() else {
            return refuse(StatusCode::NOT_FOUND);
        };
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let is_session = matches!(parts.as_slice(), [version, "api", "token"] if is_version(version));
        match *call.method {
            Method::PUT if is_session => self.open_session(instance, call.headers, now),
            Method::GET | Method::HEAD if !is_session => {
                if !self.may_read(instance, call.headers, now) {
                    return refuse(StatusCode::UNAUTHORIZED);
                }
                locate(instance, &parts)
            }
            _ => refuse(StatusCode::METHOD_NOT_ALLOWED),
        }
    }

    fn open_session(&self, instance: &Instance, headers: &HeaderMap, now: Duration) -> Outcome {
        let ttl =
            only(headers, TOKEN_TTL).and_then(|text| std::str::from_utf8(text).ok()?.parse::<u32>().ok());
        let Some(ttl) = ttl.filter(|ttl| TTL_SECONDS.contains(ttl)) else {
            return refuse(StatusCode::BAD_REQUEST);
        };
        match self.tokens.issue(&instance.uid, ttl, now) {
            Some(token) => Outcome::Reply(Reply {
                session: Some((ttl, instance.options.token_hops.max(1))),
                ..Reply::of("text/plain", token.into())
            }),
            None => refuse(StatusCode::SERVICE_UNAVAILABLE),
        }
    }

    /// A token that is sent has to be good even where none is needed, as EC2 has it.
    fn may_read(&self, instance: &Instance, headers: &HeaderMap, now: Duration) -> bool {
        if headers.contains_key(TOKEN) {
            only(headers, TOKEN).is_some_and(|token| self.tokens.is_good(&instance.uid, token, now))
        } else {
            !instance.options.requires_token
        }
    }

    /// The reply with a role's keys.
    pub fn keys(keys: Result<RoleCredentials, CredentialError>) -> Reply {
        match keys {
            Ok(keys) => Reply::of("application/json", pretty(&document(&keys)).into()),
            Err(CredentialError::NotAllowed) => Reply::error(StatusCode::NOT_FOUND),
            Err(CredentialError::Unavailable(_)) => Reply::error(StatusCode::SERVICE_UNAVAILABLE),
        }
    }
}

impl Reply {
    fn of(content_type: &'static str, body: Bytes) -> Self {
        Self { status: StatusCode::OK, content_type, body, session: None }
    }

    pub(super) fn error(status: StatusCode) -> Self {
        let title = format!("{} - {}", status.as_u16(), status.canonical_reason().unwrap_or_default());
        Self { status, ..Self::of("text/plain", title.into()) }
    }
}

fn locate(instance: &Instance, parts: &[&str]) -> Outcome {
    match find(instance, parts) {
        Place::Text(content_type, body) => Outcome::Reply(Reply::of(content_type, body)),
        Place::Role(role) => Outcome::Role { instance: instance.uid.clone(), role },
        Place::Nothing => refuse(StatusCode::NOT_FOUND),
    }
}

fn refuse(status: StatusCode) -> Outcome {
    Outcome::Reply(Reply::error(status))
}

/// The value of a header that is there exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value.as_bytes())
}

fn document(keys: &RoleCredentials) -> serde_json::Value {
    json!({
        "Code": "Success",
        "LastUpdated": keys.last_updated,
        "Type": "AWS-HMAC",
        "AccessKeyId": keys.access_key_id,
        "SecretAccessKey": keys.secret_access_key,
        "Token": keys.session_token,
        "Expiration": keys.expiration,
    })
}
