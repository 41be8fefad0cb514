//! The life of virtual machines: the promises every driver makes, and the deaths of those around them.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use driver::conformance::{self, Bench};
use driver::{ComputeDriver, SandboxState, StopMode};
use model::compute::Machine;

use crate::bench::{Host, SHELL, console_says, processes_of, prompt, tiny};

#[tokio::test(flavor = "multi_thread")]
async fn every_promise_is_kept() {
    conformance::run(&Host::new(Machine::MicroVm)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_survives_the_violent_death_of_who_started_it() {
    let host = Host::new(Machine::MicroVm);
    let plan = host.kernel_plan(SHELL);
    let mut holder = Command::new(example("hold"))
        .arg(host.path().join("run"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = holder.stdin.take().unwrap();
    stdin.write_all(&serde_json::to_vec(&plan).unwrap()).unwrap();
    drop(stdin);
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let pid: u32 = line.trim().parse().expect("the holder tells the machine's pid");
    holder.kill().unwrap();
    holder.wait().unwrap();

    let driver = host.driver();
    let mut changes = driver.changes();
    let adopted = driver.observe(&plan.uid).await.unwrap();
    assert_eq!((adopted.state, adopted.pid), (SandboxState::Running, Some(pid)));
    // Killed behind our back: told, and told apart from a guest that ended by itself.
    let killed =
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), nix::sys::signal::SIGKILL);
    killed.unwrap();
    tokio::time::timeout(Duration::from_secs(30), changes.recv()).await.expect("told").unwrap();
    let ended = driver.observe(&plan.uid).await.unwrap();
    assert_eq!(ended.state, SandboxState::Exited(None));
    assert!(ended.message.contains("crashed or was killed"), "{}", ended.message);
    driver.delete(&plan.uid).await.unwrap();
    assert_eq!(host.leftovers(&plan), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_nobody_wrote_down_is_never_doubled() {
    let host = Host::new(Machine::MicroVm);
    let driver = host.driver();
    let plan = host.kernel_plan(SHELL);
    let first = driver.ensure(&plan).await.unwrap();
    // As if we had died between starting the process and keeping who it is.
    std::fs::remove_file(plan.dir.join("qemu/process.json")).unwrap();
    let second = driver.ensure(&plan).await.unwrap();
    assert_ne!(first.pid, second.pid);
    assert_eq!(processes_of(plan.uid.as_str()).len(), 1, "one machine, one process");
    driver.delete(&plan.uid).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_any_depth_will_do() {
    let host = Host::new(Machine::MicroVm);
    let driver = host.driver();
    let mut plan = host.kernel_plan(SHELL);
    plan.dir = plan.dir.join("deep".repeat(50));
    std::fs::create_dir(&plan.dir).unwrap();
    driver.ensure(&plan).await.unwrap();
    let mut console = driver.console().unwrap().attach(&plan.uid).await.unwrap();
    prompt(&mut console).await;
    driver.delete(&plan.uid).await.unwrap();
    assert_eq!(host.leftovers(&plan), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_pc_still_hears_its_power_button() {
    let host = Host::new(Machine::Q35);
    let driver = host.driver();
    let plan = host.kernel_plan(&tiny().cmdline);
    driver.ensure(&plan).await.unwrap();
    console_says(&driver, &plan.uid, "READY").await;
    driver.pause(&plan.uid).await.unwrap();
    driver.stop(&plan.uid, StopMode::Graceful { seconds: 30 }).await.unwrap();
    let ended = driver.observe(&plan.uid).await.unwrap();
    assert_eq!((ended.state, ended.message.as_str()), (SandboxState::Exited(Some(0)), ""));
    driver.delete(&plan.uid).await.unwrap();
}

/// Examples are built with the tests, beside them.
fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    tests.parent().and_then(|deps| deps.parent()).unwrap().join("examples").join(name)
}
