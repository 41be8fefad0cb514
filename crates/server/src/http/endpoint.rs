//! Guests' connections to the cloud's own API, which their hosts carry here by Vpc endpoints. TLS is between the guest and
//! us: the host sees nothing of what is said. What comes by an endpoint reaches the protocols of other clouds alone, and
//! is asked anew with every request whether the endpoint is still there.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use identity::Principal;
use identity::iam::{Document, Through};
use model::network::{EndpointService, Passage, Port, RouteTableSpec, Subnet, Vpc, VpcEndpoint};
use model::{ApiError, Reason, Uid, short_id};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use super::answer;
use super::body::Body;
use super::listener::{converse, shake_hands};
use super::query::Query;
use super::route::Target;
use super::service::Face;
use crate::server::Server;

/// Connections by endpoints at once, of one Vpc and in all.
const PER_VPC_MAX: usize = 4096;
const IN_ALL_MAX: usize = 16_384;
/// Endpoints whose certificates are kept; each is quickly made.
const CERTIFICATES_MAX: usize = 1024;

/// What is known of endpoints while the server runs.
#[derive(Default)]
pub(super) struct Endpoints {
    certificates: Mutex<HashMap<Uid, Certificate>>,
    /// Connections, by the Vpc's uid.
    under_way: Arc<Mutex<HashMap<Uid, usize>>>,
}

impl std::fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoints").finish_non_exhaustive()
    }
}

/// An endpoint's certificate, and what it is for.
struct Certificate {
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    tls: TlsAcceptor,
}

/// A connection that may come in.
pub struct Admitted {
    face: Face,
    tls: TlsAcceptor,
    way: Way,
    _place: Place,
}

impl std::fmt::Debug for Admitted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admitted").field("way", &self.way).finish_non_exhaustive()
    }
}

/// One connection's place among those that may be.
#[derive(Debug)]
struct Place {
    under_way: Arc<Mutex<HashMap<Uid, usize>>>,
    vpc: Uid,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut under_way = self.under_way.lock();
        if let Some(count) = under_way.get_mut(&self.vpc) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                under_way.remove(&self.vpc);
            }
        }
    }
}

/// The way that requests of one connection come by.
#[derive(Debug)]
struct Way {
    server: Server,
    passage: Passage,
    /// As AWS's clients know the Vpc.
    vpc: String,
    policy: Mutex<(String, Option<Arc<Document>>)>,
}

impl Face {
    /// Lets a connection in that a host carries, if it may be: by an endpoint that is there, from a port of the host's in
    /// the endpoint's Vpc, and from where routes lead to it.
    pub async fn admit(&self, caller: &Principal, passage: Passage) -> Result<Admitted, ApiError> {
        let forbidden = |message: String| ApiError::new(Reason::Forbidden, message);
        let host = caller.host().ok_or_else(|| forbidden("guests' connections are for hosts".into()))?;
        let (server, project) = (&self.server, &passage.project);
        let endpoint = server.endpoint(&passage).await?.ok_or_else(|| {
            ApiError::new(Reason::NotFound, format!("there is no vpc endpoint {:?}", passage.endpoint))
        })?;
        let port = server.read::<Port>(project, &passage.port).await?;
        let port = port.filter(|port| port.spec.addresses.iter().any(|address| address.0 == passage.from));
        let port = port
            .ok_or_else(|| forbidden(format!("port {:?} has no address {}", passage.port, passage.from)))?;
        server.require_own_port(host, &port).await?;
        let subnet = server.read::<Subnet>(project, &port.spec.subnet).await?;
        let subnet = subnet.filter(|subnet| subnet.spec.vpc == endpoint.spec.vpc);
        let subnet = subnet.ok_or_else(|| forbidden(format!("port {:?} is of another vpc", passage.port)))?;
        if !endpoint.is_interface() {
            let table = server.table_of(project, &subnet).await?;
            if !table.is_some_and(|table| endpoint.spec.route_tables.contains(&table)) {
                return Err(forbidden(format!("no route of subnet {:?} leads there", port.spec.subnet)));
            }
        }
        let gone = || forbidden(format!("there is no vpc {:?}", endpoint.spec.vpc));
        let vpc = server.read::<Vpc>(project, &endpoint.spec.vpc).await?.ok_or_else(gone)?;
        let place = self.endpoints.place(&vpc.metadata.uid).ok_or_else(|| {
            let message = format!("vpc {:?} has too many connections to the cloud's API", vpc.metadata.name);
            ApiError::new(Reason::TooManyRequests, message)
        })?;
        let tls = self.certificate(&endpoint).await?;
        let way = Way {
            server: server.clone(),
            vpc: short_id("vpc", &vpc.metadata),
            policy: Mutex::new((endpoint.spec.policy.clone(), Through::read_policy(&endpoint.spec.policy))),
            passage,
        };
        Ok(Admitted { face: self.clone(), tls, way, _place: place })
    }

