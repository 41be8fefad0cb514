//! A sandbox's life as its user sees it.

use driver::{ComputeDriver, SandboxState, StopMode};

use crate::support::{Lab, Traces};

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_runs_and_leaves_nothing_behind() {
    let lab = Lab::new();
    let plan = lab.plan(&[("web", "echo hello; exec sleep 1000")]);
    let seen = lab.driver.ensure(&plan).await.expect("ensure");
    assert_eq!(seen.state, SandboxState::Running);
    assert_eq!(seen.containers.len(), 1);
    assert!(seen.pid.is_some() && seen.started_at.is_some() && seen.message.is_empty(), "{seen:?}");

    assert_eq!(lab.driver.ensure(&plan).await.expect("again").pid, seen.pid, "the same process runs on");
    lab.driver.stop(&plan.uid, StopMode::Kill).await.expect("stop");
    let ended = lab.driver.observe(&plan.uid).await.expect("observe");
    assert_eq!(ended.state, SandboxState::Exited(Some(137)));
    lab.driver.delete(&plan.uid).await.expect("delete");
    assert_eq!(lab.traces(), Traces::NONE);
    lab.driver.delete(&plan.uid).await.expect("deleting nothing succeeds");
}
