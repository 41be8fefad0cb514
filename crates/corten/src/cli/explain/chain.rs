//! Why one object is as it is: phase, conditions, the objects it depends on, what happened, and what comes next.

use model::compute::{Image, Instance, Power};
use model::topology::Host;
use model::{Condition, ConditionStatus, ObjectMeta, Resource, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use crate::cli::api::{Cloud, typed};
use crate::cli::kind::Target;
use crate::cli::output::{self, harmless, indented};
use crate::cli::progress::transferred;
use crate::cli::table::Table;
use crate::cli::{clock, events, image, show};
use crate::failure::Failure;

pub(super) async fn explain(cloud: &Cloud, target: Target<'_>) -> Result<(), Failure> {
    let object = cloud.object(target).await.map_err(|failure| target.or_hint(failure))?;
    let now = clock::now();
    let common = Common::deserialize(&object)
        .map_err(|e| Failure::failed(format!("the server's answer cannot be read: {e}")))?;
    let mut facts = common.facts(now);
    if target.kind.info == Instance::KIND {
        facts.extend(instance_facts(cloud, &typed(&object)?, now).await?);
    } else if target.kind.info == Image::KIND {
        facts.extend(image_facts(&typed(&object)?));
    } else if target.kind.info == Host::KIND {
        facts.extend(host_facts(&typed(&object)?, now));
    }
    facts.extend(common.next(now));
    let events = show::of(cloud, target).await?;

    let mut text = format!("{}\n", target.full_name());
    text += &section(None, &facts_table(&facts));
    text += &section(Some("conditions"), &conditions_table(&common.status.conditions, now));
    text += &section(Some("events, oldest first"), &events::lines(&events, now));
    output::print(&text)
}

/// A label and what is to be said about it.
type Fact = (&'static str, String);

/// What every kind may have.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Common {
    metadata: ObjectMeta,
    status: CommonStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CommonStatus {
    phase: Value,
    observed_generation: Option<u64>,
    conditions: Vec<Condition>,
}

impl Common {
    fn facts(&self, now: Timestamp) -> Vec<Fact> {
        let mut facts = Vec::new();
        if let Some(phase) = self.status.phase.as_str() {
            // A phase follows from the conditions: it has been so since the last of them changed.
            let changed = self.status.conditions.iter().filter_map(|c| c.last_transition_time).max();
            let since = changed.map_or_else(String::new, |t| format!(", for {}", t.age(now)));
            facts.push(("phase", format!("{phase}{since}")));
        }
        if let Some(created) = self.metadata.creation_timestamp {
            facts.push(("made", format!("{} ago, at {created}", created.age(now))));
        }
        if let Some(owner) = self.metadata.controller() {
            facts.push(("owner", format!("{}/{}", owner.kind.to_lowercase(), owner.name)));
        }
        if self.status.observed_generation.is_some_and(|seen| seen < self.metadata.generation) {
            facts.push(("behind", "the newest change of the spec has not been acted on yet".into()));
        }
        facts
    }

    /// Who or what the object waits for, and until when.
    fn next(&self, now: Timestamp) -> Vec<Fact> {
        let Some(deleted) = self.metadata.deletion_timestamp else { return Vec::new() };
        let mut facts = vec![("deleting", format!("for {}", deleted.age(now)))];
        if !self.metadata.finalizers.is_empty() {
            facts.push(("waits for", self.metadata.finalizers.join(", ")));
        }
        if let Some(grace) = self.metadata.deletion_grace_period_seconds.filter(|grace| *grace > 0) {
            let end = Timestamp(deleted.0.saturating_add(grace.saturating_mul(1000)));
            facts.push(("deadline", deadline("is killed", end, now)));
        }
        facts
    }
}

fn deadline(what: &str, at: Timestamp, now: Timestamp) -> String {
    let left = at.0.saturating_sub(now.0);
    if left > 0 {
        format!("{what} in {} s, at {at}", left / 1000)
    } else {
        format!("{what} now: {at} has passed")
    }
}

async fn instance_facts(cloud: &Cloud, instance: &Instance, now: Timestamp) -> Result<Vec<Fact>, Failure> {
    let (spec, status) = (&instance.spec, &instance.status);
    let mut facts = vec![("wanted", wanted(spec.power).to_owned()), ("cell", spec.cell().to_string())];
    if let Some(started) = status.started_at {
        facts.push(("started", format!("{} ago, at {started}", started.age(now))));
    }
    if let Some(code) = status.exit_code {
        facts.push(("exit code", code.to_string()));
    }
    if status.restarts > 0 {
        facts.push(("restarts", status.restarts.to_string()));
    }
    facts.push(("asks for", format!("{}{}", spec.resources, type_note(&spec.instance_type))));
    facts.push(("host", host(cloud, &status.host).await?));
    if let Some(why) = reason(&status.conditions, "Scheduled") {
        facts.push(("because", why));
    }
    if !status.driver.is_empty() {
        facts.push(("driver", status.driver.clone()));
    }
    for name in spec.payload.images() {
        facts.push(("image", image(cloud, name).await?));
    }
    if !status.addresses.is_empty() {
        facts.push(("addresses", status.addresses.join(", ")));
    }
    for container in &status.containers {
        let state = match (container.running, container.exit_code) {
            (true, _) => "running".to_owned(),
            (false, Some(code)) => format!("ended with exit code {code}"),
            (false, None) => "not running".to_owned(),
        };
        facts.push(("container", format!("{}: {state}", container.name)));
    }
    Ok(facts)
}

fn wanted(power: Power) -> &'static str {
    match power {
        Power::Running => "running",
        Power::Stopped => "stopped",
        Power::Paused => "paused",
    }
}

fn type_note(instance_type: &str) -> String {
    if instance_type.is_empty() { String::new() } else { format!(" (type {instance_type})") }
}

async fn host(cloud: &Cloud, name: &str) -> Result<String, Failure> {
    if name.is_empty() {
        return Ok("none yet".into());
    }
    match cloud.client.all::<Host>().find(name).await {
        Ok(Some(host)) => Ok(format!("{name}, {}", host_word(&host))),
        Ok(None) => Ok(format!("{name}, which is not there any more")),
        // Tenants see where their instances run, and nothing of the host.
        Err(e) if e.reason == model::Reason::Forbidden => Ok(name.to_owned()),
        Err(e) => Err(e.into()),
    }
}

fn host_word(host: &Host) -> &'static str {
    match (host.is_ready(), host.spec.cordoned) {
        (true, false) => "ready",
        (true, true) => "ready, cordoned",
        (false, _) => "not heard of",
    }
}

