//! Streams of hosts that joined: the server calls the host's agent, and both show certificates.

use std::pin::Pin;

use client::Client;
use client::https::{Credential, Https};
use http::Method;
use model::topology::Host;
use model::{ApiError, Reason};
use server::http::{Duplex, StreamRequest};
use server::pki::{Authority, Identity};

use crate::failure::Failure;

/// The user as which the server calls agents.
pub(crate) const SERVER_USER: &str = "corten-server";

/// The way to other hosts.
pub(crate) struct RemoteHosts {
    /// Signs hosts; an agent serves with the certificate it got when it joined.
    hosts_ca: String,
    identity: Identity,
    client: Client,
}

impl RemoteHosts {
    pub(crate) fn new(authority: &Authority, client: Client) -> Result<Self, Failure> {
        let identity =
            authority.client_identity(SERVER_USER, &[]).map_err(|e| Failure::failed(e.to_string()))?;
        Ok(Self { hosts_ca: authority.servers.certificate.clone(), identity, client })
    }

    pub(crate) async fn open(&self, host: &str, request: StreamRequest) -> Result<Pin<Box<dyn Duplex>>, ApiError> {
        let found = self.client.all::<Host>().get(host).await?;
        let endpoint = &found.status.endpoint;
        if endpoint.is_empty() {
            let message = format!("the agent of host {host:?} is not up; its guests keep running");
            return Err(ApiError::new(Reason::ServiceUnavailable, message));
        }
        let credential =
            Credential::Certificate { chain: self.identity.certificate.clone(), key: self.identity.key.clone() };
        let https = Https::new(&format!("https://{endpoint}"), &self.hosts_ca, &credential)
            .map_err(|e| ApiError::internal(e.to_string()))?;
        let wish = serde_json::to_string(&request).map_err(|e| ApiError::internal(e.to_string()))?;
        let path = format!("/streams?wish={}", client::percent_encode(&wish));
        Ok(Box::pin(https.upgrade(Method::POST, &path).await?))
    }
}
