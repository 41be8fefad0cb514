//! `corten rm`: deletes objects of the API, and waits until they are gone; and what lies in buckets.

use std::time::Duration;

use client::{DeleteOptions, Verb};
use model::Resource;
use model::compute::Instance;
use serde_json::{Value, json};

use super::api::Cloud;
use super::bucket::erase;
use super::kind::Target;
use super::objects::Address;
use super::output;
use super::wait::{self, Verdict};
use crate::failure::{Exit, Failure, Failures};

const TIMEOUT: Duration = Duration::from_mins(2);

/// Delete instances, objects of any kind, or what lies in buckets
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names of instances, KIND/NAME, or s3://BUCKET/KEY
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Delete everything below the keys that are named
    #[arg(short, long)]
    recursive: bool,
    /// Wait until they are gone; the default for instances
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    wait: Option<bool>,
    /// Kill guests in place of asking them to stop
    #[arg(long)]
    force: bool,
    /// How long to wait
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = super::parse::duration)]
    timeout: Duration,
}

impl Args {
    /// What the `rm` of one kind's own command deletes.
    pub(crate) fn of(kind: &str, names: &[String]) -> Self {
        let names = names.iter().map(|name| format!("{kind}/{name}")).collect();
        Self { names, recursive: false, wait: None, force: false, timeout: TIMEOUT }
    }

    /// The same, and it returns when they are gone.
    pub(crate) fn waiting(self) -> Self {
        Self { wait: Some(true), ..self }
    }
}

/// Everything that can be deleted is; the exit code is that of the first that could not.
pub(crate) async fn run(cloud: Cloud, args: Args) -> Result<(), Failure> {
    let (keys, names): (Vec<String>, Vec<String>) =
        args.names.iter().cloned().partition(|name| Address::is_meant(name));
    let targets = Target::parse_all(&names)?;
    if args.recursive && !targets.is_empty() {
        return Err(Failure::usage("--recursive is for s3://BUCKET/KEY alone"));
    }
    if !keys.is_empty() {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        erase::named(&cloud, &keys, args.recursive).await?;
    }
    let mut failures = Failures::default();
    let mut going = Vec::new();
    for target in targets {
        match delete(&cloud, target, args.force).await {
            Ok(uid) => going.push((target, uid)),
            Err(failure) => failures.note(target.or_hint(failure)),
        }
    }
    for (target, uid) in going {
        let is_instance = target.kind.info == Instance::KIND;
        let result = if args.wait.unwrap_or(is_instance) {
            gone(&cloud, target, &uid, args.timeout).await
        } else {
            Ok(())
        };
        match result {
            Ok(()) if cloud.global.quiet => {}
            Ok(()) => output::print(&format!("{} deleted\n", target.full_name()))?,
            Err(failure) => failures.note(failure),
        }
    }
    failures.end()
}

/// Asks for the deletion; answers the uid of what goes.
async fn delete(cloud: &Cloud, target: Target<'_>, force: bool) -> Result<String, Failure> {
    let object = if force {
        cloud.merge(target, &json!({ "metadata": { "annotations": { "corten.dev/force": "true" } } })).await?
    } else {
        cloud.object(target).await?
    };
    let mut request = cloud.request(Verb::Delete, target.kind, target.name);
    request.delete = DeleteOptions { grace_period_seconds: force.then_some(0), ..DeleteOptions::default() };
    match cloud.call(request).await {
        // Whoever else deleted it meanwhile did what was asked for.
        Err(failure) if failure.exit != Exit::NotFound => Err(failure),
        _ => Ok(uid(&object).to_owned()),
    }
}

async fn gone(cloud: &Cloud, target: Target<'_>, old: &str, limit: Duration) -> Result<(), Failure> {
    wait::until(cloud, target, limit, "gone", |object| {
        Ok(match object {
            Some(object) if uid(object) == old => Verdict::Wait(waits_for(object)),
            _ => Verdict::Done,
        })
    })
    .await
}

fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap_or_default()
}

fn waits_for(object: &Value) -> String {
    let none = Vec::new();
    let finalizers = object["metadata"]["finalizers"].as_array().unwrap_or(&none);
    let names: Vec<&str> = finalizers.iter().filter_map(Value::as_str).collect();
    if names.is_empty() { "deleting".into() } else { format!("waiting for {}", names.join(", ")) }
}
