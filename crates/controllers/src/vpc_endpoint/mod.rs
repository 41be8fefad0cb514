//! Vpc endpoints: their ports are made with them; those of subnets that they have left go, and the others' groups follow
//! the endpoint's. What leads by them is the hosts' affair.

use std::sync::Arc;

use client::{DeleteOptions, ListParams};
use model::ApiError;
use model::network::{Port, VpcEndpoint};
use reconcile::{Cache, Change, Outcome, Queue};

use crate::Context;

struct Endpoints {
    context: Context,
    endpoints: Cache<VpcEndpoint>,
    ports: Cache<Port>,
}

pub(crate) async fn run(context: Context) {
    let queue = Queue::new();
    let endpoints = {
        let queue = queue.clone();
        let listener = move |change: &Change<VpcEndpoint>| queue.add(change.object().metadata.key());
        Cache::start(context.client.all::<VpcEndpoint>(), ListParams::default(), vec![Box::new(listener)])
    };
    let ports = {
        let queue = queue.clone();
        let listener = move |change: &Change<Port>| {
            let port = change.object();
            if !port.spec.vpc_endpoint.is_empty() {
                queue.add(format!("{}/{}", port.metadata.namespace, port.spec.vpc_endpoint));
            }
        };
        Cache::start(context.client.all::<Port>(), ListParams::default(), vec![Box::new(listener)])
    };
    tokio::join!(endpoints.synced(), ports.synced());
    let controller = Endpoints { context, endpoints, ports };
    reconcile::run("vpc-endpoint", queue, 4, |key| controller.reconcile(key)).await;
}

/// What is to become of a port.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Stays,
    Goes,
    Changes,
}

fn fate(endpoint: &VpcEndpoint, port: &Port) -> Fate {
    let groups = &endpoint.spec.security_groups;
    if port.metadata.is_deleting() {
        Fate::Stays
    } else if !endpoint.spec.subnets.contains(&port.spec.subnet) {
        Fate::Goes
    } else if port.spec.security_groups != *groups && !groups.is_empty() {
        Fate::Changes
    } else {
        Fate::Stays
    }
}

impl Endpoints {
    async fn reconcile(&self, key: String) -> Result<Outcome, ApiError> {
        // Of one that is gone the ports go with their owner.
        let Some(endpoint) = self.endpoints.get(&key).filter(|e| !e.metadata.is_deleting()) else {
            return Ok(Outcome::Done);
        };
        let (project, name) = (&endpoint.metadata.namespace, &endpoint.metadata.name);
        let own: Vec<Arc<Port>> =
            self.ports.filter(|port| port.metadata.namespace == *project && port.spec.vpc_endpoint == *name);
        let api = self.context.client.project::<Port>(project);
        for port in own {
            let done = match fate(&endpoint, &port) {
                Fate::Stays => continue,
                Fate::Goes => {
                    let uid = Some(port.metadata.uid.clone());
                    let options = DeleteOptions { uid, ..DeleteOptions::default() };
                    api.delete(&port.metadata.name, &options).await.map(drop)
                }
                Fate::Changes => {
                    let mut port = (*port).clone();
                    port.spec.security_groups.clone_from(&endpoint.spec.security_groups);
                    api.update(&port).await.map(drop)
                }
            };
            match done {
                Err(e) if e.is_not_found() => {}
                result => result?,
            }
        }
        Ok(Outcome::Done)
    }
}

#[cfg(test)]
mod tests {
    use model::network::{EndpointType, PortSpec, VpcEndpointSpec};
    use model::{Object, ObjectMeta};

    use super::*;

    #[test]
    fn ports_follow_their_endpoint() {
        let list = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let spec = VpcEndpointSpec {
            endpoint_type: EndpointType::Interface,
            subnets: list(&["a"]),
            security_groups: list(&["web"]),
            ..VpcEndpointSpec::default()
        };
        let endpoint: VpcEndpoint = Object::new(ObjectMeta::in_project("p", "e"), spec);
        let port = |subnet: &str, groups: &[&str]| -> Port {
            let spec =
                PortSpec { subnet: subnet.into(), security_groups: list(groups), ..PortSpec::default() };
            Object::new(ObjectMeta::in_project("p", "x"), spec)
        };
        assert_eq!(fate(&endpoint, &port("a", &["web"])), Fate::Stays);
        assert_eq!(fate(&endpoint, &port("b", &["web"])), Fate::Goes);
        assert_eq!(fate(&endpoint, &port("a", &["db"])), Fate::Changes);
        let mut leaving = port("b", &["web"]);
        leaving.metadata.deletion_timestamp = Some(model::Timestamp(1));
        assert_eq!(fate(&endpoint, &leaving), Fate::Stays);
    }
}
