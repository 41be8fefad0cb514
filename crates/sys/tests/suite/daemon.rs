//! Daemons: whose they are, what they get, how their end is seen.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use sys::cgroup::{Cgroups, Limits};
use sys::daemon::{Daemon, ResourceLimit};
use sys::process::{Identity, Process};

/// Starts a shell script as a daemon without privileges.
fn shell(script: &str, output: File, inherit: &[std::os::fd::BorrowedFd<'_>], cgroups: &[File]) -> Identity {
    Daemon {
        program: Path::new("/bin/sh"),
        args: &["-c".into(), script.into()],
        directory: Path::new("/"),
        output,
        inherit,
        cgroups,
        user_id: Some(65_000),
        limits: &[(ResourceLimit::OpenFiles, 64)],
    }
    .spawn()
    .unwrap()
}

/// A file with a number that the shell does not take by itself when it reads a folder.
fn far_up() -> File {
    let number = fcntl(tempfile::tempfile().unwrap(), FcntlArg::F_DUPFD_CLOEXEC(40)).unwrap();
    // SAFETY: the number was made the line before, and nobody else has it.
    #[allow(unsafe_code)]
    unsafe {
        File::from_raw_fd(number)
    }
}

async fn end(identity: &Identity) {
    if let Some(process) = Process::open(identity).unwrap() {
        tokio::time::timeout(Duration::from_secs(20), process.ended()).await.expect("it ends").unwrap();
    }
}

#[tokio::test]
async fn a_daemon_is_not_ours_and_has_only_what_it_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("output");
    let (given, kept) = (far_up(), far_up());
    let script = "id -u; id -G; grep NoNewPrivs /proc/$$/status; ulimit -n; pwd; env | grep -v PWD | sort; echo /proc/$$/fd/*";
    let identity = shell(script, File::create(&output).unwrap(), &[given.as_fd()], &[]);
    end(&identity).await;
    let said = std::fs::read_to_string(&output).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..3], ["65000", "65000", "NoNewPrivs:\t1"], "{said}");
    assert_eq!(lines[3..5], ["64", "/"], "{said}");
    assert!(lines[5].starts_with("PATH=") && lines.len() == 7, "only PATH in the environment: {said}");
    let holds = |file: &File| lines[6].split(' ').any(|fd| fd.ends_with(&format!("/{}", file.as_raw_fd())));
    assert!(holds(&given) && !holds(&kept), "{said}");
}

#[tokio::test]
async fn its_end_is_seen_and_its_pid_alone_is_nobody() {
    let identity = shell("exec sleep 1000", tempfile::tempfile().unwrap(), &[], &[]);
    let process = Process::open(&identity).unwrap().expect("it runs");
    assert!(process.is_alive().unwrap());
    let parent = std::fs::read_to_string(format!("/proc/{}/stat", identity.pid)).unwrap();
    let parent = parent.rsplit(") ").next().unwrap().split(' ').nth(1).unwrap().to_owned();
    assert_ne!(parent, std::process::id().to_string(), "not our child");
    process.kill().unwrap();
    end(&identity).await;
    process.ended().await.unwrap();
    assert!(!process.is_alive().unwrap());
    assert!(Process::open(&identity).unwrap().is_none());
    process.kill().expect("killing what has ended succeeds");
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let error = Daemon {
        program: Path::new("/nowhere/program"),
        args: &[],
        directory: Path::new("/"),
        output: tempfile::tempfile().unwrap(),
        inherit: &[],
        cgroups: &[],
        user_id: None,
        limits: &[],
    }
    .spawn()
    .unwrap_err();
    assert!(error.to_string().starts_with("/nowhere/program: No such file"), "{error}");
}

#[tokio::test]
async fn a_group_holds_a_daemon_from_its_first_moment_and_takes_it_along() {
    let cgroups = Cgroups::detect(sys::cgroup::ROOT).unwrap();
    let group = cgroups.group(&format!("sys-test-{}", std::process::id())).unwrap();
    let limits = Limits { cpu_millis: Some(500), memory_bytes: Some(64 << 20), pids: Some(16) };
    group.ensure(&limits).unwrap();
    group.ensure(&limits).expect("twice is the same");
    let entrances = group.entrances().unwrap();
    let identity = shell("sleep 1000 & exec sleep 1000", tempfile::tempfile().unwrap(), &[], &entrances);
    assert!(group.processes().unwrap().contains(&identity.pid));
    assert!(cgroups.list().unwrap().iter().any(|name| name.starts_with("sys-test-")));
    assert!(group.usage().unwrap().memory_bytes > 0);
    group.remove().await.unwrap();
    assert!(Process::open(&identity).unwrap().is_none(), "killed with its group");
    assert!(!cgroups.list().unwrap().contains(&format!("sys-test-{}", std::process::id())));
    group.remove().await.expect("removing what is gone succeeds");
}

#[test]
fn a_group_cannot_be_named_out_of_its_root() {
    let cgroups = Cgroups::detect(sys::cgroup::ROOT).unwrap();
    for name in ["", "..", "a/b", "a b", ".hidden"] {
        assert!(cgroups.group(name).is_err(), "{name:?}");
    }
}
