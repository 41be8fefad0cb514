//! Policies that several may have, and their versions.

use identity::iam::{MANAGED, managed};
use model::identity::{
    IAM_VERSIONS_MAX, IamGroupSpec, IamPolicy, IamPolicySpec, IamRoleSpec, IamUserSpec, PolicyVersion,
};
use model::{Object, ObjectMeta};

use super::write_tags;
use super::{Called, Holder, arn, by_name, conflict, create, date, document, encoded, id, limit, new, page};
use crate::actions::{Action, Answer};
use crate::context::Context;
use crate::failure::Failure;
use crate::tags;
use crate::xml::Xml;

pub(crate) const ACTIONS: &[Action] = &[
    Action::iam("CreatePolicy", &["PolicyName", "Path", "PolicyDocument", "Description", "Tags"], |c| {
        Box::pin(create_policy(c))
    }),
    Action::iam("GetPolicy", &["PolicyArn"], |c| Box::pin(get(c))),
    Action::iam("ListPolicies", &["Scope", "OnlyAttached", "PathPrefix", "MaxItems", "Marker"], |c| {
        Box::pin(list(c))
    })
    .noting("Of AWS's own there are those that are about what is here."),
    Action::iam("DeletePolicy", &["PolicyArn"], |c| Box::pin(delete(c))),
    Action::iam("CreatePolicyVersion", &["PolicyArn", "PolicyDocument", "SetAsDefault"], |c| {
        Box::pin(create_version(c))
    }),
    Action::iam("GetPolicyVersion", &["PolicyArn", "VersionId"], |c| Box::pin(get_version(c))),
    Action::iam("ListPolicyVersions", &["PolicyArn", "MaxItems", "Marker"], |c| Box::pin(versions(c))),
    Action::iam("SetDefaultPolicyVersion", &["PolicyArn", "VersionId"], |c| Box::pin(set_default(c))),
    Action::iam("DeletePolicyVersion", &["PolicyArn", "VersionId"], |c| Box::pin(delete_version(c))),
    Action::iam("ListEntitiesForPolicy", &["PolicyArn", "EntityFilter", "MaxItems", "Marker"], |c| {
        Box::pin(entities(c))
    }),
    Action::iam("TagPolicy", &["PolicyArn", "Tags"], |c| Box::pin(tag(c))),
    Action::iam("UntagPolicy", &["PolicyArn", "TagKeys"], |c| Box::pin(untag(c))),
    Action::iam("ListPolicyTags", &["PolicyArn", "MaxItems", "Marker"], |c| Box::pin(policy_tags(c))),
];

