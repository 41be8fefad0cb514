//! What users, groups and roles are given: policies of their own, and those that several may have.

use model::identity::{IamGroupSpec, IamRoleSpec, IamUserSpec};

use super::{Called, Holder, change, document, encoded, limit, named, page, policies};
use crate::actions::{Action, Answer};
use crate::context::Context;
use crate::failure::Failure;
use crate::xml::Xml;

const ATTACHED_MAX: usize = 20;

macro_rules! actions {
    ($($spec:ty, $parameter:literal: $put:literal $get:literal $list:literal $delete:literal $attach:literal $detach:literal $attached:literal;)*) => {
        pub(crate) const ACTIONS: &[Action] = &[$(
            Action::iam($put, &[$parameter, "PolicyName", "PolicyDocument"], |c| Box::pin(put::<$spec>(c))),
            Action::iam($get, &[$parameter, "PolicyName"], |c| Box::pin(get::<$spec>(c))),
            Action::iam($list, &[$parameter, "MaxItems", "Marker"], |c| Box::pin(list::<$spec>(c))),
            Action::iam($delete, &[$parameter, "PolicyName"], |c| Box::pin(delete::<$spec>(c))),
            Action::iam($attach, &[$parameter, "PolicyArn"], |c| Box::pin(attach::<$spec>(c))),
            Action::iam($detach, &[$parameter, "PolicyArn"], |c| Box::pin(detach::<$spec>(c))),
            Action::iam($attached, &[$parameter, "PathPrefix", "MaxItems", "Marker"], |c| {
                Box::pin(attached::<$spec>(c))
            }),
        )*];
    };
}

actions! {
    IamUserSpec, "UserName": "PutUserPolicy" "GetUserPolicy" "ListUserPolicies" "DeleteUserPolicy" "AttachUserPolicy" "DetachUserPolicy" "ListAttachedUserPolicies";
    IamGroupSpec, "GroupName": "PutGroupPolicy" "GetGroupPolicy" "ListGroupPolicies" "DeleteGroupPolicy" "AttachGroupPolicy" "DetachGroupPolicy" "ListAttachedGroupPolicies";
    IamRoleSpec, "RoleName": "PutRolePolicy" "GetRolePolicy" "ListRolePolicies" "DeleteRolePolicy" "AttachRolePolicy" "DetachRolePolicy" "ListAttachedRolePolicies";
}

fn no_policy<S: Called>(holder: &str, policy: &str) -> Failure {
    let policy: String = policy.chars().take(128).collect();
    let message = format!("The {} policy with name {policy} of {holder} cannot be found.", S::WORD);
    Failure { status: 404, ..Failure::new("NoSuchEntity", message) }
}

async fn put<S: Holder>(c: &Context) -> Answer {
    let name = c.params.require("PolicyName")?.to_owned();
    let text = document(c, "PolicyDocument")?.to_owned();
    change::<S>(c, |holder| {
        holder.spec.grants_mut().policies.insert(name.clone(), text.clone());
        Ok(())
    })
    .await?;
    Ok(Xml::new())
}

async fn get<S: Holder>(c: &Context) -> Answer {
    let holder = named::<S>(c).await?;
    let name = c.params.require("PolicyName")?;
    let none = || no_policy::<S>(holder.spec.name(), name);
    let text = holder.spec.grants().policies.get(name).ok_or_else(none)?;
    let mut x = Xml::new();
    x.text(S::PARAMETER, holder.spec.name()).text("PolicyName", name).text("PolicyDocument", encoded(text));
    Ok(x)
}

async fn list<S: Holder>(c: &Context) -> Answer {
    let holder = named::<S>(c).await?;
    let names = holder.spec.grants().policies.keys().map(|name| (name.clone(), name.clone())).collect();
    page(c, "PolicyNames", names, |x, name| {
        x.out_text(name);
    })
}

async fn delete<S: Holder>(c: &Context) -> Answer {
    let name = c.params.require("PolicyName")?;
    change::<S>(c, |holder| {
        let called = holder.spec.name().to_owned();
        let gone = holder.spec.grants_mut().policies.remove(name);
        gone.map(drop).ok_or_else(|| no_policy::<S>(&called, name))
    })
    .await?;
    Ok(Xml::new())
}

async fn attach<S: Holder>(c: &Context) -> Answer {
    let arn = c.params.require("PolicyArn")?.to_owned();
    policies::exists(c, &arn).await?;
    change::<S>(c, |holder| {
        let attached = &mut holder.spec.grants_mut().attached;
        if attached.contains(&arn) {
            return Ok(());
        }
        if attached.len() >= ATTACHED_MAX {
            return Err(limit("Cannot exceed quota for attached policies: 20"));
        }
        attached.push(arn.clone());
        Ok(())
    })
    .await?;
    Ok(Xml::new())
}

async fn detach<S: Holder>(c: &Context) -> Answer {
    let arn = c.params.require("PolicyArn")?.to_owned();
    change::<S>(c, |holder| {
        let attached = &mut holder.spec.grants_mut().attached;
        let count = attached.len();
        attached.retain(|own| *own != arn);
        if attached.len() == count {
            let message = format!("Policy {} was not found.", arn.chars().take(200).collect::<String>());
            return Err(Failure { status: 404, ..Failure::new("NoSuchEntity", message) });
        }
        Ok(())
    })
    .await?;
    Ok(Xml::new())
}

async fn attached<S: Holder>(c: &Context) -> Answer {
    let holder = named::<S>(c).await?;
    let all = holder.spec.grants().attached.iter();
    let items = all.map(|arn| (arn.rsplit('/').next().unwrap_or_default().to_owned(), arn.clone())).collect();
    page(c, "AttachedPolicies", items, |x, arn: &String| {
        x.text("PolicyName", arn.rsplit('/').next().unwrap_or_default()).text("PolicyArn", arn);
    })
}