    /// The certificate of an endpoint: for its names, those of its service, and its addresses.
    async fn certificate(&self, endpoint: &VpcEndpoint) -> Result<TlsAcceptor, ApiError> {
        let names = certificate_names(endpoint);
        let addresses = self.server.endpoint_addresses(endpoint).await?;
        let uid = &endpoint.metadata.uid;
        if let Some(known) = self.endpoints.certificates.lock().get(uid)
            && (&known.names, &known.addresses) == (&names, &addresses)
        {
            return Ok(known.tls.clone());
        }
        let config = self.extensions.authority.endpoint_config(&addresses, &names);
        let config = config.map_err(|e| ApiError::internal(e.to_string()))?;
        let tls = TlsAcceptor::from(Arc::new(config));
        let mut certificates = self.endpoints.certificates.lock();
        if certificates.len() >= CERTIFICATES_MAX {
            certificates.clear();
        }
        certificates.insert(uid.clone(), Certificate { names, addresses, tls: tls.clone() });
        Ok(tls)
    }

    /// One request that came by an endpoint.
    async fn answer_through(&self, way: &Way, request: Request<Incoming>) -> Response<Body> {
        let through = match way.through().await {
            Ok(Some(through)) => through,
            Ok(None) => return closing("the vpc endpoint is gone"),
            Err(e) => return answer::error(&e),
        };
        let (mut head, incoming) = request.into_parts();
        head.extensions.insert(through);
        match self.extensions.foreign.iter().find(|foreign| foreign.speaks(&head)) {
            Some(foreign) => foreign.answer(head, incoming).await,
            None => closing("a vpc endpoint leads to signed requests of AWS's clients and to nothing else"),
        }
    }
}

