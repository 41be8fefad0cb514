//! What is asked of this host's networks from outside: what differs, what ports have carried, a way to a guest's port.

use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use client::networks::{Difference, NetworkCheck, PortCount};
use driver::{Drift, VpcPlan};
use model::Uid;
use model::compute::port_names;
use model::network::{Port, Vpc};
use sys::namespace::within_network;
use tokio::net::TcpStream;

use super::plan::{View, addresses, names};
use super::{NetworkError, Networks};
use crate::blocking::blocking;

/// How long a guest may take to answer a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Why a question about networks has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("this host makes no networks")]
    Off,
    #[error("the instance has no port on this host; `corten get ports` lists them")]
    NoPort,
    #[error("nothing listens at port {0} of the instance")]
    Closed(u16),
    #[error("port {0} of the instance does not answer")]
    Silent(u16),
    /// A message of the part that failed.
    #[error("{0}")]
    Failed(String),
}

impl From<NetworkError> for AskError {
    fn from(e: NetworkError) -> Self {
        Self::Failed(e.to_string())
    }
}

impl Networks {
    /// What differs from the plan of a VPC; with `repair` it is programmed again after the look.
    pub(crate) async fn check(&self, vpc: &Uid, repair: bool) -> Result<NetworkCheck, AskError> {
        self.synced().await;
        let found = self.inner.objects.vpcs.filter(|known| known.metadata.uid == *vpc).pop();
        let found = found.ok_or_else(|| AskError::Failed("this host does not know of the vpc yet".into()))?;
        let _turns = self.turns(&found.metadata.namespace).await;
        let view = self.view(&found.metadata.namespace);
        let known = self.inner.driver.list().await.map_err(NetworkError::from)?;
        let host = self.inner.host.clone();
        let mut answer = NetworkCheck { host, ports: 0, differences: Vec::new(), repaired: false };
        for plan in view.plans(&found) {
            let drifts = match (plan.is_empty(), known.contains(&plan.uid)) {
                (true, false) => Vec::new(),
                (true, true) => vec![left_over()],
                (false, _) => self.inner.driver.check(&plan).await.map_err(NetworkError::from)?,
            };
            answer.ports += plan.ports.len();
            let repaired = repair && !drifts.is_empty();
            answer.repaired |= repaired;
            answer.differences.extend(drifts.into_iter().map(|drift| told(drift, &view, &plan)));
            if repaired {
                self.program(&view, &found, plan).await?;
            }
        }
        Ok(answer)
    }

    async fn program(&self, view: &View, vpc: &Vpc, plan: VpcPlan) -> Result<(), NetworkError> {
        if plan.is_empty() {
            return self.remove(&plan.uid).await;
        }
        self.ensure(view, vpc, plan).await.map(drop)
    }

    /// Counters of every port on this host.
    pub(crate) async fn counters(&self) -> Result<Vec<PortCount>, AskError> {
        self.synced().await;
        let objects = &self.inner.objects;
        let ports = objects.ports.all();
        let ports = names(&ports);
        let mut all = Vec::new();
        for network in self.inner.driver.list().await.map_err(NetworkError::from)? {
            let counted = self.inner.driver.counters(&network).await.map_err(NetworkError::from)?;
            let count = |(uid, counts): (Uid, driver::PortCounters)| {
                let port = ports.get(&uid)?;
                let project = &port.metadata.namespace;
                let subnet = objects.subnets.get(&format!("{project}/{}", port.spec.subnet))?;
                Some(PortCount {
                    project: project.clone(),
                    vpc: subnet.spec.vpc.clone(),
                    port: port.metadata.name.clone(),
                    instance: port.spec.instance.clone(),
                    uid,
                    received_bytes: counts.received_bytes,
                    received_packets: counts.received_packets,
                    sent_bytes: counts.sent_bytes,
                    sent_packets: counts.sent_packets,
                    dropped_packets: counts.dropped_packets,
                    spoofed_packets: counts.spoofed_packets,
                })
            };
            all.extend(counted.into_iter().filter_map(count));
        }
        Ok(all)
    }

