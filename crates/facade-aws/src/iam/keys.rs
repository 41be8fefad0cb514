//! Keys of users. A secret is shown once, in the answer that makes it.

use model::identity::{IAM_KEYS_MAX, IamKey, IamUser, IamUserSpec};

use super::{by_name, date, limit, page};
use crate::actions::{Action, Answer};
use crate::context::Context;
use crate::failure::Failure;
use crate::xml::Xml;

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// Of secrets: as AWS's, in base 64.
const SECRET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(crate) const ACTIONS: &[Action] = &[
    Action::iam("CreateAccessKey", &["UserName"], |c| Box::pin(create(c))),
    Action::iam("ListAccessKeys", &["UserName", "MaxItems", "Marker"], |c| Box::pin(list(c))),
    Action::iam("UpdateAccessKey", &["UserName", "AccessKeyId", "Status"], |c| Box::pin(update(c))),
    Action::iam("DeleteAccessKey", &["UserName", "AccessKeyId"], |c| Box::pin(delete(c))),
    Action::iam("GetAccessKeyLastUsed", &["AccessKeyId"], |c| Box::pin(last_used(c)))
        .noting("Since the server started."),
];

/// The user that is named, or who calls.
async fn user(c: &Context) -> Result<IamUser, Failure> {
    let own = c.signer.actor.as_ref().map(|actor| actor.name.as_str());
    let name = c.params.get("UserName").or(own).ok_or_else(|| Failure::missing("UserName"))?;
    by_name::<IamUserSpec>(c, name).await
}

fn none(id: &str) -> Failure {
    let id: String = id.chars().take(128).collect();
    let message = format!("The Access Key with id {id} cannot be found.");
    Failure { status: 404, ..Failure::new("NoSuchEntity", message) }
}

fn status(key: &IamKey) -> &'static str {
    if key.inactive { "Inactive" } else { "Active" }
}

async fn create(c: &Context) -> Answer {
    let found = user(c).await?;
    let letters = c.cloud.random();
    let letters = letters.iter().take(16).map(|byte| char::from(ALPHABET[usize::from(byte & 31)]));
    let id: String = "AKIA".chars().chain(letters).collect();
    let (first, second) = (c.cloud.random(), c.cloud.random());
    let bytes = first.iter().chain(&second).take(40);
    let secret: String = bytes.map(|byte| char::from(SECRET[usize::from(byte & 63)])).collect();
    let changed = c
        .change::<IamUserSpec>(&found.metadata.name, |user| {
            if user.spec.access_keys.len() >= IAM_KEYS_MAX {
                return Err(limit("Cannot exceed quota for AccessKeysPerUser: 2"));
            }
            user.spec.access_keys.push(IamKey {
                id: id.clone(),
                secret: secret.clone(),
                ..IamKey::default()
            });
            Ok(())
        })
        .await?;
    let made = changed.spec.access_keys.iter().find(|key| key.id == id);
    let mut x = Xml::new();
    x.node("AccessKey", |x| {
        x.text("UserName", &changed.spec.name)
            .text("AccessKeyId", &id)
            .text("Status", "Active")
            .text("SecretAccessKey", &secret)
            .text("CreateDate", date(made.and_then(|key| key.created)));
    });
    Ok(x)
}

async fn list(c: &Context) -> Answer {
    let user = user(c).await?;
    let keys = user.spec.access_keys.iter().map(|key| (key.id.clone(), key)).collect();
    page(c, "AccessKeyMetadata", keys, |x, key| {
        x.text("UserName", &user.spec.name)
            .text("AccessKeyId", &key.id)
            .text("Status", status(key))
            .text("CreateDate", date(key.created));
    })
}

async fn update(c: &Context) -> Answer {
    let inactive = match c.params.require("Status")? {
        "Active" => false,
        "Inactive" => true,
        other => return Err(c.params.invalid("Status", other, "must be Active or Inactive")),
    };
    let id = c.params.require("AccessKeyId")?;
    let found = user(c).await?;
    c.change::<IamUserSpec>(&found.metadata.name, |user| {
        let key = user.spec.access_keys.iter_mut().find(|key| key.id == id).ok_or_else(|| none(id))?;
        key.inactive = inactive;
        Ok(())
    })
    .await?;
    Ok(Xml::new())
}

async fn delete(c: &Context) -> Answer {
    let id = c.params.require("AccessKeyId")?;
    let found = user(c).await?;
    c.change::<IamUserSpec>(&found.metadata.name, |user| {
        let count = user.spec.access_keys.len();
        user.spec.access_keys.retain(|key| key.id != id);
        if user.spec.access_keys.len() == count { Err(none(id)) } else { Ok(()) }
    })
    .await?;
    Ok(Xml::new())
}

async fn last_used(c: &Context) -> Answer {
    let id = c.params.require("AccessKeyId")?;
    let users = c.list::<IamUserSpec>().await?;
    let has = |user: &&IamUser| user.spec.access_keys.iter().any(|key| key.id == id);
    let user = users.iter().find(has).ok_or_else(|| none(id))?;
    let mut x = Xml::new();
    x.text("UserName", &user.spec.name).node("AccessKeyLastUsed", |x| match c.cloud.last_used(id) {
        Some((at, service, region)) => {
            x.text("LastUsedDate", date(Some(at))).text("ServiceName", service).text("Region", region);
        }
        None => {
            x.text("ServiceName", "N/A").text("Region", "N/A");
        }
    });
    Ok(x)
}
