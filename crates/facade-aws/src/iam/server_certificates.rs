//! Server certificates: Secrets with a certificate and its key.

use client::{Api, DeleteOptions, ListParams};
use model::secret::{Secret, TLS, TLS_CERTIFICATE};
use model::{Name, ObjectMeta, Reason};

use super::{date, none, page, write_tags};
use crate::actions::{Action, Answer};
use crate::context::Context;
use crate::failure::Failure;
use crate::iam::arn as iam_arn;
use crate::tags::{self, Tags};
use crate::xml::Xml;

const END: &str = "-----END CERTIFICATE-----";
const WORD: &str = "Server Certificate";

pub(crate) const ACTIONS: &[Action] = &[
    Action::iam(
        "UploadServerCertificate",
        &["ServerCertificateName", "Path", "CertificateBody", "PrivateKey", "CertificateChain", "Tags"],
        |c| Box::pin(upload(c)),
    )
    .noting(
        "It is a Secret of type kubernetes.io/tls, and its name one of an object: lower case. The path is /.",
    ),
    Action::iam("GetServerCertificate", &["ServerCertificateName"], |c| Box::pin(get(c))),
    Action::iam("ListServerCertificates", &["PathPrefix", "MaxItems", "Marker"], |c| Box::pin(list(c))),
    Action::iam("DeleteServerCertificate", &["ServerCertificateName"], |c| Box::pin(delete(c))),
    Action::iam("TagServerCertificate", &["ServerCertificateName", "Tags"], |c| Box::pin(tag(c))),
    Action::iam("UntagServerCertificate", &["ServerCertificateName", "TagKeys"], |c| Box::pin(untag(c))),
    Action::iam("ListServerCertificateTags", &["ServerCertificateName", "MaxItems", "Marker"], |c| {
        Box::pin(list_tags(c))
    }),
];

/// The ARN of the certificate in a secret of this name.
pub(crate) fn arn(c: &Context, secret: &str) -> String {
    format!("arn:aws:iam::{}:server-certificate/{secret}", c.account())
}

fn secrets(c: &Context) -> Api<Secret> {
    c.client.project::<Secret>(c.project())
}

async fn named(c: &Context) -> Result<Secret, Failure> {
    let name = c.params.require("ServerCertificateName")?;
    // What cannot be a name is none; it would be refused in other words.
    let found = if Name::new(name).is_ok() { secrets(c).find(name).await? } else { None };
    found.filter(|secret| secret.secret_type == TLS).ok_or_else(|| none(WORD, name))
}

fn head(c: &Context, x: &mut Xml, secret: &Secret) {
    let meta = &secret.metadata;
    x.text("Path", "/")
        .text("ServerCertificateName", &meta.name)
        .text("ServerCertificateId", iam_arn::id("ASCA", meta.uid.as_str()))
        .text("Arn", arn(c, &meta.name))
        .text("UploadDate", date(meta.creation_timestamp));
}

async fn upload(c: &Context) -> Answer {
    let name = c.params.require("ServerCertificateName")?;
    if let Err(e) = Name::new(name) {
        return Err(c.params.invalid("ServerCertificateName", name, &format!("cannot be a name here: {e}")));
    }
    if c.params.get("Path").is_some_and(|path| path != "/") {
        return Err(c.params.invalid("Path", c.params.text("Path"), "can only be / in this cloud"));
    }
    let mut chain = c.params.require("CertificateBody")?.trim().to_owned();
    if let Some(more) = c.params.get("CertificateChain") {
        chain.push('\n');
        chain.push_str(more.trim());
    }
    chain.push('\n');
    let mut meta = ObjectMeta::in_project(c.project(), name);
    tags::give(&mut meta, tags::named(&c.params, "Tags.member")?);
    let secret = Secret::tls(meta, chain, c.params.require("PrivateKey")?);
    let made = secrets(c).create(&secret).await.map_err(|e| match e.reason {
        Reason::AlreadyExists | Reason::Conflict => {
            let message = format!("The {WORD} with name {name} already exists.");
            Failure { status: 409, ..Failure::new("EntityAlreadyExists", message) }
        }
        Reason::Invalid if e.message.contains("does not belong") => {
            Failure::new("KeyPairMismatch", e.message)
        }
        Reason::Invalid if e.message.contains("data.tls") => Failure::new("MalformedCertificate", e.message),
        _ => e.into(),
    })?;
    let mut x = Xml::new();
    x.node("ServerCertificateMetadata", |x| head(c, x, &made));
    write_tags(&mut x, &made.metadata);
    Ok(x)
}

async fn get(c: &Context) -> Answer {
    let secret = named(c).await?;
    let chain = secret.value(TLS_CERTIFICATE).unwrap_or_default();
    let chain = String::from_utf8_lossy(&chain).into_owned();
    let first = chain.find(END).map_or(chain.len(), |at| at + END.len());
    let (body, rest) = chain.split_at(first);
    let mut x = Xml::new();
    x.node("ServerCertificate", |x| {
        x.node("ServerCertificateMetadata", |x| head(c, x, &secret))
            .text("CertificateBody", body.trim())
            .given("CertificateChain", rest.trim());
        write_tags(x, &secret.metadata);
    });
    Ok(x)
}

async fn list(c: &Context) -> Answer {
    let prefix = c.params.get("PathPrefix").unwrap_or("/");
    let all = secrets(c).list(&ListParams::default()).await?.items.into_iter();
    let own = all.filter(|secret| secret.secret_type == TLS && prefix == "/");
    let items = own.map(|secret| (secret.metadata.name.clone(), secret)).collect();
    page(c, "ServerCertificateMetadataList", items, |x, secret| head(c, x, secret))
}

async fn delete(c: &Context) -> Answer {
    let secret = named(c).await?;
    let deleted = secrets(c).delete(&secret.metadata.name, &DeleteOptions::default()).await;
    deleted.map_err(|e| match e.reason {
        Reason::Conflict => super::conflict(e.message),
        _ => e.into(),
    })?;
    Ok(Xml::new())
}

async fn change(c: &Context, edit: impl FnOnce(&mut Tags)) -> Answer {
    let secret = named(c).await?;
    let mut all = tags::of(&secret.metadata);
    edit(&mut all);
    tags::check_count(&all)?;
    secrets(c).merge(&secret.metadata.name, &tags::patch(&secret.metadata, all)).await?;
    Ok(Xml::new())
}

async fn tag(c: &Context) -> Answer {
    let new = tags::named(&c.params, "Tags.member")?;
    change(c, |tags| tags.extend(new)).await
}

async fn untag(c: &Context) -> Answer {
    let keys = c.params.list("TagKeys.member");
    change(c, |tags| tags.retain(|key, _| !keys.contains(key))).await
}

async fn list_tags(c: &Context) -> Answer {
    let all = tags::of(&named(c).await?.metadata).into_iter();
    page(c, "Tags", all.map(|(k, v)| (k.clone(), (k, v))).collect(), |x, (key, value)| {
        x.text("Key", key).text("Value", value);
    })
}
