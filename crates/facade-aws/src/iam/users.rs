//! Users of the project.

use model::Object;
use model::identity::{IamUser, IamUserSpec};

use super::{
    below_path, change, conflict, create, head, list_tags, named, new, none, page, tag, untag, write_tags,
};
use crate::actions::{Action, Answer};
use crate::context::Context;
use crate::failure::Failure;
use crate::xml::Xml;

pub(crate) const ACTIONS: &[Action] = &[
    Action::iam("CreateUser", &["UserName", "Path", "PermissionsBoundary", "Tags"], |c| {
        Box::pin(create_user(c))
    }),
    Action::iam("GetUser", &["UserName"], |c| Box::pin(get(c))),
    Action::iam("ListUsers", &["PathPrefix", "MaxItems", "Marker"], |c| Box::pin(list(c))),
    Action::iam("UpdateUser", &["UserName", "NewPath"], |c| Box::pin(update(c)))
        .noting("The path; a name stays."),
    Action::iam("DeleteUser", &["UserName"], |c| Box::pin(delete(c))),
    Action::iam("TagUser", &["UserName", "Tags"], |c| Box::pin(tag::<IamUserSpec>(c))),
    Action::iam("UntagUser", &["UserName", "TagKeys"], |c| Box::pin(untag::<IamUserSpec>(c))),
    Action::iam("ListUserTags", &["UserName", "MaxItems", "Marker"], |c| {
        Box::pin(list_tags::<IamUserSpec>(c))
    }),
    Action::iam("PutUserPermissionsBoundary", &["UserName", "PermissionsBoundary"], |c| {
        Box::pin(put_boundary(c))
    }),
    Action::iam("DeleteUserPermissionsBoundary", &["UserName"], |c| Box::pin(delete_boundary(c))),
];

pub(crate) fn write(c: &Context, x: &mut Xml, user: &IamUser) {
    head(c, x, user);
    boundary(x, &user.spec.boundary);
    write_tags(x, &user.metadata);
}

pub(crate) fn boundary(x: &mut Xml, arn: &str) {
    if !arn.is_empty() {
        x.node("PermissionsBoundary", |x| {
            x.text("PermissionsBoundaryType", "Policy").text("PermissionsBoundaryArn", arn);
        });
    }
}

fn shown(c: &Context, user: &IamUser) -> Xml {
    let mut x = Xml::new();
    x.node("User", |x| write(c, x, user));
    x
}

async fn create_user(c: &Context) -> Answer {
    let boundary = c.params.text("PermissionsBoundary").to_owned();
    if !boundary.is_empty() {
        super::policies::exists(c, &boundary).await?;
    }
    let spec = IamUserSpec {
        name: c.params.require("UserName")?.to_owned(),
        path: c.params.text("Path").to_owned(),
        boundary,
        ..IamUserSpec::default()
    };
    let made = create(c, Object::new(new::<IamUserSpec>(c)?, spec)).await?;
    Ok(shown(c, &made))
}

async fn get(c: &Context) -> Answer {
    if c.params.get("UserName").is_some() {
        return Ok(shown(c, &named::<IamUserSpec>(c).await?));
    }
    let own = match &c.signer.actor {
        Some(actor) => super::by_name::<IamUserSpec>(c, &actor.name).await?,
        None => return Err(none("user", &c.signer.principal.user)),
    };
    Ok(shown(c, &own))
}

async fn list(c: &Context) -> Answer {
    page(c, "Users", below_path::<IamUserSpec>(c).await?, |x, user| head(c, x, user))
}

async fn update(c: &Context) -> Answer {
    let path = c.params.require("NewPath")?.to_owned();
    change::<IamUserSpec>(c, |user| {
        user.spec.path.clone_from(&path);
        Ok(())
    })
    .await?;
    Ok(Xml::new())
}

async fn delete(c: &Context) -> Answer {
    let user = named::<IamUserSpec>(c).await?;
    let spec = &user.spec;
    let what = if !spec.access_keys.is_empty() {
        "Cannot delete entity, must delete access keys first."
    } else if !spec.grants.policies.is_empty() {
        "Cannot delete entity, must delete policies first."
    } else if !spec.grants.attached.is_empty() {
        "Cannot delete entity, must detach all policies first."
    } else if !spec.groups.is_empty() {
        "Cannot delete entity, must remove users from group first."
    } else {
        c.delete::<IamUserSpec>(&user.metadata.name, "DeleteConflict").await?;
        return Ok(Xml::new());
    };
    Err(conflict(what))
}

async fn put_boundary(c: &Context) -> Answer {
    let arn = c.params.require("PermissionsBoundary")?.to_owned();
    super::policies::exists(c, &arn).await?;
    set_boundary(c, &arn).await
}

async fn delete_boundary(c: &Context) -> Answer {
    set_boundary(c, "").await
}

async fn set_boundary(c: &Context, arn: &str) -> Result<Xml, Failure> {
    change::<IamUserSpec>(c, |user| {
        arn.clone_into(&mut user.spec.boundary);
        Ok(())
    })
    .await?;
    Ok(Xml::new())
}
