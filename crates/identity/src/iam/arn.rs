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
