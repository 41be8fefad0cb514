//! Joining: a new host presents a one-time token and gets the certificate that says which host it is.

use client::{Request, Verb};
use identity::{Principal, Token};
use model::identity::AccessKey;
use model::topology::{Host, HostSpec};
use model::{ApiError, Name, ObjectMeta, Reason, Resource};
use serde::Deserialize;

use crate::pki::Authority;
use crate::server::Server;

/// The user that join tokens belong to; it may do nothing but join.
pub const JOIN_USER: &str = "corten-join";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    token: String,
    name: String,
}

/// Uses up the token, registers the host and answers its certificate and the authority's.
pub(crate) async fn join(server: &Server, authority: &Authority, body: &[u8]) -> Result<String, ApiError> {
    let wish: Wish = serde_json::from_slice(body)
        .map_err(|e| ApiError::bad_request(format!("this is not a valid join: {e}")))?;
    let name = Name::new(&wish.name).map_err(|e| ApiError::bad_request(format!("name: {e}")))?;
    let caller = server.inner.access.authenticate(&wish.token)?;
    if caller.user != JOIN_USER {
        return Err(ApiError::new(
            Reason::Forbidden,
            "this is not a join token; `corten host token` makes one",
        ));
    }
    let identity = authority
        .client_identity(&format!("host:{name}"), &[identity::HOSTS])
        .map_err(|e| ApiError::internal(e.to_string()))?;
    use_up(server, &wish.token).await?;
    let joiner = server.client(Principal::component("join"));
    let host = Host::new(
        ObjectMeta::named(name.as_str()),
        HostSpec { zone: "default".into(), ..HostSpec::default() },
    );
    match joiner.all::<Host>().create(&host).await {
        Err(e) if e.reason != Reason::AlreadyExists => return Err(e),
        _ => {}
    }
    let answer = serde_json::json!({
        "certificate": identity.certificate, "key": identity.key, "ca": authority.servers.certificate,
    });
    Ok(answer.to_string())
}

/// Deletes the token's key; whoever deletes it first has used it.
async fn use_up(server: &Server, token: &str) -> Result<(), ApiError> {
    let digest = Token::presented(token).digest().to_hex();
    let caller = Principal::component("join");
    let keys = server.client(caller.clone()).all::<AccessKey>();
    let all = keys.list(&client::ListParams::default()).await?;
    let used = || {
        ApiError::new(
            Reason::Unauthorized,
            "the join token has been used; `corten host token` makes a new one",
        )
    };
    let key = all.items.into_iter().find(|key| key.spec.token_sha256 == digest).ok_or_else(used)?;
    let entry = model::kind_by_resource(AccessKey::KIND.group, AccessKey::KIND.plural)
        .ok_or_else(|| ApiError::internal("access keys are a kind"))?;
    let mut delete = Request::new(Verb::Delete, entry, None, &key.metadata.name);
    delete.delete.uid = Some(key.metadata.uid.clone());
    server.call(&caller, delete).await.map(drop).map_err(|e| if e.is_not_found() { used() } else { e })
}