async fn image(cloud: &Cloud, name: &str) -> Result<String, Failure> {
    Ok(match image::find(cloud, name).await? {
        Some(image) => format!("{name}, {}", image_word(&image)),
        None => format!("{name}, which is not there any more"),
    })
}

fn image_word(image: &Image) -> String {
    let phase = image.status.phase.as_str().to_lowercase();
    if image.status.received.is_zero() {
        return phase;
    }
    format!("{phase}: {} received", transferred(image.status.received.0, 0))
}

fn image_facts(image: &Image) -> Vec<Fact> {
    let mut facts = vec![("format", image.spec.format.as_str().to_owned())];
    if !image.spec.source.url.is_empty() {
        facts.push(("source", image.spec.source.url.clone()));
    }
    if !image.status.received.is_zero() {
        facts.push(("received", transferred(image.status.received.0, 0)));
    }
    for artifact in &image.status.artifacts {
        facts.push((
            "file",
            format!("{}, {} bytes, sha256 {}", artifact.role.as_str(), artifact.size.0, artifact.sha256),
        ));
    }
    facts
}

fn host_facts(host: &Host, now: Timestamp) -> Vec<Fact> {
    let mut facts = vec![("state", host_word(host).to_owned()), ("has", host.status.capacity.to_string())];
    if let Some(seen) = host.status.last_seen {
        facts.push(("last seen", format!("{} ago", seen.age(now))));
    }
    for driver in &host.status.drivers {
        let state = if driver.unavailable.is_empty() {
            let cells: Vec<String> = driver.cells.iter().map(ToString::to_string).collect();
            let by = if driver.accelerator.is_empty() {
                String::new()
            } else {
                format!(" with {}", driver.accelerator)
            };
            format!("{}{by}: {}", driver.name, cells.join(" "))
        } else {
            format!("{} cannot be used: {}", driver.name, driver.unavailable)
        };
        facts.push(("driver", state));
    }
    facts
}

