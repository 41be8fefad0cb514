//! `corten start`, `stop`, `reboot`, `pause` and `resume`: the power of instances.

use std::time::Duration;

use model::compute::{Instance, InstancePhase, Power};
use serde_json::{Value, json};

use super::api::{Cloud, typed};
use super::kind::{self, Target};
use super::output;
use super::parse;
use super::wait::{self, Verdict};
use crate::failure::{Failure, Failures};

/// How often a change is asked for while others change the same instance.
const TRIES_MAX: u32 = 10;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(required = true, value_name = "NAME", value_parser = parse::instance)]
    names: Vec<String>,
    /// Return when the change is asked for, not when it is done
    #[arg(long)]
    no_wait: bool,
    /// How long to wait until it is done
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = parse::duration)]
    timeout: Duration,
}

/// What is done to an instance's power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Start,
    Stop,
    Reboot,
    Pause,
    Resume,
}

/// Everything is asked for before anything is waited for; the exit code is that of the first that failed.
pub(crate) async fn run(cloud: Cloud, args: Args, change: Change) -> Result<(), Failure> {
    let mut failures = Failures::default();
    let mut asked = Vec::new();
    for name in &args.names {
        match ask(&cloud, name, change).await {
            Ok(wanted) => asked.push(wanted),
            Err(failure) => failures.note(failure),
        }
    }
    for wanted in asked {
        let (result, said) = if args.no_wait {
            (Ok(()), "asked for")
        } else {
            (done(&cloud, change, &wanted, args.timeout).await, change.past())
        };
        match result {
            Ok(()) if cloud.global.quiet => {}
            Ok(()) => {
                let full_name = kind::full_name(kind::of::<Instance>(), &wanted.metadata.name);
                output::print(&format!("{full_name} {said}\n"))?;
            }
            Err(failure) => failures.note(failure),
        }
    }
    failures.end()
}

/// Asks for the change; answers the instance as it is wanted now. Its status may change between looking and
/// asking, which is no reason to bother the user.
async fn ask(cloud: &Cloud, name: &str, change: Change) -> Result<Instance, Failure> {
    let api = cloud.api::<Instance>();
    let mut tries = 1;
    loop {
        let now = api.get(name).await?;
        if matches!(change, Change::Resume | Change::Reboot) && now.spec.power == Power::Stopped {
            return Err(Failure::failed(format!("instance {name:?} is stopped"))
                .hint(format!("`corten start {name}` starts it")));
        }
        match api.merge(name, &patch(change, &now)).await {
            Err(e) if e.is_conflict() && tries < TRIES_MAX => tries += 1,
            result => return Ok(result?),
        }
    }
}

fn patch(change: Change, now: &Instance) -> Value {
    let ended = matches!(now.status.phase, InstancePhase::Succeeded | InstancePhase::Failed);
    let reboots = now.spec.reboots + 1;
    match change {
        // One that ended by itself is wanted running already: only asking for another boot starts it.
        Change::Start if ended && now.spec.power == Power::Running => {
            json!({ "spec": { "power": "running", "reboots": reboots } })
        }
        Change::Start | Change::Resume => json!({ "spec": { "power": "running" } }),
        Change::Stop => json!({ "spec": { "power": "stopped" } }),
        Change::Pause => json!({ "spec": { "power": "paused" } }),
        // At the version it was read: of two reboots at once, one is refused and not lost.
        Change::Reboot => json!({
            "metadata": { "resourceVersion": now.metadata.resource_version },
            "spec": { "reboots": reboots },
        }),
    }
}

/// Waits until the instance's host reports what was asked for.
async fn done(cloud: &Cloud, change: Change, wanted: &Instance, limit: Duration) -> Result<(), Failure> {
    let target = Target::new(kind::of::<Instance>(), &wanted.metadata.name)?;
    wait::until(cloud, target, limit, change.past(), |object| verdict(change, wanted, object)).await
}

