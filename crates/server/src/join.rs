//! Joining: a new host presents a one-time token and gets the certificate that says which host it is.

use std::net::IpAddr;

use client::{Request, Verb};
use identity::{Principal, Token};
use model::identity::AccessKey;
use model::topology::{Host, HostSpec};
use model::{ApiError, Name, ObjectMeta, Reason, Resource};
use serde::{Deserialize, Serialize};

use crate::pki::{Authority, Identity};
use crate::server::Server;

/// The user that join tokens belong to; it may do nothing but join.
pub const JOIN_USER: &str = "corten-join";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    token: String,
    name: String,
    /// Where the host's agent will listen.
    address: IpAddr,
}

/// What a new host gets: who it is, how it proves that, and whom it may believe.
#[derive(Debug, Serialize, Deserialize)]
pub struct Membership {
    pub name: String,
    /// Shown when the host calls the server.
    pub client: Identity,
    /// Shown when the server calls the host.
    pub server: Identity,
    pub servers_ca: String,
    pub clients_ca: String,
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
    let listening = authority
        .server_identity(&[wish.address], &[name.to_string()])
        .map_err(|e| ApiError::internal(e.to_string()))?;
    let joiner = server.client(Principal::component("join"));
    let hosts = joiner.all::<Host>();
    if hosts.find(name.as_str()).await?.is_some_and(|host| host.is_ready()) {
        let message =
            format!("host {name:?} is part of this cloud already and alive: join under another name");
        return Err(ApiError::new(Reason::AlreadyExists, message));
    }
    use_up(server, &wish.token).await?;
    let host = Host::new(
        ObjectMeta::named(name.as_str()),
        HostSpec { zone: "default".into(), ..HostSpec::default() },
    );
    match hosts.create(&host).await {
        Err(e) if e.reason != Reason::AlreadyExists => return Err(e),
        _ => {}
    }
    let membership = Membership {
        name: name.to_string(),
        client: identity,
        server: listening,
        servers_ca: authority.servers.certificate.clone(),
        clients_ca: authority.clients.certificate.clone(),
    };
    serde_json::to_string(&membership).map_err(|e| ApiError::internal(e.to_string()))
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
