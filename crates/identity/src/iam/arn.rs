//! How IAM calls its callers: ARNs, ids, and what policies may ask of them.

use model::Timestamp;
use ring::digest::{SHA256, digest};

use super::condition::Facts;
use super::directory::{Actor, ActorKind};

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// An id in AWS's form that follows from a uid.
pub fn unique_id(prefix: &str, uid: &str) -> String {
    let hash = digest(&SHA256, uid.as_bytes());
    let letters = hash.as_ref().iter().take(17).map(|byte| char::from(ALPHABET[usize::from(byte & 31)]));
    prefix.chars().chain(letters).collect()
}

impl Actor {
    pub fn id(&self) -> String {
        match &self.kind {
            ActorKind::User => unique_id("AIDA", &self.uid),
            ActorKind::Role { session } => format!("{}:{session}", unique_id("AROA", &self.uid)),
        }
    }

    /// Who calls: a role with the name of the session.
    pub fn arn(&self, account: &str) -> String {
        match &self.kind {
            ActorKind::User => self.principal_arn(account),
            ActorKind::Role { session } => {
                format!("arn:aws:sts::{account}:assumed-role/{}/{session}", self.name)
            }
        }
    }

    /// Who calls, as policies name him: the user or the role itself.
    pub fn principal_arn(&self, account: &str) -> String {
        let kind = if self.kind == ActorKind::User { "user" } else { "role" };
        let path = if self.path.is_empty() { "/" } else { &self.path };
        format!("arn:aws:iam::{account}:{kind}{path}{}", self.name)
    }

    /// What is known of the caller, whatever he asks for.
    pub fn facts(&self, account: &str, now: Timestamp) -> Facts {
        let mut facts = Facts::of_time(now);
        facts
            .knows_all("aws:PrincipalTag/")
            .knows("aws:MultiFactorAuthAge")
            .knows("aws:username")
            .knows("aws:TokenIssueTime")
            .set("aws:PrincipalArn", self.principal_arn(account))
            .set("aws:PrincipalAccount", account)
            .set("aws:PrincipalType", if self.kind == ActorKind::User { "User" } else { "AssumedRole" })
            .set("aws:userid", self.id())
            .set("aws:MultiFactorAuthPresent", "false");
        if self.kind == ActorKind::User {
            facts.set("aws:username", &self.name);
        }
        if let Some(issued) = self.issued {
            facts.set("aws:TokenIssueTime", issued.to_string());
        }
        facts
    }
}

/// What policies call a caller, in the form in which [`super::Names`] takes names.
#[derive(Debug)]
pub struct CallerNames {
    principal: String,
    /// Of a role's session.
    session: Option<String>,
    /// His whole account.
    account: [String; 2],
}

impl CallerNames {
    /// Whom IAM does not know is a user by his name in the cloud.
    pub fn of(actor: Option<&Actor>, user: &str, account: &str) -> Self {
        Self {
            principal: actor.map_or_else(
                || format!("arn:aws:iam::{account}:user/{user}"),
                |actor| actor.principal_arn(account),
            ),
            session: actor.map(|actor| actor.arn(account)),
            account: [account.to_owned(), format!("arn:aws:iam::{account}:root")],
        }
    }

    /// The user or the role itself.
    pub fn principal(&self) -> &str {
        &self.principal
    }

    /// His own names, without his account's.
    pub fn own(&self) -> Vec<(&str, &str)> {
        named([&self.principal]).chain(named(&self.session)).collect()
    }

    pub fn all(&self) -> Vec<(&str, &str)> {
        self.own().into_iter().chain(named(&self.account)).collect()
    }
}

fn named<'a>(names: impl IntoIterator<Item = &'a String>) -> impl Iterator<Item = (&'a str, &'a str)> {
    names.into_iter().map(|name| ("AWS", name.as_str()))
}

impl Facts {
    /// What is known of every request: when it is, and that it came over TLS.
    pub fn of_time(now: Timestamp) -> Self {
        let mut facts = Self::default();
        facts
            .set("aws:SecureTransport", "true")
            .set("aws:CurrentTime", now.to_string())
            .set("aws:EpochTime", now.0.div_euclid(1000).to_string());
        facts
    }
}
