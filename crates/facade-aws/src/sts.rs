//! STS: who calls, and credentials for a while.

use futures::future::ready;
use identity::iam::{Actor, ActorKind, Document, Facts, Resource, SessionOf, Verdict};
use model::identity::{IamRoleSpec, IamUserSpec};

use crate::actions::{Action, Answer};
use crate::authorize;
use crate::cloud::Session;
use crate::context::Context;
use crate::failure::Failure;
use crate::iam::{self, arn};
use crate::xml::Xml;

/// Seconds of sessions, when none are given.
const ROLE_SECONDS: i64 = 3600;
const TOKEN_SECONDS: i64 = 43_200;
const SECONDS_MIN: i64 = 900;
const TOKEN_SECONDS_MAX: i64 = 129_600;
/// A role that is taken with the credentials of another holds an hour at most, as with AWS.
const CHAINED_MAX: i64 = 3600;

pub(crate) const ACTIONS: &[Action] = &[
    Action::sts("GetCallerIdentity", &[], |c| Box::pin(ready(Ok(caller_identity(c))))),
    Action::sts(
        "AssumeRole",
        &["RoleArn", "RoleSessionName", "DurationSeconds", "Policy", "PolicyArns", "ExternalId"],
        |c| Box::pin(assume_role(c)),
    )
    .noting("Of the own account."),
    Action::sts("GetSessionToken", &["DurationSeconds"], |c| Box::pin(ready(session_token(c)))),
    Action::sts("GetAccessKeyInfo", &["AccessKeyId"], |c| Box::pin(key_info(c)))
        .noting("Of keys of the own account; another's is not there."),
    Action::sts("DecodeAuthorizationMessage", &["EncodedMessage"], |c| Box::pin(ready(decode(c)))),
];

fn caller_identity(c: &Context) -> Xml {
    let mut x = Xml::new();
    x.text("Arn", own_arn(c)).text("UserId", own_id(c)).text("Account", c.account());
    x
}

fn own_arn(c: &Context) -> String {
    match &c.signer.actor {
        Some(actor) => actor.arn(&c.account()),
        None => format!("arn:aws:iam::{}:user/{}", c.account(), c.signer.principal.user),
    }
}

/// In the form of AWS's ids of users; it follows from the name.
fn own_id(c: &Context) -> String {
    match &c.signer.actor {
        Some(actor) => actor.id(),
        None => arn::id("AIDA", &c.signer.principal.user),
    }
}

fn credentials(x: &mut Xml, session: &Session) {
    x.node("Credentials", |x| {
        x.text("AccessKeyId", &session.id)
            .text("SecretAccessKey", &session.secret)
            .text("SessionToken", &session.token)
            .text("Expiration", iam::date(Some(session.expires)));
    });
}

fn seconds(c: &Context, default: i64, max: i64) -> Result<i64, Failure> {
    let given = c.params.number("DurationSeconds")?;
    match given {
        None => Ok(default.min(max)),
        Some(seconds) if (SECONDS_MIN..=max).contains(&seconds) => Ok(seconds),
        Some(other) => {
            let why = format!("must be {SECONDS_MIN} to {max}");
            Err(c.params.invalid("DurationSeconds", &other.to_string(), &why))
        }
    }
}

fn session_token(c: &Context) -> Answer {
    let who = match &c.signer.actor {
        _ if c.signer.expires.is_some() => {
            return Err(denied("Cannot call GetSessionToken with session credentials"));
        }
        None => SessionOf::Corten { user: c.signer.principal.user.clone() },
        Some(actor) => SessionOf::IamUser { name: actor.name.clone() },
    };
    let seconds = seconds(c, TOKEN_SECONDS, TOKEN_SECONDS_MAX)?;
    let session = c.cloud.open_session(c.project(), who, seconds, Vec::new())?;
    let mut x = Xml::new();
    credentials(&mut x, &session);
    Ok(x)
}

fn denied(message: impl Into<String>) -> Failure {
    Failure { status: 403, ..Failure::new("AccessDenied", message) }
}

async fn assume_role(c: &Context) -> Answer {
    let wanted = c.params.require("RoleArn")?;
    let session = c.params.require("RoleSessionName")?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b);
    if !(2..=64).contains(&session.len()) || !session.bytes().all(plain) {
        return Err(c.params.invalid(
            "RoleSessionName",
            session,
            "must be 2 to 64 letters, digits and _+=,.@-",
        ));
    }
    // Whether a role is there is said only to whom it trusts.
    let refused = || {
        let wanted: String = wanted.chars().take(200).collect();
        denied(format!(
            "User: {} is not authorized to perform: sts:AssumeRole on resource: {wanted}",
            own_arn(c)
        ))
    };
    let own = format!("arn:aws:iam::{}:role/", c.account());
    let name = wanted.strip_prefix(&own).and_then(|rest| rest.rsplit('/').next()).ok_or_else(refused)?;
    let actor = c.cloud.iam_role(c.project(), name, session).ok_or_else(refused)?;
    if actor.principal_arn(&c.account()) != wanted || !may_assume(c, &actor, wanted).await? {
        return Err(refused());
    }
    let chained = matches!(c.signer.actor.as_ref().map(|a| &a.kind), Some(ActorKind::Role { .. }));
    let max = if chained { CHAINED_MAX } else { longest(c, name).await? };
    let seconds = seconds(c, ROLE_SECONDS, max)?;
    let policies = session_policies(c).await?;
    let packed: usize = policies.iter().map(String::len).sum();
    let who = SessionOf::Role { name: actor.name.clone(), session: session.to_owned() };
    let given = c.cloud.open_session(c.project(), who, seconds, policies)?;
    let mut x = Xml::new();
    credentials(&mut x, &given);
    x.node("AssumedRoleUser", |x| {
        x.text("AssumedRoleId", actor.id()).text("Arn", actor.arn(&c.account()));
    });
    if packed > 0 {
        x.text("PackedPolicySize", (packed * 100 / POLICY_MAX_BYTES).clamp(1, 100));
    }
    Ok(x)
}