fn verdict(change: Change, wanted: &Instance, object: Option<&Value>) -> Result<Verdict, Failure> {
    let runs = wait::runs(object)?;
    let Some(object) = object else { return Ok(runs) };
    let now: Instance = typed(object)?;
    let seen = now.status.observed_generation >= wanted.metadata.generation;
    let phase = now.status.phase;
    let is_done = match change {
        Change::Stop => phase == InstancePhase::Stopped,
        Change::Pause => phase == InstancePhase::Paused,
        Change::Reboot if now.status.reboots_done < wanted.spec.reboots => false,
        // One that is held boots anew and is held again.
        Change::Reboot if now.spec.power == Power::Paused => phase == InstancePhase::Paused,
        Change::Start | Change::Resume | Change::Reboot => return Ok(runs),
    };
    Ok(if seen && is_done { Verdict::Done } else { Verdict::Wait(wait::stage(&now)) })
}

impl Change {
    /// The change as done.
    fn past(self) -> &'static str {
        match self {
            Self::Start => "started",
            Self::Stop => "stopped",
            Self::Reboot => "rebooted",
            Self::Pause => "paused",
            Self::Resume => "resumed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ObjectMeta;
    use model::compute::InstanceSpec;

    #[test]
    fn what_each_command_asks_for() {
        use InstancePhase::{Failed, Running, Stopped};
        let check = |phase, change, expected: Value| {
            let mut now = Instance::new(
                ObjectMeta::named("web"),
                InstanceSpec { reboots: 2, ..InstanceSpec::default() },
            );
            now.status.phase = phase;
            now.metadata.resource_version = "7".into();
            assert_eq!(patch(change, &now), expected, "{phase:?} {change:?}");
        };
        check(Stopped, Change::Start, json!({ "spec": { "power": "running" } }));
        check(Failed, Change::Start, json!({ "spec": { "power": "running", "reboots": 3 } }));
        check(Running, Change::Stop, json!({ "spec": { "power": "stopped" } }));
        check(Running, Change::Pause, json!({ "spec": { "power": "paused" } }));
        check(Running, Change::Resume, json!({ "spec": { "power": "running" } }));
        let reboot = json!({ "metadata": { "resourceVersion": "7" }, "spec": { "reboots": 3 } });
        check(Running, Change::Reboot, reboot);
    }

    #[test]
    fn what_each_command_waits_for() {
        let check = |change, status: Value, expected: &str| {
            let object = |status: &Value| {
                json!({
                    "metadata": { "name": "web", "generation": 2 },
                    "spec": { "payload": { "kernel": { "image": "tiny" } }, "reboots": 3 }, "status": status,
                })
            };
            let wanted: Instance = typed(&object(&json!({}))).unwrap();
            let found = match verdict(change, &wanted, Some(&object(&status))).unwrap() {
                Verdict::Done => "done".into(),
                Verdict::Wait(stage) => format!("wait {stage}"),
                Verdict::Failed(failure) => failure.message,
            };
            assert_eq!(found, expected, "{change:?} {status}");
        };
        let at = |phase: &str, generation: u64, reboots: u64| json!({ "phase": phase, "observedGeneration": generation, "rebootsDone": reboots });
        check(Change::Stop, at("Running", 1, 3), "wait running");
        check(Change::Stop, at("Stopped", 1, 3), "wait stopped");
        check(Change::Stop, at("Stopping", 2, 3), "wait stopping");
        check(Change::Stop, at("Stopped", 2, 3), "done");
        check(Change::Start, at("Stopped", 2, 3), "wait stopped");
        check(Change::Start, at("Running", 2, 3), "done");
        check(Change::Pause, at("Running", 2, 3), "wait running");
        check(Change::Pause, at("Paused", 2, 3), "done");
        check(Change::Resume, at("Paused", 2, 3), "wait paused");
        check(Change::Reboot, at("Running", 2, 2), "wait running");
        check(Change::Reboot, at("Running", 2, 3), "done");
        check(Change::Start, at("Failed", 2, 3), "instance \"web\" has failed");
    }
}
