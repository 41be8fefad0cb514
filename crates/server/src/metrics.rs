//! Counters of the API in the Prometheus text format (version 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

use client::Request;
use parking_lot::Mutex;

/// Upper bounds of the latency buckets, in seconds.
const BUCKETS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0];

/// Verb, resource, answer.
type Labels = (&'static str, &'static str, u16);

/// Counts calls by verb, resource and answer. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    calls: Arc<Mutex<BTreeMap<Labels, Calls>>>,
}

#[derive(Debug, Default, Clone)]
struct Calls {
    count: u64,
    seconds: f64,
    buckets: [u64; BUCKETS.len()],
}

pub(crate) struct Timer {
    metrics: Metrics,
    verb: &'static str,
    resource: &'static str,
    began: Instant,
}

impl Metrics {
    pub(crate) fn begin(&self, request: &Request) -> Timer {
        Timer {
            metrics: self.clone(),
            verb: request.verb.as_str(),
            resource: request.kind.info.plural,
            began: Instant::now(),
        }
    }

    /// All counters as text, and `gauges` (name, help, value) with them.
    pub fn render(&self, gauges: &[(&str, &str, f64)]) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        for (name, help, value) in gauges {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        }
        let name = "corten_api_request_duration_seconds";
        let _ = writeln!(out, "# HELP {name} Time from a call to its answer.\n# TYPE {name} histogram");
        for ((verb, resource, code), calls) in &*self.calls.lock() {
            let labels = format!("verb=\"{verb}\",resource=\"{resource}\",code=\"{code}\"");
            let mut below = 0;
            for (bound, count) in BUCKETS.iter().zip(calls.buckets) {
                below += count;
                let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {below}");
            }
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {}", calls.count);
            let _ = writeln!(out, "{name}_sum{{{labels}}} {}", calls.seconds);
            let _ = writeln!(out, "{name}_count{{{labels}}} {}", calls.count);
        }
        out
    }
}

impl Timer {
    pub(crate) fn end(self, code: u16) {
        let seconds = self.began.elapsed().as_secs_f64();
        let mut calls = self.metrics.calls.lock();
        let entry = calls.entry((self.verb, self.resource, code)).or_default();
        entry.count += 1;
        entry.seconds += seconds;
        if let Some(bucket) = BUCKETS.iter().position(|bound| seconds <= *bound) {
            entry.buckets[bucket] += 1;
        }
    }
}
