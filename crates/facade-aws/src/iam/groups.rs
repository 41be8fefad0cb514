//! Groups of users.

use model::Object;
use model::identity::{IamGroup, IamGroupSpec, IamUser, IamUserSpec};

use super::{below_path, by_name, change, conflict, create, head, named, new, page};
use crate::actions::{Action, Answer};
use crate::context::Context;
use crate::failure::Failure;
use crate::xml::Xml;

pub(crate) const ACTIONS: &[Action] = &[
    Action::iam("CreateGroup", &["GroupName", "Path"], |c| Box::pin(create_group(c))),
    Action::iam("GetGroup", &["GroupName", "MaxItems", "Marker"], |c| Box::pin(get(c))),
    Action::iam("ListGroups", &["PathPrefix", "MaxItems", "Marker"], |c| Box::pin(list(c))),
    Action::iam("DeleteGroup", &["GroupName"], |c| Box::pin(delete(c))),
    Action::iam("AddUserToGroup", &["GroupName", "UserName"], |c| Box::pin(add(c))),
    Action::iam("RemoveUserFromGroup", &["GroupName", "UserName"], |c| Box::pin(remove(c))),
    Action::iam("ListGroupsForUser", &["UserName", "MaxItems", "Marker"], |c| Box::pin(of_user(c))),
];

async fn members(c: &Context, group: &IamGroup) -> Result<Vec<(String, IamUser)>, Failure> {
    let is_in = |user: &IamUser| user.spec.groups.iter().any(|g| g.eq_ignore_ascii_case(&group.spec.name));
    let users = c.list::<IamUserSpec>().await?.into_iter().filter(is_in);
    Ok(users.map(|user| (user.spec.name.clone(), user)).collect())
}

async fn create_group(c: &Context) -> Answer {
    let spec = IamGroupSpec {
        name: c.params.require("GroupName")?.to_owned(),
        path: c.params.text("Path").to_owned(),
        ..IamGroupSpec::default()
    };
    let made = create(c, Object::new(new::<IamGroupSpec>(c)?, spec)).await?;
    let mut x = Xml::new();
    x.node("Group", |x| head(c, x, &made));
    Ok(x)
}

async fn get(c: &Context) -> Answer {
    let group = named::<IamGroupSpec>(c).await?;
    let users = page(c, "Users", members(c, &group).await?, |x, user| head(c, x, user))?;
    let mut x = Xml::new();
    x.node("Group", |x| head(c, x, &group)).append(&users);
    Ok(x)
}

async fn list(c: &Context) -> Answer {
    page(c, "Groups", below_path::<IamGroupSpec>(c).await?, |x, group| head(c, x, group))
}

async fn delete(c: &Context) -> Answer {
    let group = named::<IamGroupSpec>(c).await?;
    let grants = &group.spec.grants;
    if !members(c, &group).await?.is_empty() {
        return Err(conflict("Cannot delete entity, must remove users from group first."));
    }
    if !grants.policies.is_empty() || !grants.attached.is_empty() {
        return Err(conflict("Cannot delete entity, must detach all policies first."));
    }
    c.delete::<IamGroupSpec>(&group.metadata.name, "DeleteConflict").await?;
    Ok(Xml::new())
}

async fn add(c: &Context) -> Answer {
    let group = named::<IamGroupSpec>(c).await?.spec.name;
    change::<IamUserSpec>(c, |user| {
        if !user.spec.groups.contains(&group) {
            user.spec.groups.push(group.clone());
        }
        Ok(())
    })
    .await?;
    Ok(Xml::new())
}

async fn remove(c: &Context) -> Answer {
    let group = named::<IamGroupSpec>(c).await?.spec.name;
    change::<IamUserSpec>(c, |user| {
        user.spec.groups.retain(|own| *own != group);
        Ok(())
    })
    .await?;
    Ok(Xml::new())
}

async fn of_user(c: &Context) -> Answer {
    let user = named::<IamUserSpec>(c).await?;
    let mut groups = Vec::new();
    for name in &user.spec.groups {
        if let Ok(group) = by_name::<IamGroupSpec>(c, name).await {
            groups.push((name.clone(), group));
        }
    }
    page(c, "Groups", groups, |x, group| head(c, x, group))
}