/// A policy: the project's own, or one that is in every account.
enum Found {
    Own(Box<IamPolicy>),
    Managed(&'static identity::iam::Managed),
}

async fn find(c: &Context, wanted: &str) -> Result<Found, Failure> {
    if let Some(managed) = managed(wanted) {
        return Ok(Found::Managed(managed));
    }
    own(c, wanted).await.map(|policy| Found::Own(Box::new(policy)))
}

async fn own(c: &Context, wanted: &str) -> Result<IamPolicy, Failure> {
    if managed(wanted).is_some() {
        let message = "A policy of AWS itself cannot be changed.";
        return Err(Failure { status: 403, ..Failure::new("AccessDenied", message) });
    }
    let none = || {
        let wanted: String = wanted.chars().take(200).collect();
        Failure { status: 404, ..Failure::new("NoSuchEntity", format!("Policy {wanted} does not exist")) }
    };
    let prefix = format!("arn:aws:iam::{}:policy/", c.account());
    let name = wanted.strip_prefix(&prefix).and_then(|rest| rest.rsplit('/').next()).ok_or_else(none)?;
    let policy =
        by_name::<IamPolicySpec>(c, name).await.map_err(|e| if e.status == 404 { none() } else { e })?;
    if arn(c, &policy.spec) == wanted { Ok(policy) } else { Err(none()) }
}

/// Whether there is a policy of this ARN.
pub(crate) async fn exists(c: &Context, wanted: &str) -> Result<(), Failure> {
    find(c, wanted).await.map(drop)
}

/// The document of a policy that counts.
pub(crate) async fn text(c: &Context, wanted: &str) -> Result<String, Failure> {
    Ok(match find(c, wanted).await? {
        Found::Managed(managed) => managed.document.to_owned(),
        Found::Own(policy) => policy.spec.document().unwrap_or_default().to_owned(),
    })
}

/// Who has a policy: type, name and id of each.
async fn holders(c: &Context, wanted: &str) -> Result<Vec<(&'static str, String, String)>, Failure> {
    async fn of<S: Holder>(
        c: &Context,
        wanted: &str,
        bound: impl Fn(&S) -> bool,
    ) -> Result<Vec<(&'static str, String, String)>, Failure> {
        let has = |object: &Object<S>| {
            object.spec.grants().attached.iter().any(|arn| arn == wanted) || bound(&object.spec)
        };
        let found = c.list::<S>().await?.into_iter().filter(has);
        Ok(found.map(|object| (S::WORD, object.spec.name().to_owned(), id(&object))).collect())
    }
    let mut all = of::<IamUserSpec>(c, wanted, |user| user.boundary == wanted).await?;
    all.extend(of::<IamGroupSpec>(c, wanted, |_| false).await?);
    all.extend(of::<IamRoleSpec>(c, wanted, |role| role.boundary == wanted).await?);
    Ok(all)
}

fn write(c: &Context, x: &mut Xml, policy: &IamPolicy, attached: usize) {
    let spec = &policy.spec;
    x.text("PolicyName", &spec.name)
        .text("PolicyId", id(policy))
        .text("Arn", arn(c, spec))
        .text("Path", spec.path())
        .text("DefaultVersionId", &spec.default_version)
        .text("AttachmentCount", attached)
        .text("PermissionsBoundaryUsageCount", 0)
        .text("IsAttachable", true)
        .given("Description", &spec.description)
        .text("CreateDate", date(policy.metadata.creation_timestamp))
        .text("UpdateDate", date(spec.versions.iter().filter_map(|v| v.created).max()));
    write_tags(x, &policy.metadata);
}

fn write_managed(x: &mut Xml, managed: &identity::iam::Managed, attached: usize) {
    x.text("PolicyName", managed.name)
        .text("PolicyId", super::arn::id("ANPA", managed.name))
        .text("Arn", format!("arn:aws:iam::aws:policy/{}", managed.name))
        .text("Path", "/")
        .text("DefaultVersionId", "v1")
        .text("AttachmentCount", attached)
        .text("PermissionsBoundaryUsageCount", 0)
        .text("IsAttachable", true)
        .text("CreateDate", date(None))
        .text("UpdateDate", date(None));
}

async fn create_policy(c: &Context) -> Answer {
    let text = document(c, "PolicyDocument")?.to_owned();
    let version = PolicyVersion { id: "v1".into(), document: text, created: Some(c.now()) };
    let spec = IamPolicySpec {
        name: c.params.require("PolicyName")?.to_owned(),
        path: c.params.text("Path").to_owned(),
        description: c.params.text("Description").to_owned(),
        versions: vec![version],
        default_version: "v1".into(),
        next_version: 2,
    };
    let made = create(c, Object::new(new::<IamPolicySpec>(c)?, spec)).await?;
    let mut x = Xml::new();
    x.node("Policy", |x| write(c, x, &made, 0));
    Ok(x)
}

async fn get(c: &Context) -> Answer {
    let wanted = c.params.require("PolicyArn")?;
    let found = find(c, wanted).await?;
    let attached = holders(c, wanted).await?.len();
    let mut x = Xml::new();
    x.node("Policy", |x| match &found {
        Found::Own(policy) => write(c, x, policy, attached),
        Found::Managed(managed) => write_managed(x, managed, attached),
    });
    Ok(x)
}

async fn list(c: &Context) -> Answer {
    let scope = c.params.get("Scope").unwrap_or("All");
    if !["All", "AWS", "Local"].contains(&scope) {
        return Err(c.params.invalid("Scope", scope, "must be All, AWS or Local"));
    }
    let only_attached = c.params.flag("OnlyAttached")?.unwrap_or(false);
    let prefix = c.params.text("PathPrefix");
    let mut found = Vec::new();
    if scope != "AWS" {
        for policy in c.list::<IamPolicySpec>().await? {
            let attached = holders(c, &arn(c, &policy.spec)).await?.len();
            found.push((policy.spec.name.clone(), (Found::Own(Box::new(policy)), attached)));
        }
    }
    if scope != "Local" {
        for managed in MANAGED {
            let attached = holders(c, &format!("arn:aws:iam::aws:policy/{}", managed.name)).await?.len();
            found.push((managed.name.to_owned(), (Found::Managed(managed), attached)));
        }
    }
    found.retain(|(_, (policy, attached))| {
        let path = if let Found::Own(policy) = policy { policy.spec.path() } else { "/" };
        path.starts_with(prefix) && (*attached > 0 || !only_attached)
    });
    page(c, "Policies", found, |x, (policy, attached)| match policy {
        Found::Own(policy) => write(c, x, policy, *attached),
        Found::Managed(managed) => write_managed(x, managed, *attached),
    })
}

async fn delete(c: &Context) -> Answer {
    let wanted = c.params.require("PolicyArn")?;
    let policy = own(c, wanted).await?;
    if !holders(c, wanted).await?.is_empty() {
        return Err(conflict("Cannot delete a policy attached to entities."));
    }
    if policy.spec.versions.len() > 1 {
        return Err(conflict(
            "This policy has more than one version. Before you delete a policy, you must delete the policy's \
             versions.",
        ));
    }
    c.delete::<IamPolicySpec>(&policy.metadata.name, "DeleteConflict").await?;
    Ok(Xml::new())
}

fn no_version(version: &str) -> Failure {
    let version: String = version.chars().take(40).collect();
    let message = format!("Policy version {version} does not exist or is not attachable.");
    Failure { status: 404, ..Failure::new("NoSuchEntity", message) }
}

fn write_version(x: &mut Xml, version: &PolicyVersion, default: &str, with_document: bool) {
    if with_document {
        x.text("Document", encoded(&version.document));
    }
    x.text("VersionId", &version.id)
        .text("IsDefaultVersion", version.id == default)
        .text("CreateDate", date(version.created));
}

async fn create_version(c: &Context) -> Answer {
    let policy = own(c, c.params.require("PolicyArn")?).await?;
    let text = document(c, "PolicyDocument")?.to_owned();
    let as_default = c.params.flag("SetAsDefault")?.unwrap_or(false);
    let changed = c
        .change::<IamPolicySpec>(&policy.metadata.name, |policy| {
            let spec = &mut policy.spec;
            if spec.versions.len() >= IAM_VERSIONS_MAX {
                return Err(limit("A managed policy can have up to 5 versions. Delete one first."));
            }
            let id = format!("v{}", spec.next_version);
            spec.next_version += 1;
            if as_default {
                spec.default_version.clone_from(&id);
            }
            spec.versions.push(PolicyVersion { id, document: text.clone(), created: Some(c.now()) });
            Ok(())
        })
        .await?;
    let mut x = Xml::new();
    let spec = &changed.spec;
    x.node("PolicyVersion", |x| {
        if let Some(made) = spec.versions.last() {
            write_version(x, made, &spec.default_version, false);
        }
    });
    Ok(x)
}

fn managed_version(managed: &identity::iam::Managed) -> PolicyVersion {
    PolicyVersion { id: "v1".into(), document: managed.document.into(), created: None }
}

async fn get_version(c: &Context) -> Answer {
    let wanted = c.params.require("VersionId")?;
    let (versions, default) = all_versions(c).await?;
    let version = versions.iter().find(|version| version.id == wanted).ok_or_else(|| no_version(wanted))?;
    let mut x = Xml::new();
    x.node("PolicyVersion", |x| write_version(x, version, &default, true));
    Ok(x)
}

async fn all_versions(c: &Context) -> Result<(Vec<PolicyVersion>, String), Failure> {
    Ok(match find(c, c.params.require("PolicyArn")?).await? {
        Found::Own(policy) => (policy.spec.versions, policy.spec.default_version),
        Found::Managed(managed) => (vec![managed_version(managed)], "v1".into()),
    })
}

async fn versions(c: &Context) -> Answer {
    let (versions, default) = all_versions(c).await?;
    let items = versions.into_iter().map(|version| (version.id.clone(), version)).collect();
    page(c, "Versions", items, |x, version| write_version(x, version, &default, false))
}

async fn set_default(c: &Context) -> Answer {
    let policy = own(c, c.params.require("PolicyArn")?).await?;
    let wanted = c.params.require("VersionId")?;
    c.change::<IamPolicySpec>(&policy.metadata.name, |policy| {
        policy.spec.version(wanted).ok_or_else(|| no_version(wanted))?;
        wanted.clone_into(&mut policy.spec.default_version);
        Ok(())
    })
    .await?;
    Ok(Xml::new())
}

async fn delete_version(c: &Context) -> Answer {
    let policy = own(c, c.params.require("PolicyArn")?).await?;
    let wanted = c.params.require("VersionId")?;
    c.change::<IamPolicySpec>(&policy.metadata.name, |policy| {
        policy.spec.version(wanted).ok_or_else(|| no_version(wanted))?;
        if policy.spec.default_version == wanted {
            return Err(conflict("Cannot delete the default version of a policy."));
        }
        policy.spec.versions.retain(|version| version.id != wanted);
        Ok(())
    })
    .await?;
    Ok(Xml::new())
}

async fn entities(c: &Context) -> Answer {
    let wanted = c.params.require("PolicyArn")?;
    exists(c, wanted).await?;
    let all = holders(c, wanted).await?;
    let filter = c.params.text("EntityFilter").to_ascii_lowercase();
    let mut x = Xml::new();
    for (list, word, name) in [
        ("PolicyGroups", "group", "GroupName"),
        ("PolicyUsers", "user", "UserName"),
        ("PolicyRoles", "role", "RoleName"),
    ] {
        let shown = all.iter().filter(|(kind, ..)| *kind == word && (filter.is_empty() || filter == word));
        x.members(list, shown, |x, (_, called, id)| {
            x.text(name, called).text(&name.replace("Name", "Id"), id);
        });
    }
    x.text("IsTruncated", false);
    Ok(x)
}

async fn retag(c: &Context, edit: impl Fn(&mut tags::Tags)) -> Answer {
    let policy = own(c, c.params.require("PolicyArn")?).await?;
    let mut all = tags::of(&policy.metadata);
    edit(&mut all);
    tags::check_count(&all)?;
    c.merge::<IamPolicySpec>(&policy.metadata.name, &tags::patch(&policy.metadata, all)).await?;
    Ok(Xml::new())
}

async fn tag(c: &Context) -> Answer {
    let new = tags::named(&c.params, "Tags.member")?;
    retag(c, |tags| tags.extend(new.clone())).await
}

async fn untag(c: &Context) -> Answer {
    let keys = c.params.list("TagKeys.member");
    retag(c, |tags| tags.retain(|key, _| !keys.contains(key))).await
}

async fn policy_tags(c: &Context) -> Answer {
    let meta = match find(c, c.params.require("PolicyArn")?).await? {
        Found::Own(policy) => policy.metadata,
        Found::Managed(_) => ObjectMeta::default(),
    };
    let all = tags::of(&meta).into_iter().map(|(k, v)| (k.clone(), (k, v))).collect();
    page(c, "Tags", all, |x, (key, value)| {
        x.text("Key", key).text("Value", value);
    })
}
