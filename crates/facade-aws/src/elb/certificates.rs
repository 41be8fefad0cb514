//! Certificates of listeners. A certificate is a Secret with certificate and key, which IAM calls a server certificate.

use model::secret::{Secret, TLS};

use super::{listeners, named_listener, page};
use crate::actions::{Action, Answer};
use crate::context::Context;
use crate::failure::Failure;
use crate::iam::server_certificates;
use crate::xml::Xml;

pub(crate) const ACTIONS: &[Action] = &[
    Action::elb("AddListenerCertificates", &["ListenerArn", "Certificates"], |c| Box::pin(add(c)))
        .noting("Server certificates of IAM; every Secret of type kubernetes.io/tls is one."),
    Action::elb("RemoveListenerCertificates", &["ListenerArn", "Certificates"], |c| Box::pin(remove(c))),
    Action::elb("DescribeListenerCertificates", &["ListenerArn", "Marker", "PageSize"], |c| {
        Box::pin(describe(c))
    }),
];

/// The ARN of the certificate in a secret.
pub(super) fn arn(c: &Context, secret: &str) -> String {
    server_certificates::arn(c, secret)
}

/// The secret behind the ARN of a certificate.
pub(super) async fn find(c: &Context, arn: &str) -> Result<String, Failure> {
    let secrets = c.client.project::<Secret>(c.project()).list(&client::ListParams::default()).await?.items;
    let is_it = |secret: &&Secret| {
        secret.secret_type == TLS && server_certificates::arn(c, &secret.metadata.name) == arn
    };
    let found = secrets.iter().find(is_it).map(|secret| secret.metadata.name.clone());
    found.ok_or_else(|| {
        let arn: String = arn.chars().take(160).collect();
        Failure::new("CertificateNotFound", format!("Certificate ARN '{arn}' is not valid"))
    })
}

async fn given(c: &Context) -> Result<Vec<(String, String)>, Failure> {
    let mut found = Vec::new();
    for certificate in c.params.structs("Certificates.member") {
        let arn = certificate.require("CertificateArn")?;
        found.push((arn.to_owned(), find(c, arn).await?));
    }
    if found.is_empty() { Err(Failure::missing("Certificates")) } else { Ok(found) }
}

async fn add(c: &Context) -> Answer {
    let (balancer, _) = named_listener(c).await?;
    let given = given(c).await?;
    listeners::change(c, &balancer, c.params.require("ListenerArn")?, |balancer, at| {
        let listener = &mut balancer.spec.listeners[at];
        if !listener.protocol.is_encrypted() {
            return Err(super::action::not_here("Certificates are for HTTPS and TLS listeners"));
        }
        for (_, secret) in &given {
            if listener.tls != *secret && !listener.more_tls.contains(secret) {
                listener.more_tls.push(secret.clone());
            }
        }
        Ok(())
    })
    .await?;
    let mut x = Xml::new();
    x.members("Certificates", &given, |x, (arn, _)| {
        x.text("CertificateArn", arn).text("IsDefault", false);
    });
    Ok(x)
}

async fn remove(c: &Context) -> Answer {
    let (balancer, _) = named_listener(c).await?;
    let given = given(c).await?;
    listeners::change(c, &balancer, c.params.require("ListenerArn")?, |balancer, at| {
        let listener = &mut balancer.spec.listeners[at];
        if given.iter().any(|(_, secret)| listener.tls == *secret) {
            let message = "The default certificate cannot be removed; ModifyListener replaces it";
            return Err(Failure::new("OperationNotPermitted", message));
        }
        listener.more_tls.retain(|known| !given.iter().any(|(_, secret)| secret == known));
        Ok(())
    })
    .await?;
    Ok(Xml::new())
}

async fn describe(c: &Context) -> Answer {
    let (balancer, at) = named_listener(c).await?;
    let listener = &balancer.spec.listeners[at];
    let own = Some(&listener.tls).filter(|secret| !secret.is_empty());
    let all = own.into_iter().chain(&listener.more_tls).enumerate();
    let items = all.map(|(i, secret)| (format!("{i:04}"), (arn(c, secret), i == 0))).collect();
    let (items, next) = page(c, items)?;
    let mut x = Xml::new();
    x.members("Certificates", &items, |x, (arn, is_default)| {
        x.text("CertificateArn", arn).text("IsDefault", is_default);
    })
    .given("NextMarker", next.unwrap_or_default());
    Ok(x)
}
