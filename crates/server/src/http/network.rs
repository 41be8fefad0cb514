//! What hosts say of networks: whether they have a VPC as it should be, and what ports have carried.

use std::fmt::Write;
use std::time::Duration;

use client::ListParams;
use client::networks::PortCount;
use futures::StreamExt;
use futures::stream;
use http::{Response, StatusCode};
use identity::{Attributes, Principal};
use model::network::{Port, Vpc};
use model::topology::Host;
use model::{ApiError, Resource};
use tokio::io::AsyncReadExt;

use super::answer;
use super::body::Body;
use super::service::{Face, reader_body};
use super::streams::StreamRequest;

/// Hosts that are asked at the same time.
const HOSTS_AT_ONCE: usize = 64;
/// A host that has not said its counters by then is left out this time.
const COUNTERS_WITHIN: Duration = Duration::from_secs(2);
/// Most bytes of one host's counters.
const COUNTERS_MAX_BYTES: u64 = 64 << 20;

/// A series of a port: its name, what it says, and its value.
type Series = (&'static str, &'static str, fn(&PortCount) -> u64);
const SERIES: [Series; 6] = [
    ("corten_port_received_bytes_total", "Bytes that the guest received.", |c| c.received_bytes),
    ("corten_port_received_packets_total", "Packets that the guest received.", |c| c.received_packets),
    ("corten_port_sent_bytes_total", "Bytes that the guest sent.", |c| c.sent_bytes),
    ("corten_port_sent_packets_total", "Packets that the guest sent.", |c| c.sent_packets),
    ("corten_port_dropped_packets_total", "Packets that the port's link dropped.", |c| c.dropped_packets),
    (
        "corten_port_spoofed_packets_total",
        "Packets dropped because the guest sent them in another's name (MAC, IP or ARP).",
        |c| c.spoofed_packets,
    ),
];

/// A host's word on a VPC.
pub(super) async fn check(
    face: &Face,
    vpc: &[u8],
    host: &str,
    repair: bool,
) -> Result<Response<Body>, ApiError> {
    let vpc: Vpc = serde_json::from_slice(vpc).map_err(|e| ApiError::internal(e.to_string()))?;
    model::Name::new(host).map_err(|e| ApiError::bad_request(format!("host: {e}")))?;
    let wanted = StreamRequest::NetworkCheck { vpc: vpc.metadata.uid, repair };
    let stream = face.extensions.hosts.open(host, wanted).await?;
    Ok(answer::stream(StatusCode::OK, "application/json", reader_body(stream)))
}

/// What a host has recorded of flows of a VPC, of one port or of all.
pub(super) async fn flows(
    face: &Face,
    vpc: &[u8],
    host: &str,
    port: &str,
) -> Result<Response<Body>, ApiError> {
    let vpc: Vpc = serde_json::from_slice(vpc).map_err(|e| ApiError::internal(e.to_string()))?;
    model::Name::new(host).map_err(|e| ApiError::bad_request(format!("host: {e}")))?;
    let wanted = StreamRequest::NetworkFlows { vpc: vpc.metadata.uid, port: port.to_owned(), whole: false };
    let stream = face.extensions.hosts.open(host, wanted).await?;
    Ok(answer::stream(StatusCode::OK, "text/plain; charset=utf-8", reader_body(stream)))
}

/// Counters of ports as hosts have them now, of those that the caller may read. Nothing is asked between two looks.
pub(super) async fn metrics(face: &Face, caller: &Principal) -> String {
    if face.server.inner.environment.network_plane().is_none() {
        return String::new();
    }
    let mut counts: Vec<(String, PortCount)> = counters(face).await;
    counts.retain(|(_, count)| may_read(face, caller, &count.project));
    render(&counts)
}

async fn counters(face: &Face) -> Vec<(String, PortCount)> {
    let hosts = face.server.client(Principal::component("metrics")).all::<Host>();
    let hosts = match hosts.list(&ListParams::default()).await {
        Ok(hosts) => hosts.items,
        Err(e) => {
            tracing::warn!(error = %e, "counters of ports: hosts cannot be listed");
            return Vec::new();
        }
    };
    let asked = stream::iter(hosts).map(|host| async move {
        let name = host.metadata.name;
        let said = tokio::time::timeout(COUNTERS_WITHIN, of_host(face, &name)).await;
        match said {
            Ok(Ok(counts)) => counts.into_iter().map(|count| (name.clone(), count)).collect(),
            // A host without networks, or one that is away, has nothing to say.
            Ok(Err(e)) => {
                tracing::debug!(host = name, error = %e, "no counters of ports");
                Vec::new()
            }
            Err(_) => Vec::new(),
        }
    });
    let all: Vec<Vec<_>> = asked.buffer_unordered(HOSTS_AT_ONCE).collect().await;
    all.into_iter().flatten().collect()
}

async fn of_host(face: &Face, host: &str) -> Result<Vec<PortCount>, ApiError> {
    let stream = face.extensions.hosts.open(host, StreamRequest::NetworkCounters).await?;
    let mut text = Vec::new();
    let read = stream.take(COUNTERS_MAX_BYTES).read_to_end(&mut text).await;
    read.map_err(|e| ApiError::internal(e.to_string()))?;
    serde_json::from_slice(&text).map_err(|e| ApiError::internal(e.to_string()))
}

fn may_read(face: &Face, caller: &Principal, project: &str) -> bool {
    let attributes = Attributes::new(identity::Verb::List, &Port::KIND, Some(project), None);
    face.server.inner.access.decide(caller, &attributes).is_ok()
}

fn render(counts: &[(String, PortCount)]) -> String {
    let mut out = String::new();
    if counts.is_empty() {
        return out;
    }
    let mut sorted: Vec<&(String, PortCount)> = counts.iter().collect();
    sorted.sort_by_key(|(host, count)| (&count.project, &count.port, host));
    for (name, help, value) in SERIES {
        // Writing to a String cannot fail. Names of objects need no escape.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
        for (host, count) in &sorted {
            let PortCount { project, vpc, port, instance, .. } = count;
            let _ = writeln!(
                out,
                "{name}{{project=\"{project}\",vpc=\"{vpc}\",port=\"{port}\",instance=\"{instance}\",host=\"{host}\"}} {}",
                value(count)
            );
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_series_with_labels() {
        let count = PortCount {
            project: "default".into(),
            vpc: "v".into(),
            port: "web-0".into(),
            instance: "web".into(),
            sent_bytes: 42,
            ..PortCount::default()
        };
        let text = render(&[("h1".into(), count)]);
        let labels = "project=\"default\",vpc=\"v\",port=\"web-0\",instance=\"web\",host=\"h1\"";
        assert!(text.contains(&format!("corten_port_sent_bytes_total{{{labels}}} 42\n")), "{text}");
        assert!(text.contains("# TYPE corten_port_dropped_packets_total counter\n"), "{text}");
        assert_eq!(render(&[]), "");
    }
}
