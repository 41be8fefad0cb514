//! `corten net top`: what ports have carried, from the server's metrics.

use std::collections::BTreeMap;

use http_body_util::{BodyExt, Limited};

use crate::cli::api::Cloud;
use crate::cli::output;
use crate::cli::table::Table;
use crate::failure::Failure;

/// Most bytes of metrics that are read.
const METRICS_MAX_BYTES: usize = 256 << 20;
const PREFIX: &str = "corten_port_";

/// Show what the project's ports have carried, the busiest first
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// Values of one port by the name of the series.
type Ports = BTreeMap<Labels, BTreeMap<String, u64>>;

#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Labels {
    project: String,
    port: String,
    instance: String,
    host: String,
}

pub(super) async fn run(cloud: Cloud) -> Result<(), Failure> {
    let body = Limited::new(cloud.get("/metrics", "text/plain").await?.into_body(), METRICS_MAX_BYTES);
    let text = body.collect().await.map_err(|e| Failure::failed(format!("the metrics broke off: {e}")))?;
    let mut ports = read(&String::from_utf8_lossy(&text.to_bytes()));
    ports.retain(|labels, _| labels.project == cloud.project());
    output::print(&render(&ports))
}

/// Lines such as `corten_port_sent_bytes_total{project="p",...} 42`; others are passed over.
fn read(text: &str) -> Ports {
    let mut ports = Ports::new();
    for line in text.lines() {
        let Some((name, labels, value)) = series(line) else { continue };
        *ports.entry(labels).or_default().entry(name.to_owned()).or_default() += value;
    }
    ports
}

fn series(line: &str) -> Option<(&str, Labels, u64)> {
    let (name, rest) = line.strip_prefix(PREFIX)?.split_once('{')?;
    let (pairs, value) = rest.split_once("} ")?;
    let mut labels = Labels::default();
    for pair in pairs.split(',') {
        let (key, text) = pair.split_once('=')?;
        let text = text.trim_matches('"').to_owned();
        match key {
            "project" => labels.project = text,
            "port" => labels.port = text,
            "instance" => labels.instance = text,
            "host" => labels.host = text,
            _ => {}
        }
    }
    Some((name.strip_suffix("_total")?, labels, value.trim().parse().ok()?))
}

fn render(ports: &Ports) -> String {
    let value = |of: &BTreeMap<String, u64>, name: &str| of.get(name).copied().unwrap_or_default();
    let busy = |of: &BTreeMap<String, u64>| value(of, "received_bytes") + value(of, "sent_bytes");
    let mut sorted: Vec<_> = ports.iter().collect();
    sorted.sort_by_key(|(labels, of)| (std::cmp::Reverse(busy(of)), *labels));
    let mut table = Table::with(&[
        "PORT", "INSTANCE", "HOST", "RECEIVED", "PACKETS", "SENT", "PACKETS", "DROPPED", "SPOOFED",
    ]);
    for (labels, of) in sorted {
        table.row([
            output::harmless(&labels.port),
            output::harmless(&labels.instance),
            output::harmless(&labels.host),
            size(value(of, "received_bytes")),
            value(of, "received_packets").to_string(),
            size(value(of, "sent_bytes")),
            value(of, "sent_packets").to_string(),
            value(of, "dropped_packets").to_string(),
            value(of, "spoofed_packets").to_string(),
        ]);
    }
    table.render()
}

/// Bytes in the largest unit that leaves two digits.
fn size(bytes: u64) -> String {
    let units = [("Gi", 30), ("Mi", 20), ("Ki", 10)];
    let unit = units.into_iter().find(|(_, shift)| bytes >> shift >= 10);
    unit.map_or_else(|| bytes.to_string(), |(name, shift)| format!("{}{name}", bytes >> shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_become_a_table() {
        let labels =
            |port: &str| format!("{{project=\"p\",vpc=\"v\",port=\"{port}\",instance=\"i\",host=\"h\"}}");
        let text = format!(
            "# HELP x y\nother{{a=\"b\"}} 1\ncorten_port_sent_bytes_total{} 20480\n\
             corten_port_dropped_packets_total{} 3\ncorten_port_spoofed_packets_total{} 4\n\
             corten_port_sent_bytes_total{} 30720\n",
            labels("a"),
            labels("a"),
            labels("a"),
            labels("b")
        );
        let shown = render(&read(&text));
        let rows: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[1], ["b", "i", "h", "0", "0", "30Ki", "0", "0", "0"]);
        assert_eq!(rows[2], ["a", "i", "h", "0", "0", "20Ki", "0", "3", "4"]);
    }

    #[test]
    fn sizes() {
        for (bytes, expected) in
            [(0, "0"), (10_239, "10239"), (10_240, "10Ki"), (10 << 20, "10Mi"), (10 << 30, "10Gi")]
        {
            assert_eq!(size(bytes), expected);
        }
    }
}