fn reason(conditions: &[Condition], kind: &str) -> Option<String> {
    let condition = conditions.iter().find(|c| c.kind == kind)?;
    Some(condition.message.clone()).filter(|message| !message.is_empty())
}

fn facts_table(facts: &[Fact]) -> Table {
    let mut table = Table::default();
    for (label, text) in facts {
        table.row([(*label).to_owned(), harmless(text)]);
    }
    table
}

fn conditions_table(conditions: &[Condition], now: Timestamp) -> Table {
    let mut table = Table::default();
    for c in conditions {
        let status = match c.status {
            ConditionStatus::True => "true",
            ConditionStatus::False => "false",
            ConditionStatus::Unknown => "unknown",
        };
        let age = c.last_transition_time.map_or_else(String::new, |t| t.age(now));
        table.row([c.kind.clone(), status.into(), age, harmless(&c.reason), harmless(&c.message)]);
    }
    table
}

fn section(title: Option<&str>, table: &Table) -> String {
    if table.rows.is_empty() {
        return String::new();
    }
    let title = title.map_or_else(String::new, |title| format!("\n{title}\n"));
    title + &indented(&table.render(), "  ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: Timestamp = Timestamp(100_000);

    fn common(object: Value) -> Common {
        Common::deserialize(&object).unwrap()
    }

    #[test]
    fn says_how_long_it_is_so_and_what_is_behind() {
        let object = common(json!({
            "metadata": { "name": "web", "generation": 3 },
            "status": { "phase": "Starting", "observedGeneration": 2, "conditions": [
                { "type": "Scheduled", "status": "True", "lastTransitionTime": "1970-01-01T00:00:10Z" },
                { "type": "Ready", "status": "False", "lastTransitionTime": "1970-01-01T00:01:10Z" },
            ] },
        }));
        let facts = object.facts(NOW);
        assert_eq!(facts[0], ("phase", "Starting, for 30s".into()));
        assert_eq!(facts[1].0, "behind");
        assert_eq!(object.next(NOW), []);
    }

    #[test]
    fn says_who_a_deletion_waits_for_and_until_when() {
        let object = common(json!({ "metadata": {
            "name": "web", "finalizers": ["corten.dev/agent"],
            "deletionTimestamp": "1970-01-01T00:01:20Z", "deletionGracePeriodSeconds": 30,
        } }));
        assert_eq!(
            object.next(NOW),
            [
                ("deleting", "for 20s".to_owned()),
                ("waits for", "corten.dev/agent".to_owned()),
                ("deadline", "is killed in 10 s, at 1970-01-01T00:01:50Z".to_owned()),
            ]
        );
    }

    #[test]
    fn conditions_carry_their_reason_and_message() {
        let mut condition =
            Condition::new("Ready", ConditionStatus::False, "ImagePull", "12 MiB to come\u{7}");
        condition.last_transition_time = Some(Timestamp(95_000));
        let text = section(Some("conditions"), &conditions_table(&[condition], NOW));
        assert_eq!(text, "\nconditions\n  Ready   false   5s   ImagePull   12 MiB to come\u{fffd}\n");
        assert_eq!(section(Some("events"), &Table::default()), "");
    }
}