fn closing(message: &str) -> Response<Body> {
    let mut response = answer::error(&ApiError::new(Reason::Forbidden, message));
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// With those of buckets below them.
fn certificate_names(endpoint: &VpcEndpoint) -> Vec<String> {
    let service = endpoint.spec.service;
    let names: Vec<String> = endpoint.own_name().into_iter().chain(service.names()).collect();
    let below = names.iter().filter(|_| service == EndpointService::S3).map(|name| format!("*.{name}"));
    names.iter().cloned().chain(below).collect()
}

impl Admitted {
    /// Serves the connection to its end.
    pub async fn serve(self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        let Self { face, tls, way, _place } = self;
        let Some(stream) = shake_hands(&tls, stream).await else { return };
        let way = Arc::new(way);
        let answer = move |request: Request<Incoming>| {
            let (face, way) = (face.clone(), Arc::clone(&way));
            async move { Ok::<_, Infallible>(face.answer_through(&way, request).await) }
        };
        converse(stream, answer).await;
    }
}

impl Way {
    /// What is known of the way now; `None` when it is no more.
    async fn through(&self) -> Result<Option<Arc<Through>>, ApiError> {
        let Some(endpoint) = self.server.endpoint(&self.passage).await? else { return Ok(None) };
        let policy = {
            let mut known = self.policy.lock();
            if known.0 != endpoint.spec.policy {
                *known = (endpoint.spec.policy.clone(), Through::read_policy(&endpoint.spec.policy));
            }
            known.1.clone()
        };
        Ok(Some(Arc::new(Through {
            endpoint: endpoint.id(),
            vpc: self.vpc.clone(),
            from: self.passage.from,
            service: endpoint.spec.service.as_str(),
            policy,
        })))
    }
}

impl Endpoints {
    fn place(&self, vpc: &Uid) -> Option<Place> {
        let mut under_way = self.under_way.lock();
        if under_way.values().sum::<usize>() >= IN_ALL_MAX {
            return None;
        }
        let count = under_way.entry(vpc.clone()).or_default();
        if *count >= PER_VPC_MAX {
            return None;
        }
        *count += 1;
        Some(Place { under_way: Arc::clone(&self.under_way), vpc: vpc.clone() })
    }
}

impl Server {
    /// The endpoint of a passage, while it is there.
    async fn endpoint(&self, passage: &Passage) -> Result<Option<VpcEndpoint>, ApiError> {
        let found = self.read::<VpcEndpoint>(&passage.project, &passage.endpoint).await?;
        Ok(found.filter(|found| found.metadata.uid == passage.uid && !found.metadata.is_deleting()))
    }

    /// The route table that a subnet follows.
    async fn table_of(&self, project: &str, subnet: &Subnet) -> Result<Option<String>, ApiError> {
        if !subnet.spec.route_table.is_empty() {
            return Ok(Some(subnet.spec.route_table.clone()));
        }
        self.holder(&RouteTableSpec::main_claim(project, &subnet.spec.vpc).key).await
    }

    async fn endpoint_addresses(&self, endpoint: &VpcEndpoint) -> Result<Vec<IpAddr>, ApiError> {
        if !endpoint.is_interface() {
            return Ok(endpoint.spec.service.gateway_address().into_iter().collect());
        }
        let mut addresses = Vec::new();
        for subnet in &endpoint.spec.subnets {
            let port = self.read::<Port>(&endpoint.metadata.namespace, &endpoint.port_name(subnet)).await?;
            addresses.extend(port.iter().flat_map(|port| &port.spec.addresses).map(|address| address.0));
        }
        Ok(addresses)
    }
}

/// A host that is elsewhere opens a stream for a connection.
pub(super) async fn connect(
    face: &Face,
    caller: &Principal,
    target: Target,
    query: &Query,
    request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let mut call =
        client::Request::new(client::Verb::Create, target.kind, target.project.as_deref(), &target.name);
    call.subresource = target.subresource;
    face.server.authorize(caller, &call)?;
    if !request.headers().contains_key(UPGRADE) {
        return Err(ApiError::bad_request("this needs a connection upgrade to corten-stream (HTTP/1.1)"));
    }
    let passage = Passage {
        project: target.project.unwrap_or_default(),
        endpoint: target.name,
        uid: Uid::parse(query.get("uid")).ok_or_else(|| ApiError::bad_request("uid must be a uid"))?,
        port: query.get("port").to_owned(),
        from: query.get("from").parse().map_err(|_| ApiError::bad_request("from must be an address"))?,
    };
    let admitted = face.admit(caller, passage).await?;
    tokio::spawn(async move {
        match hyper::upgrade::on(request).await {
            Ok(upgraded) => admitted.serve(TokioIo::new(upgraded)).await,
            Err(e) => tracing::debug!(error = %e, "a guest's connection was not carried"),
        }
    });
    let mut response = answer::text("");
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static("corten-stream"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back() {
        let endpoints = Endpoints::default();
        let vpc = Uid::from_random([1; 16]);
        let mut places: Vec<Place> = (0..PER_VPC_MAX).filter_map(|_| endpoints.place(&vpc)).collect();
        assert_eq!(places.len(), PER_VPC_MAX);
        assert!(endpoints.place(&vpc).is_none(), "this vpc has all it may");
        assert!(endpoints.place(&Uid::from_random([2; 16])).is_some(), "another has its own");
        places.pop();
        assert!(endpoints.place(&vpc).is_some());
        places.clear();
        assert!(endpoints.under_way.lock().is_empty(), "nothing is left of connections that are gone");
    }
}
