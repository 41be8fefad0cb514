//! Roles: what users and instances become for a while.

use identity::iam::Document;
use model::Object;
use model::identity::{IamInstanceProfileSpec, IamRole, IamRoleSpec};

use super::{
    below_path, change, conflict, create, encoded, head, list_tags, malformed, named, new, page, tag, untag,
    users, write_tags,
};
use crate::actions::{Action, Answer};
use crate::context::Context;
use crate::failure::Failure;
use crate::xml::Xml;

pub(crate) const SECONDS: u32 = 3600;

pub(crate) const ACTIONS: &[Action] = &[
    Action::iam(
        "CreateRole",
        &[
            "RoleName",
            "Path",
            "AssumeRolePolicyDocument",
            "Description",
            "MaxSessionDuration",
            "PermissionsBoundary",
            "Tags",
        ],
        |c| Box::pin(create_role(c)),
    ),
    Action::iam("GetRole", &["RoleName"], |c| Box::pin(get(c))),
    Action::iam("ListRoles", &["PathPrefix", "MaxItems", "Marker"], |c| Box::pin(list(c))),
    Action::iam("UpdateRole", &["RoleName", "Description", "MaxSessionDuration"], |c| Box::pin(update(c))),
    Action::iam("UpdateRoleDescription", &["RoleName", "Description"], |c| Box::pin(describe(c))),
    Action::iam("UpdateAssumeRolePolicy", &["RoleName", "PolicyDocument"], |c| Box::pin(update_trust(c))),
    Action::iam("DeleteRole", &["RoleName"], |c| Box::pin(delete(c))),
    Action::iam("TagRole", &["RoleName", "Tags"], |c| Box::pin(tag::<IamRoleSpec>(c))),
    Action::iam("UntagRole", &["RoleName", "TagKeys"], |c| Box::pin(untag::<IamRoleSpec>(c))),
    Action::iam("ListRoleTags", &["RoleName", "MaxItems", "Marker"], |c| {
        Box::pin(list_tags::<IamRoleSpec>(c))
    }),
    Action::iam("PutRolePermissionsBoundary", &["RoleName", "PermissionsBoundary"], |c| {
        Box::pin(put_boundary(c))
    }),
    Action::iam("DeleteRolePermissionsBoundary", &["RoleName"], |c| Box::pin(set_boundary(c, ""))),
];

pub(crate) fn write(c: &Context, x: &mut Xml, role: &IamRole) {
    head(c, x, role);
    x.text("AssumeRolePolicyDocument", encoded(&role.spec.trust));
    x.given("Description", &role.spec.description);
    x.text("MaxSessionDuration", role.spec.max_session_seconds.unwrap_or(SECONDS));
    users::boundary(x, &role.spec.boundary);
    write_tags(x, &role.metadata);
}

fn shown(c: &Context, role: &IamRole) -> Xml {
    let mut x = Xml::new();
    x.node("Role", |x| write(c, x, role));
    x
}

fn trust<'a>(c: &'a Context, parameter: &str) -> Result<&'a str, Failure> {
    let text = c.params.require(parameter)?;
    Document::trust(text).map_err(|e| malformed(&e.to_string()))?;
    Ok(text)
}

fn seconds(c: &Context) -> Result<Option<u32>, Failure> {
    let Some(given) = c.params.number("MaxSessionDuration")? else { return Ok(None) };
    let fits = u32::try_from(given).ok().filter(|seconds| (3600..=43_200).contains(seconds));
    let wrong = || c.params.invalid("MaxSessionDuration", &given.to_string(), "must be 3600 to 43200");
    fits.map(Some).ok_or_else(wrong)
}

async fn create_role(c: &Context) -> Answer {
    let boundary = c.params.text("PermissionsBoundary").to_owned();
    if !boundary.is_empty() {
        super::policies::exists(c, &boundary).await?;
    }
    let spec = IamRoleSpec {
        name: c.params.require("RoleName")?.to_owned(),
        path: c.params.text("Path").to_owned(),
        description: c.params.text("Description").to_owned(),
        trust: trust(c, "AssumeRolePolicyDocument")?.to_owned(),
        max_session_seconds: seconds(c)?,
        boundary,
        ..IamRoleSpec::default()
    };
    let made = create(c, Object::new(new::<IamRoleSpec>(c)?, spec)).await?;
    Ok(shown(c, &made))
}

async fn get(c: &Context) -> Answer {
    Ok(shown(c, &named::<IamRoleSpec>(c).await?))
}

async fn list(c: &Context) -> Answer {
    page(c, "Roles", below_path::<IamRoleSpec>(c).await?, |x, role| write(c, x, role))
}

async fn update(c: &Context) -> Answer {
    let seconds = seconds(c)?;
    let description = c.params.get("Description").map(str::to_owned);
    change::<IamRoleSpec>(c, |role| {
        role.spec.max_session_seconds = seconds.or(role.spec.max_session_seconds);
        if let Some(text) = &description {
            role.spec.description.clone_from(text);
        }
        Ok(())
    })
    .await?;
    Ok(Xml::new())
}

async fn describe(c: &Context) -> Answer {
    let text = c.params.text("Description").to_owned();
    let role = change::<IamRoleSpec>(c, |role| {
        role.spec.description.clone_from(&text);
        Ok(())
    })
    .await?;
    Ok(shown(c, &role))
}

async fn update_trust(c: &Context) -> Answer {
    let text = trust(c, "PolicyDocument")?.to_owned();
    change::<IamRoleSpec>(c, |role| {
        role.spec.trust.clone_from(&text);
        Ok(())
    })
    .await?;
    Ok(Xml::new())
}

async fn delete(c: &Context) -> Answer {
    let role = named::<IamRoleSpec>(c).await?;
    let grants = &role.spec.grants;
    if !grants.policies.is_empty() {
        return Err(conflict("Cannot delete entity, must delete policies first."));
    }
    if !grants.attached.is_empty() {
        return Err(conflict("Cannot delete entity, must detach all policies first."));
    }
    let profiles = c.list::<IamInstanceProfileSpec>().await?;
    if profiles.iter().any(|profile| profile.spec.role == role.spec.name) {
        return Err(conflict("Cannot delete entity, must remove roles from instance profile first."));
    }
    c.delete::<IamRoleSpec>(&role.metadata.name, "DeleteConflict").await?;
    Ok(Xml::new())
}

async fn put_boundary(c: &Context) -> Answer {
    let arn = c.params.require("PermissionsBoundary")?;
    super::policies::exists(c, arn).await?;
    set_boundary(c, arn).await
}

async fn set_boundary(c: &Context, arn: &str) -> Answer {
    change::<IamRoleSpec>(c, |role| {
        arn.clone_into(&mut role.spec.boundary);
        Ok(())
    })
    .await?;
    Ok(Xml::new())
}