const POLICY_MAX_BYTES: usize = 8 * 1024;

async fn session_policies(c: &Context) -> Result<Vec<String>, Failure> {
    let mut policies: Vec<String> = c.params.get("Policy").map(str::to_owned).into_iter().collect();
    for given in c.params.structs("PolicyArns.member") {
        policies.push(iam::policies::text(c, given.require("arn")?).await?);
    }
    for text in &policies {
        Document::policy(text).map_err(|e| iam::malformed(&e.to_string()))?;
    }
    if policies.iter().map(String::len).sum::<usize>() > POLICY_MAX_BYTES {
        return Err(Failure::new(
            "PackedPolicyTooLarge",
            "The session's policies are longer than 8192 bytes",
        ));
    }
    Ok(policies)
}

/// The role's own limit. Whoever may take a role need not be allowed to read it, so it is the smaller one then.
async fn longest(c: &Context, name: &str) -> Result<i64, Failure> {
    let found = iam::by_name::<IamRoleSpec>(c, name).await;
    Ok(found.map_or(ROLE_SECONDS, |role| role.spec.max_session_seconds.map_or(ROLE_SECONDS, i64::from)))
}

/// A role that trusts the caller by name lets him in; one that trusts the account leaves it to policies, and for a user
/// of Corten to whether he may do everything in the project.
async fn may_assume(c: &Context, role: &Actor, wanted: &str) -> Result<bool, Failure> {
    let account = c.account();
    let root = format!("arn:aws:iam::{account}:root");
    let whole = [("AWS", account.as_str()), ("AWS", root.as_str())];
    let trusts = |principals: &[(&str, &str)], facts: &Facts| {
        c.cloud.iam_trusts(c.project(), &role.name, principals, facts)
    };
    let Some(actor) = &c.signer.actor else {
        let own = own_arn(c);
        let mut facts = Facts::default();
        facts.came(c.from, c.through.as_deref());
        facts.set("aws:PrincipalArn", &own).set("aws:PrincipalAccount", &account).knows("sts:ExternalId");
        facts.set("sts:RoleSessionName", c.params.text("RoleSessionName"));
        if let Some(id) = c.params.get("ExternalId") {
            facts.set("sts:ExternalId", id);
        }
        let by_name = trusts(&[("AWS", own.as_str())], &facts);
        let all = [&whole[..], &[("AWS", own.as_str())]].concat();
        return Ok(by_name && trusts(&all, &facts) || trusts(&all, &facts) && rules(c).await?);
    };
    let resource = Resource::One(wanted.to_owned());
    let facts = authorize::facts(c, Some(actor), &resource).await?;
    let (principal, full) = (actor.principal_arn(&account), actor.arn(&account));
    let own = [("AWS", principal.as_str()), ("AWS", full.as_str())];
    let all = [&whole[..], &own].concat();
    Ok(match actor.permissions.decide("sts:AssumeRole", &resource, &facts) {
        Verdict::Allowed { .. } => trusts(&all, &facts),
        // Within one account it is enough to be trusted by name.
        Verdict::NotAllowed => trusts(&own, &facts) && trusts(&all, &facts),
        Verdict::Denied { .. } | Verdict::BeyondBounds => false,
    })
}

/// Whether a user of Corten may do everything in the project: only such may write what is in IAM, so a change of it is
/// tried.
async fn rules(c: &Context) -> Result<bool, Failure> {
    let meta = model::ObjectMeta::in_project(c.project(), "may-i");
    let spec = IamUserSpec { name: "may-i".into(), ..IamUserSpec::default() };
    let write = client::WriteOptions { dry_run: true, ..client::WriteOptions::default() };
    let tried = c.api::<IamUserSpec>().with(write).create(&model::Object::new(meta, spec)).await;
    match tried {
        Err(e) if e.reason == model::Reason::Forbidden => Ok(false),
        Err(e) if e.reason != model::Reason::AlreadyExists && !e.is_conflict() => Err(e.into()),
        _ => Ok(true),
    }
}

async fn key_info(c: &Context) -> Answer {
    let id = c.params.require("AccessKeyId")?;
    let users = c.list_if_allowed::<IamUserSpec>().await?;
    let is_own = id == c.signer.access_key_id
        || users.iter().any(|user| user.spec.access_keys.iter().any(|key| key.id == id));
    if !is_own {
        return Err(denied("The access key is not one of this account"));
    }
    let mut x = Xml::new();
    x.text("Account", c.account());
    Ok(x)
}

fn decode(c: &Context) -> Answer {
    let sealed = c.params.require("EncodedMessage")?;
    let message = c.cloud.open(&authorize::purpose(c.project()), sealed);
    let wrong =
        || Failure::new("InvalidAuthorizationMessageException", "The message is none of this account");
    let mut x = Xml::new();
    x.text("DecodedMessage", message.ok_or_else(wrong)?);
    Ok(x)
}
