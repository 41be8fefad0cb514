//! What would be allowed: the same decision as that of a call, for actions and resources that are only named.

use futures::future::ready;
use identity::iam::{Document, Facts, Permissions, Resource, Verdict};

use super::malformed;
use crate::actions::{Action, Answer};
use crate::context::Context;
use crate::failure::Failure;
use crate::xml::Xml;

/// Most pairs of action and resource of one simulation.
const PAIRS_MAX: usize = 1000;

pub(crate) const ACTIONS: &[Action] = &[
    Action::iam(
        "SimulatePrincipalPolicy",
        &[
            "PolicySourceArn",
            "ActionNames",
            "ResourceArns",
            "ContextEntries",
            "PolicyInputList",
            "PermissionsBoundaryPolicyInputList",
            "MaxItems",
        ],
        |c| Box::pin(ready(of_principal(c))),
    ),
    Action::iam(
        "SimulateCustomPolicy",
        &[
            "PolicyInputList",
            "ActionNames",
            "ResourceArns",
            "ContextEntries",
            "PermissionsBoundaryPolicyInputList",
            "MaxItems",
        ],
        |c| Box::pin(ready(of_documents(c))),
    ),
];

fn of_principal(c: &Context) -> Answer {
    let source = c.params.require("PolicySourceArn")?;
    let own = format!("arn:aws:iam::{}:", c.account());
    let (kind, name) = source
        .strip_prefix(&own)
        .and_then(|rest| Some((rest.split_once('/')?.0, rest.rsplit('/').next()?)))
        .ok_or_else(|| {
            Failure::new("InvalidInput", "PolicySourceArn must be of a user or role of this account")
        })?;
    let actor = match kind {
        "user" => c.cloud.iam_user(c.project(), name),
        "role" => c.cloud.iam_role(c.project(), name, "simulation"),
        _ => None,
    };
    let actor = actor.ok_or_else(|| super::none(kind, name))?;
    answer(c, actor.permissions)
}

fn of_documents(c: &Context) -> Answer {
    c.params.require("PolicyInputList.member.1")?;
    answer(c, Permissions::default())
}

fn answer(c: &Context, mut permissions: Permissions) -> Answer {
    let read = |text: &String| Document::policy(text).map_err(|e| malformed(&e.to_string()));
    for (i, text) in c.params.list("PolicyInputList.member").iter().enumerate() {
        permissions = permissions.and(&format!("PolicyInputList.{}", i + 1), read(text)?);
    }
    for text in &c.params.list("PermissionsBoundaryPolicyInputList.member") {
        permissions = permissions.bounded("boundary", read(text)?);
    }
    let mut facts = Facts::default();
    // Whoever simulates says all that there is to know.
    facts.knows_all("");
    for entry in c.params.structs("ContextEntries.member") {
        facts.set_all(entry.require("ContextKeyName")?, entry.list("ContextKeyValues.member"));
    }
    let actions = c.params.list("ActionNames.member");
    if actions.is_empty() {
        return Err(Failure::missing("ActionNames.member.1"));
    }
    let mut resources = c.params.list("ResourceArns.member");
    if resources.is_empty() {
        resources.push("*".into());
    }
    if actions.len() * resources.len() > PAIRS_MAX {
        return Err(Failure::new("InvalidInput", "There are too many actions and resources"));
    }
    let mut x = Xml::new();
    let pairs = actions.iter().flat_map(|action| resources.iter().map(move |resource| (action, resource)));
    x.members("EvaluationResults", pairs, |x, (action, resource)| {
        let verdict = permissions.decide(action, &Resource::One(resource.clone()), &facts);
        let (word, by) = match verdict {
            Verdict::Allowed { by } => ("allowed", by),
            Verdict::Denied { by } => ("explicitDeny", by),
            Verdict::NotAllowed | Verdict::BeyondBounds => ("implicitDeny", String::new()),
        };
        x.text("EvalActionName", action).text("EvalResourceName", resource).text("EvalDecision", word);
        x.members("MatchedStatements", Some(by).filter(|by| !by.is_empty()), |x, by| {
            x.text("SourcePolicyId", by);
        });
        x.members("MissingContextValues", std::iter::empty::<()>(), |_, ()| {});
    });
    x.text("IsTruncated", false);
    Ok(x)
}
