//! Instance profiles: by which an instance gets a role.

use model::Object;
use model::compute::InstanceSpec;
use model::identity::{IamInstanceProfile, IamInstanceProfileSpec, IamRole, IamRoleSpec};

use super::{
    arn, below_path, by_name, change, conflict, create, head, limit, list_tags, named, new, none, page,
    roles, tag, untag, write_tags,
};
use crate::actions::{Action, Answer};
use crate::context::Context;
use crate::failure::Failure;
use crate::params::Params;
use crate::xml::Xml;

pub(crate) const ACTIONS: &[Action] = &[
    Action::iam("CreateInstanceProfile", &["InstanceProfileName", "Path", "Tags"], |c| {
        Box::pin(create_profile(c))
    }),
    Action::iam("GetInstanceProfile", &["InstanceProfileName"], |c| Box::pin(get(c))),
    Action::iam("ListInstanceProfiles", &["PathPrefix", "MaxItems", "Marker"], |c| Box::pin(list(c))),
    Action::iam("ListInstanceProfilesForRole", &["RoleName", "MaxItems", "Marker"], |c| Box::pin(of_role(c))),
    Action::iam("DeleteInstanceProfile", &["InstanceProfileName"], |c| Box::pin(delete(c))),
    Action::iam("AddRoleToInstanceProfile", &["InstanceProfileName", "RoleName"], |c| Box::pin(add(c))),
    Action::iam("RemoveRoleFromInstanceProfile", &["InstanceProfileName", "RoleName"], |c| {
        Box::pin(remove(c))
    }),
    Action::iam("TagInstanceProfile", &["InstanceProfileName", "Tags"], |c| {
        Box::pin(tag::<IamInstanceProfileSpec>(c))
    }),
    Action::iam("UntagInstanceProfile", &["InstanceProfileName", "TagKeys"], |c| {
        Box::pin(untag::<IamInstanceProfileSpec>(c))
    }),
    Action::iam("ListInstanceProfileTags", &["InstanceProfileName", "MaxItems", "Marker"], |c| {
        Box::pin(list_tags::<IamInstanceProfileSpec>(c))
    }),
];

/// The profile that EC2 is given by name or ARN.
pub(crate) async fn given(c: &Context, given: &Params) -> Result<IamInstanceProfile, Failure> {
    let invalid = |name: &str| {
        let name: String = name.chars().take(128).collect();
        Failure::value(format!(
            "Value ({name}) for parameter iamInstanceProfile is invalid. Invalid IAM Instance Profile"
        ))
    };
    let (name, wanted) = match (given.get("Name"), given.get("Arn")) {
        (Some(name), None) => (name, None),
        (None, Some(arn)) => (arn.rsplit('/').next().unwrap_or_default(), Some(arn)),
        _ => {
            return Err(Failure::new(
                "InvalidParameterCombination",
                "Name or Arn of the profile has to be given",
            ));
        }
    };
    let found = by_name::<IamInstanceProfileSpec>(c, name).await;
    let profile = found.map_err(|e| if e.status == 404 { invalid(name) } else { e })?;
    match wanted {
        Some(wanted) if arn(c, &profile.spec) != wanted => Err(invalid(wanted)),
        _ => Ok(profile),
    }
}

fn write(c: &Context, x: &mut Xml, profile: &IamInstanceProfile, all: &[IamRole]) {
    head(c, x, profile);
    let has = all.iter().filter(|role| role.spec.name == profile.spec.role);
    x.members("Roles", has, |x, role| roles::write(c, x, role));
    write_tags(x, &profile.metadata);
}

async fn shown(c: &Context, profile: &IamInstanceProfile) -> Answer {
    let all = c.list::<IamRoleSpec>().await?;
    let mut x = Xml::new();
    x.node("InstanceProfile", |x| write(c, x, profile, &all));
    Ok(x)
}

async fn create_profile(c: &Context) -> Answer {
    let spec = IamInstanceProfileSpec {
        name: c.params.require("InstanceProfileName")?.to_owned(),
        path: c.params.text("Path").to_owned(),
        role: String::new(),
    };
    let made = create(c, Object::new(new::<IamInstanceProfileSpec>(c)?, spec)).await?;
    shown(c, &made).await
}

async fn get(c: &Context) -> Answer {
    let profile = named::<IamInstanceProfileSpec>(c).await?;
    shown(c, &profile).await
}

async fn list(c: &Context) -> Answer {
    let all = c.list::<IamRoleSpec>().await?;
    let profiles = below_path::<IamInstanceProfileSpec>(c).await?;
    page(c, "InstanceProfiles", profiles, |x, profile| write(c, x, profile, &all))
}

async fn of_role(c: &Context) -> Answer {
    let role = named::<IamRoleSpec>(c).await?;
    let profiles = c.list::<IamInstanceProfileSpec>().await?.into_iter();
    let own = profiles.filter(|profile| profile.spec.role == role.spec.name);
    let items = own.map(|profile| (profile.spec.name.clone(), profile)).collect();
    let all = [role];
    page(c, "InstanceProfiles", items, |x, profile| write(c, x, profile, &all))
}

async fn delete(c: &Context) -> Answer {
    let profile = named::<IamInstanceProfileSpec>(c).await?;
    if !profile.spec.role.is_empty() {
        return Err(conflict("Cannot delete entity, must remove roles from instance profile first."));
    }
    let name = &profile.metadata.name;
    if c.list_if_allowed::<InstanceSpec>().await?.iter().any(|i| i.spec.instance_profile == *name) {
        return Err(conflict("Cannot delete entity, an instance has it."));
    }
    c.delete::<IamInstanceProfileSpec>(name, "DeleteConflict").await?;
    Ok(Xml::new())
}

async fn add(c: &Context) -> Answer {
    let role = named::<IamRoleSpec>(c).await?.spec.name;
    change::<IamInstanceProfileSpec>(c, |profile| {
        if !profile.spec.role.is_empty() {
            return Err(limit("Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1"));
        }
        profile.spec.role.clone_from(&role);
        Ok(())
    })
    .await?;
    Ok(Xml::new())
}

async fn remove(c: &Context) -> Answer {
    let role = c.params.require("RoleName")?;
    change::<IamInstanceProfileSpec>(c, |profile| {
        if !profile.spec.role.eq_ignore_ascii_case(role) {
            return Err(none("role", role));
        }
        profile.spec.role.clear();
        Ok(())
    })
    .await?;
    Ok(Xml::new())
}
