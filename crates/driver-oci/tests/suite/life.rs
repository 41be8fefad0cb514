//! A sandbox's life as its user sees it.

use std::time::Duration;

use driver::{ComputeDriver, DriverError, SandboxState, StopMode};
use model::Bytes;

use crate::support::{Lab, Traces};

/// Long enough for a machine that has much else to do; nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_runs_and_leaves_nothing_behind() {
    let lab = Lab::new();
    let plan = lab.plan(&[("web", "echo hello; exec sleep 1000"), ("log", "exec sleep 1000")]);
    let seen = lab.driver.ensure(&plan).await.expect("ensure");
    assert_eq!(seen.state, SandboxState::Running);
    assert_eq!(seen.containers.len(), 2);
    assert!(seen.pid.is_some() && seen.started_at.is_some() && seen.message.is_empty(), "{seen:?}");
    let traces = lab.traces();
    assert_eq!(traces.mounts, 3, "the namespaces; a root is only mounted in its container");
    assert!(traces.cgroups > 0 && traces.processes > 0 && traces.files > 0, "{traces:?}");

    assert_eq!(lab.driver.ensure(&plan).await.expect("again").pid, seen.pid, "the same process runs on");
    lab.driver.delete(&plan.uid).await.expect("delete");
    assert_eq!(lab.traces(), Traces::NONE);
    lab.driver.delete(&plan.uid).await.expect("deleting nothing succeeds");
    assert!(matches!(lab.driver.observe(&plan.uid).await, Err(DriverError::NotFound(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_asks_first_and_kills_who_does_not_listen() {
    let lab = Lab::new();
    let plan = lab.plan(&[("kind", "trap 'exit 7' TERM; while :; do sleep 0.01; done")]);
    lab.driver.ensure(&plan).await.expect("ensure");
    // At once: who is still getting ready is asked all the same.
    lab.driver.stop(&plan.uid, StopMode::Graceful { seconds: 60 }).await.expect("stop");
    assert_eq!(lab.state(&plan.uid).await, SandboxState::Exited(Some(7)));

    // Process 1 of a pid namespace does not get what it has no handler for.
    let deaf = lab.plan(&[("deaf", "exec sleep 1000")]);
    lab.driver.ensure(&deaf).await.expect("ensure");
    lab.driver.stop(&deaf.uid, StopMode::Graceful { seconds: 0 }).await.expect("stop");
    let ended = lab.driver.observe(&deaf.uid).await.expect("observe");
    assert_eq!(ended.state, SandboxState::Exited(Some(137)));
    assert_eq!(ended.message, "", "what was asked for is no failure");
    lab.driver.stop(&deaf.uid, StopMode::Kill).await.expect("stopping the stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_is_announced_with_its_code() {
    let lab = Lab::new();
    let plan = lab.plan(&[("job", "read line < /gate; exit 3")]);
    let upper = plan.dir.join("job/upper");
    std::fs::create_dir_all(&upper).expect("upper");
    nix::unistd::mkfifo(&upper.join("gate"), nix::sys::stat::Mode::S_IRWXU).expect("gate");
    lab.driver.ensure(&plan).await.expect("ensure");
    let mut changes = lab.driver.changes();
    let (code, _, _) = lab.run(&plan.uid, "", "echo go > /gate").await;
    assert_eq!(code, 0);
    let changed = tokio::time::timeout(PATIENCE, changes.recv()).await.expect("announced").expect("change");
    assert_eq!(changed, plan.uid);
    let ended = lab.driver.observe(&plan.uid).await.expect("observe");
    assert_eq!(ended.state, SandboxState::Exited(Some(3)));
    assert_eq!(ended.message, "container job: exit code 3");
    assert_eq!(ended.containers[0].exit_code, Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_is_started_again_with_its_files() {
    let lab = Lab::new();
    let plan = lab.plan(&[("job", "if [ -e /done ]; then exec sleep 1000; fi; echo > /done; exit 1")]);
    lab.ensure_ended(&plan, SandboxState::Exited(Some(1))).await;
    let again = lab.driver.ensure(&plan).await.expect("ensure");
    assert_eq!((again.state, again.containers[0].exit_code), (SandboxState::Running, None));
    let pid = again.pid;
    lab.driver.reset(&plan.uid).await.expect("reset");
    let reset = lab.driver.observe(&plan.uid).await.expect("observe");
    assert!(reset.state == SandboxState::Running && reset.pid != pid, "{reset:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_driver_adopts_what_runs() {
    let lab = Lab::new();
    let running = lab.plan(&[("web", "exec sleep 1000")]);
    let ended = lab.plan(&[("job", "exit 4")]);
    let seen = lab.driver.ensure(&running).await.expect("ensure");
    lab.ensure_ended(&ended, SandboxState::Exited(Some(4))).await;

    let adopter = lab.another_driver();
    let mut found = adopter.list().await.expect("list");
    found.sort_by(|a, b| a.uid.cmp(&b.uid));
    assert_eq!(found.len(), 2);
    assert_eq!(found[0], seen);
    assert_eq!(found[1].state, SandboxState::Exited(Some(4)));
    assert_eq!(adopter.ensure(&running).await.expect("ensure").pid, seen.pid, "it is not started twice");

    let mut changes = adopter.changes();
    // Killed by nobody the driver knows.
    let pid = i32::try_from(seen.pid.expect("pid")).expect("pid");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).expect("kill");
    let changed = tokio::time::timeout(PATIENCE, changes.recv()).await.expect("announced").expect("change");
    assert_eq!(changed, running.uid);
    let ended = adopter.observe(&running.uid).await.expect("observe");
    assert_eq!(ended.state, SandboxState::Exited(Some(137)));
    assert_eq!(ended.message, "container web: ended by signal 9");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_sandbox_stands_still() {
    let lab = Lab::new();
    let plan = lab.plan(&[("clock", "while :; do echo tick; sleep 0.01; done")]);
    lab.driver.ensure(&plan).await.expect("ensure");
    lab.wait_for_log(&plan.uid, "clock", "tick").await;
    lab.driver.pause(&plan.uid).await.expect("pause");
    lab.driver.pause(&plan.uid).await.expect("pause again");
    assert_eq!(lab.state(&plan.uid).await, SandboxState::Paused);
    let request =
        driver::ExecRequest { container: String::new(), argv: vec!["/bin/true".to_owned()], tty: false };
    let refused = lab.driver.exec().expect("exec").exec(&plan.uid, request).await;
    assert!(matches!(&refused, Err(DriverError::WrongState(why)) if why.contains("resume")), "{refused:?}");
    lab.driver.resume(&plan.uid).await.expect("resume");
    assert_eq!(lab.state(&plan.uid).await, SandboxState::Running);
    let ticks = lab.log(&plan.uid, "clock").await.len();
    lab.wait_for(|| async { lab.log(&plan.uid, "clock").await.len() > ticks }).await;

    lab.driver.pause(&plan.uid).await.expect("pause");
    lab.driver.stop(&plan.uid, StopMode::Kill).await.expect("stop");
    assert_eq!(lab.state(&plan.uid).await, SandboxState::Exited(Some(137)));
    assert!(matches!(lab.driver.pause(&plan.uid).await, Err(DriverError::WrongState(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_limit_limits() {
    let lab = Lab::new();
    let mut plan = lab.plan(&[("hog", "x=x; while :; do x=$x$x; done")]);
    plan.resources.memory = Bytes::mib(16);
    lab.ensure_ended(&plan, SandboxState::Exited(Some(137))).await;
    let ended = lab.driver.observe(&plan.uid).await.expect("observe");
    assert_eq!(ended.message, "container hog: killed because the sandbox ran out of memory; give it more");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_run_is_refused_with_the_programs_words() {
    let lab = Lab::new();
    let mut plan = lab.plan(&[("web", "")]);
    plan.containers[0].argv = vec!["/no/such/program".to_owned()];
    let error = lab.driver.ensure(&plan).await.expect_err("no program").to_string();
    assert!(
        error.starts_with("start container web of demo/") && error.contains("/no/such/program"),
        "{error}"
    );
    lab.driver.delete(&plan.uid).await.expect("delete");
    assert_eq!(lab.traces(), Traces::NONE, "a failed start leaves nothing either");

    plan.containers[0].argv.clear();
    assert!(matches!(lab.driver.ensure(&plan).await, Err(DriverError::Invalid(why)) if why.contains("argv")));
    plan.containers[0].name = "../web".to_owned();
    assert!(matches!(lab.driver.ensure(&plan).await, Err(DriverError::Invalid(why)) if why.contains("name")));
}
