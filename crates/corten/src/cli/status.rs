//! `corten status`: whether the cloud answers, and what it has, on one page.

use std::collections::BTreeMap;
use std::fmt::Write;

use client::ListParams;
use model::compute::{Image, Instance};
use model::topology::Host;

use super::api::Cloud;
use super::output;
use crate::failure::Failure;

/// Say whether the cloud answers and what it has
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) async fn run(cloud: Cloud) -> Result<(), Failure> {
    let version = cloud.document("/version").await?;
    let who = cloud.document("/whoami").await?;
    let all = ListParams::default();
    let hosts = cloud.client.all::<Host>().list(&all).await?.items;
    let images = cloud.api::<Image>().list(&all).await?.items;
    let instances = cloud.api::<Instance>().list(&all).await?.items;

    let mut out = String::new();
    let mut line = |what: &str, text: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{what:<12}{text}");
    };
    line("endpoint", cloud.endpoint.clone());
    line("version", version["gitVersion"].as_str().unwrap_or("unknown").to_owned());
    line("user", who["user"].as_str().unwrap_or("unknown").to_owned());
    line("project", cloud.project().to_owned());
    line("hosts", counts(hosts.iter().map(|h| if h.is_ready() { "ready" } else { "not ready" })));
    line("images", counts(images.iter().map(|i| i.status.phase.as_str())));
    line("instances", counts(instances.iter().map(|i| i.status.phase.as_str())));
    output::print(&out)
}

/// `3 running, 1 stopped`
fn counts<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut counted = BTreeMap::<String, u32>::new();
    for word in words {
        *counted.entry(word.to_lowercase()).or_default() += 1;
    }
    if counted.is_empty() {
        return "none".into();
    }
    counted.iter().map(|(word, n)| format!("{n} {word}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_word() {
        assert_eq!(counts(["Running", "Stopped", "Running"].into_iter()), "2 running, 1 stopped");
        assert_eq!(counts([].into_iter()), "none");
    }
}
