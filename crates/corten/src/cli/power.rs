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
    /// Wait until it is so
    #[arg(long)]
    wait: bool,
    /// How long to wait
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

/// Everything that can be changed is; the exit code is that of the first that could not.
pub(crate) async fn run(cloud: Cloud, args: Args, change: Change) -> Result<(), Failure> {
    let mut failures = Failures::default();
    for name in &args.names {
        let result = match apply(&cloud, name, change).await {
            Ok(wanted) if args.wait => reached(&cloud, name, change, &wanted, args.timeout).await,
            result => result.map(drop),
        };
        match result {
            Ok(()) if cloud.global.quiet => {}
            Ok(()) => {
                let full_name = kind::full_name(kind::of::<Instance>(), name);
                output::print(&format!("{full_name} {}\n", change.past()))?;
            }
            Err(failure) => failures.note(failure),
        }
    }
    failures.end()
}

/// Asks for the change; answers the instance as it is wanted now. Its status may change between looking and
/// asking, which is no reason to bother the user.
async fn apply(cloud: &Cloud, name: &str, change: Change) -> Result<Instance, Failure> {
    let api = cloud.api::<Instance>();
    let mut tries = 1;
    loop {
        let now = api.get(name).await?;
        if change == Change::Resume && now.spec.power == Power::Stopped {
            return Err(Failure::failed(format!("instance {name:?} is stopped, not paused"))
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

async fn reached(
    cloud: &Cloud,
    name: &str,
    change: Change,
    wanted: &Instance,
    limit: Duration,
) -> Result<(), Failure> {
    let target = Target::new(kind::of::<Instance>(), name)?;
    let (generation, reboots) = (wanted.metadata.generation, wanted.spec.reboots);
    wait::until(cloud, target, limit, change.past(), |object| {
        let runs = wait::runs(object)?;
        let Some(object) = object else { return Ok(runs) };
        let now: Instance = typed(object)?;
        let seen = now.status.observed_generation >= generation;
        let phase = now.status.phase;
        let is_so = match change {
            Change::Stop => matches!(phase, InstancePhase::Stopped),
            Change::Pause => phase == InstancePhase::Paused,
            Change::Reboot if now.status.reboots_done < reboots => false,
            Change::Start | Change::Resume | Change::Reboot => return Ok(runs),
        };
        Ok(if seen && is_so { Verdict::Done } else { Verdict::Wait(wait::stage(&now)) })
    })
    .await
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
}
