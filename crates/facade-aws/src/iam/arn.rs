//! How IAM calls things: ARNs and ids.

use identity::iam::{Actor, ActorKind};
use ring::digest::{SHA256, digest};

use crate::context::Context;

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// An id in AWS's form that follows from a uid.
pub(crate) fn id(prefix: &str, uid: &str) -> String {
    let hash = digest(&SHA256, uid.as_bytes());
    let letters = hash.as_ref().iter().take(17).map(|byte| char::from(ALPHABET[usize::from(byte & 31)]));
    prefix.chars().chain(letters).collect()
}

pub(crate) fn id_of_actor(actor: &Actor) -> String {
    match &actor.kind {
        ActorKind::User => id("AIDA", &actor.uid),
        ActorKind::Role { session } => format!("{}:{session}", id("AROA", &actor.uid)),
    }
}

/// Who calls: a role with the name of the session.
pub(crate) fn of_actor(account: &str, actor: &Actor) -> String {
    match &actor.kind {
        ActorKind::User => principal(account, actor),
        ActorKind::Role { session } => {
            format!("arn:aws:sts::{account}:assumed-role/{}/{session}", actor.name)
        }
    }
}

/// Who calls, as policies name him: the user or the role itself.
pub(crate) fn principal(account: &str, actor: &Actor) -> String {
    let kind = if actor.kind == ActorKind::User { "user" } else { "role" };
    let path = if actor.path.is_empty() { "/" } else { &actor.path };
    format!("arn:aws:iam::{account}:{kind}{path}{}", actor.name)
}

/// The path of a user or role; of what is not there, the plain one.
pub(crate) fn path_of(c: &Context, kind: &str, name: &str) -> String {
    let found = match kind {
        "user" => c.cloud.iam_user(c.project(), name),
        "role" => c.cloud.iam_role(c.project(), name, ""),
        _ => None,
    };
    found.map(|actor| actor.path).filter(|path| !path.is_empty()).unwrap_or_else(|| "/".into())
}
