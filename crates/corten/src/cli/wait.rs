//! Following one object until it is as wanted, or cannot become so, or the time is over.

use std::time::Duration;

use client::Verb;
use futures::StreamExt;
use model::compute::{Instance, InstancePhase};
use serde_json::Value;

use super::api::{Cloud, only, typed};
use super::kind::Target;
use super::progress::Progress;
use crate::failure::Failure;

/// Before a broken watch is begun anew.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// What an object's state means to who waits for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Done,
    /// With what it is doing now.
    Wait(String),
    Failed(Failure),
}

/// Follows the object; `judge` sees every state of it, or nothing when it does not exist.
pub(crate) async fn until(
    cloud: &Cloud,
    target: Target<'_>,
    limit: Duration,
    wanted: &str,
    judge: impl Fn(Option<&Value>) -> Result<Verdict, Failure>,
) -> Result<(), Failure> {
    let mut progress = Progress::new(cloud.global.quiet);
    let mut stage = String::new();
    let followed = follow(cloud, target, |object| match judge(object)? {
        Verdict::Done => Ok(true),
        Verdict::Failed(failure) => Err(failure),
        Verdict::Wait(now) => {
            progress.say(&format!("{}: {now}", target.name));
            stage = now;
            Ok(false)
        }
    });
    if let Ok(result) = tokio::time::timeout(limit, followed).await {
        return result;
    }
    let why = if stage.is_empty() { String::new() } else { format!(": {stage}") };
    Err(Failure::timed_out(format!(
        "{} {:?} is not {wanted} after {} s{why}",
        target.kind.info.singular,
        target.name,
        limit.as_secs()
    ))
    .hint(format!("`corten explain {}/{}` says why", target.kind.info.singular, target.name)))
}

/// Lists, then watches, again and again; ends when `is_done` says so.
async fn follow(
    cloud: &Cloud,
    target: Target<'_>,
    mut is_done: impl FnMut(Option<&Value>) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    loop {
        let mut request = cloud.request(Verb::List, target.kind, "");
        request.list = only(target.name);
        let (items, version) = cloud.list(request.clone()).await?;
        if is_done(items.first())? {
            return Ok(());
        }
        request.list.resource_version = version;
        let mut watch = cloud.watch(request).await?;
        while let Some(Ok(event)) = watch.next().await {
            let object = || {
                serde_json::from_slice::<Value>(&event.object)
                    .map_err(|e| Failure::failed(format!("a watch event cannot be read: {e}")))
            };
            let done = match event.kind {
                client::ChangeKind::Bookmark => false,
                client::ChangeKind::Deleted => is_done(None)?,
                client::ChangeKind::Added | client::ChangeKind::Modified => is_done(Some(&object()?))?,
            };
            if done {
                return Ok(());
            }
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// The instance's own words for what it is doing: its phase, and why it is not further.
pub(crate) fn stage(instance: &Instance) -> String {
    let phase = instance.status.phase.as_str().to_lowercase();
    let unmet = instance.status.conditions.iter().filter(|c| c.status != model::ConditionStatus::True);
    let why = unmet.map(|c| c.message.as_str()).find(|message| !message.is_empty());
    why.map_or(phase.clone(), |message| format!("{phase}: {}", super::output::harmless(message)))
}

/// For waiting until an instance runs. One that has already ended well has run.
pub(crate) fn runs(object: Option<&Value>) -> Result<Verdict, Failure> {
    let Some(object) = object else {
        return Ok(Verdict::Failed(Failure::not_found("the instance was deleted meanwhile")));
    };
    let instance: Instance = typed(object)?;
    Ok(match instance.status.phase {
        _ if instance.status.observed_generation < instance.metadata.generation => {
            Verdict::Wait(stage(&instance))
        }
        InstancePhase::Running | InstancePhase::Succeeded => Verdict::Done,
        InstancePhase::Failed => Verdict::Failed(
            Failure::failed(format!("instance {:?} has {}", instance.metadata.name, stage(&instance))).hint(
                format!(
                    "`corten explain instance/{0}` and `corten logs {0}` say more",
                    instance.metadata.name
                ),
            ),
        ),
        _ => Verdict::Wait(stage(&instance)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn judged(status: Value) -> String {
        let object = json!({
            "metadata": { "name": "web", "generation": 2 },
            "spec": { "payload": { "kernel": { "image": "tiny" } } }, "status": status,
        });
        match runs(Some(&object)).unwrap() {
            Verdict::Done => "done".into(),
            Verdict::Wait(stage) => format!("wait {stage}"),
            Verdict::Failed(failure) => failure.message,
        }
    }

    #[test]
    fn tells_when_an_instance_runs() {
        let check = |status: Value, expected: &str| assert_eq!(judged(status), expected);
        let why =
            json!([{ "type": "Scheduled", "status": "False", "reason": "x", "message": "no host fits" }]);
        check(json!({ "phase": "Running", "observedGeneration": 2 }), "done");
        check(json!({ "phase": "Running", "observedGeneration": 1 }), "wait running");
        check(json!({ "phase": "Succeeded", "observedGeneration": 2 }), "done");
        check(json!({ "phase": "Starting", "observedGeneration": 2 }), "wait starting");
        check(json!({ "phase": "Pending", "conditions": why }), "wait pending: no host fits");
        let failed = json!({ "phase": "Failed", "observedGeneration": 2, "conditions": why });
        check(failed, "instance \"web\" has failed: no host fits");
    }

    #[test]
    fn a_deleted_instance_ends_the_wait() {
        let Verdict::Failed(failure) = runs(None).unwrap() else { panic!("it must fail") };
        assert_eq!(failure.exit, crate::failure::Exit::NotFound);
    }
}