    /// Connects to a TCP port of an instance from inside of its network. Groups are not asked: whoever may use the
    /// instance may reach it.
    pub(crate) async fn connect(&self, instance: &Uid, port: u16) -> Result<TcpStream, AskError> {
        self.synced().await;
        let (namespace, addresses) = self.place(instance).ok_or(AskError::NoPort)?;
        let mut answer = AskError::NoPort;
        // A service may be there by one family only; the guest's first address is the likelier.
        for address in addresses {
            match connect(namespace.clone(), SocketAddr::new(address, port)).await {
                Ok(stream) => return Ok(stream),
                Err(e) if matches!(answer, AskError::NoPort) => answer = why(&e, port),
                Err(_) => {}
            }
        }
        Err(answer)
    }

    /// The network of an instance's first card, and the card's addresses there.
    fn place(&self, instance: &Uid) -> Option<(PathBuf, Vec<IpAddr>)> {
        let inner = &self.inner;
        let instance = inner.instances.filter(|known| known.metadata.uid == *instance).pop()?;
        inner.homes.user_id(&instance.metadata.uid)?;
        let project = &instance.metadata.namespace;
        let port: Arc<Port> =
            inner.objects.ports.get(&format!("{project}/{}", port_names(&instance).first()?))?;
        let subnet = inner.objects.subnets.get(&format!("{project}/{}", port.spec.subnet))?;
        let vpc = inner.objects.vpcs.get(&format!("{project}/{}", subnet.spec.vpc))?;
        Some((inner.driver.namespace(&vpc.metadata.uid)?, addresses(&port)))
    }
}

fn why(e: &std::io::Error, port: u16) -> AskError {
    match e.kind() {
        std::io::ErrorKind::ConnectionRefused => AskError::Closed(port),
        std::io::ErrorKind::TimedOut | std::io::ErrorKind::HostUnreachable => AskError::Silent(port),
        _ => AskError::Failed(format!("no way to port {port} of the instance: {e}")),
    }
}

fn left_over() -> Drift {
    Drift { kind: "link", what: "the network namespace, though no port is here".into(), missing: false }
}

/// Rules and sets are named by uids: people know ports and groups by name.
fn told(drift: Drift, view: &View, plan: &VpcPlan) -> Difference {
    let ports = view.ports.iter().filter(|port| plan.ports.iter().any(|p| p.uid == port.metadata.uid));
    let ports = ports.map(|port| (&port.metadata.uid, format!("port {}", port.metadata.name)));
    let groups = view.groups.iter().map(|g| (&g.metadata.uid, format!("group {}", g.metadata.name)));
    let named = ports.chain(groups).find(|(uid, _)| drift.what.contains(uid.as_str()));
    let what = match named {
        Some((_, name)) => format!("{} ({name})", drift.what),
        None => drift.what,
    };
    Difference { kind: drift.kind.to_owned(), what, missing: drift.missing }
}

/// Connects to a guest from inside of the network kept at `namespace`.
async fn connect(namespace: PathBuf, guest: SocketAddr) -> io::Result<TcpStream> {
    let connect = move || {
        let namespace = File::open(namespace)?;
        within_network(Some(&namespace), || std::net::TcpStream::connect_timeout(&guest, CONNECT_WITHIN))
    };
    let stream = blocking(connect).await.map_err(io::Error::other)??;
    stream.set_nonblocking(true)?;
    TcpStream::from_std(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::network::{PortSpec, SecurityGroupSpec};
    use model::{Object, ObjectMeta};

    #[test]
    fn differences_name_what_people_know() {
        let uid = Uid::from_random([7; 16]);
        let mut group = Object::new(ObjectMeta::in_project("p", "web"), SecurityGroupSpec::default());
        group.metadata.uid = uid.clone();
        let port = Object::new(ObjectMeta::in_project("p", "x"), PortSpec::default());
        let view = View { groups: vec![Arc::new(group)], ports: vec![Arc::new(port)], ..View::default() };
        let drift = |what: String| Drift { kind: "rule", what, missing: true };
        let found = told(drift(format!("group-in-{uid}")), &view, &VpcPlan::default());
        assert_eq!(found.what, format!("group-in-{uid} (group web)"));
        assert_eq!(told(drift("forward".into()), &view, &VpcPlan::default()).what, "forward");
    }

    #[test]
    fn a_closed_port_is_told_from_a_silent_one() {
        let error = |kind: std::io::ErrorKind| why(&kind.into(), 80).to_string();
        assert_eq!(
            error(std::io::ErrorKind::ConnectionRefused),
            "nothing listens at port 80 of the instance"
        );
        assert_eq!(error(std::io::ErrorKind::TimedOut), "port 80 of the instance does not answer");
    }
}
