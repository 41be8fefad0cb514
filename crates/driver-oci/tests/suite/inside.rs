//! What a container's programs see and what their user gets of them.

use driver::{ComputeDriver, ExecRequest, LogFormat};
use driver_oci::OciOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Lab, options};

#[tokio::test(flavor = "multi_thread")]
async fn programs_have_streams_and_an_exit_code() {
    let lab = Lab::new();
    let plan = lab.plan(&[("web", "exec sleep 1000")]);
    lab.driver.ensure(&plan).await.expect("ensure");
    let (code, out, err) = lab.run(&plan.uid, "web", "echo out; echo err >&2; exit 42").await;
    assert_eq!((code, out.as_str(), err.as_str()), (42, "out\n", "err\n"));

    let request = ExecRequest { container: String::new(), argv: vec!["/bin/cat".to_owned()], tty: false };
    let mut exec = lab.driver.exec().expect("exec").exec(&plan.uid, request).await.expect("exec");
    exec.stdin.write_all(b"through").await.expect("write");
    drop(exec.stdin);
    let mut out = String::new();
    exec.stdout.read_to_string(&mut out).await.expect("read");
    assert_eq!((out.as_str(), exec.exit.await.expect("exit")), ("through", 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_is_one_inside() {
    let lab = Lab::new();
    let plan = lab.plan(&[("web", "exec sleep 1000")]);
    lab.driver.ensure(&plan).await.expect("ensure");
    let argv = ["/bin/sh", "-c", "tty; exit 5"].map(str::to_owned).to_vec();
    let request = ExecRequest { container: String::new(), argv, tty: true };
    let mut exec = lab.driver.exec().expect("exec").exec(&plan.uid, request).await.expect("exec");
    let mut out = String::new();
    let (read, code) = tokio::join!(exec.stdout.read_to_string(&mut out), exec.exit);
    read.expect("read");
    // runc turns the inner terminal's carriage returns off only while the program starts already: one or two.
    assert!(out.ends_with("\r\n"), "{out:?}");
    assert_eq!((out.trim_end(), code.expect("exit")), ("/dev/pts/0", 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_ends_when_it_is_dropped() {
    let lab = Lab::new();
    let plan = lab.plan(&[("web", "exec sleep 1000")]);
    lab.driver.ensure(&plan).await.expect("ensure");
    let argv = ["/bin/sh", "-c", "echo here; exec sleep 54321"].map(str::to_owned).to_vec();
    for wait_until_it_runs in [true, false] {
        let request = ExecRequest { container: String::new(), argv: argv.clone(), tty: false };
        let mut exec = lab.driver.exec().expect("exec").exec(&plan.uid, request).await.expect("exec");
        if wait_until_it_runs {
            let mut out = [0; 5];
            exec.stdout.read_exact(&mut out).await.expect("read");
        }
        drop(exec);
        lab.wait_for(|| async { !running("exec-") && lab.processes(&plan.uid) == 1 }).await;
    }
}

/// Whether a runtime of this process still waits for a program.
fn running(what: &str) -> bool {
    let marker = format!("{what}{}-", std::process::id());
    let output = std::process::Command::new("ps").args(["-eo", "args"]).output().expect("ps");
    String::from_utf8_lossy(&output.stdout).lines().any(|line| line.contains(&marker))
}

#[tokio::test(flavor = "multi_thread")]
async fn output_is_kept_with_its_stream_beyond_the_end() {
    let lab = Lab::new();
    let plan = lab.plan(&[("web", "echo one; echo two >&2; printf three; exit 0")]);
    lab.ensure_ended(&plan, driver::SandboxState::Exited(Some(0))).await;
    let console = lab.driver.console().expect("console");
    assert_eq!(console.log_format(), LogFormat::Cri);
    let mut lines: Vec<String> = lab.log(&plan.uid, "").await;
    lines.sort();
    assert_eq!(lines, ["err:two", "out:one", "out:three"]);
    assert!(matches!(console.log_path(&plan.uid, "other").await, Err(driver::DriverError::Invalid(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_stays_below_its_limit() {
    let lab = Lab::with(OciOptions { log_bytes_max: 64 << 10, ..options() });
    let plan = lab
        .plan(&[("web", "i=0; while [ $i -lt 5000 ]; do echo line $i of very many lines; i=$((i+1)); done")]);
    lab.ensure_ended(&plan, driver::SandboxState::Exited(Some(0))).await;
    let path = lab.driver.console().expect("console").log_path(&plan.uid, "web").await.expect("path");
    let size = std::fs::metadata(path).expect("log").len();
    assert!((1..=64 << 10).contains(&size), "{size}");
    assert_eq!(
        lab.log(&plan.uid, "web").await.last().map(String::as_str),
        Some("out:line 4999 of very many lines")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_console_is_a_terminal_to_type_in() {
    let lab = Lab::new();
    let mut plan = lab.plan(&[("web", "read line; echo got $line; exec sleep 1000")]);
    lab.driver.ensure(&plan).await.expect("ensure");
    let console = lab.driver.console().expect("console");
    assert!(matches!(console.attach(&plan.uid).await, Err(driver::DriverError::Unsupported { .. })));
    lab.driver.delete(&plan.uid).await.expect("delete");

    plan.containers[0].tty = true;
    lab.driver.ensure(&plan).await.expect("ensure");
    let mut stream = console.attach(&plan.uid).await.expect("attach");
    stream.write_all(b"this\n").await.expect("write");
    let mut seen = String::new();
    while !seen.contains("got this") {
        let mut some = [0; 100];
        let n = stream.read(&mut some).await.expect("read");
        assert!(n > 0, "ended after {seen:?}");
        seen.push_str(&String::from_utf8_lossy(&some[..n]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_of_a_sandbox_share_its_network_and_name_only() {
    let lab = Lab::new();
    let plan = lab.plan(&[("server", "exec nc -l -p 80 -e echo welcome"), ("client", "exec sleep 1000")]);
    lab.driver.ensure(&plan).await.expect("ensure");
    let (code, out, err) = lab.run(&plan.uid, "client", "until nc 127.0.0.1 80; do sleep 0.02; done").await;
    assert_eq!((code, out.as_str()), (0, "welcome\n"), "{err}");
    let name = plan.label.rsplit('/').next().expect("name").to_owned();
    assert_eq!(lab.run(&plan.uid, "client", "hostname").await.1.trim(), name);
    assert_eq!(
        lab.run(&plan.uid, "client", "echo $$ $HOSTNAME").await.1.split(' ').nth(1).map(str::trim),
        Some(&*name)
    );
    assert_ne!(lab.run(&plan.uid, "client", "ls /proc | grep -c '^[0-9]'").await.1.trim(), "0");
    let (_, processes, _) = lab.run(&plan.uid, "client", "cat /proc/[0-9]*/cmdline").await;
    assert!(!processes.contains("welcome"), "processes are each container's own");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_shut_in() {
    let lab = Lab::new();
    let mut plan = lab.plan(&[("web", "exec sleep 1000")]);
    plan.containers[0].user = "1000:1001".to_owned();
    plan.containers[0].working_dir = "/srv/www".to_owned();
    plan.containers[0].env = vec![model::compute::EnvVar { name: "A".to_owned(), value: "b c".to_owned() }];
    lab.driver.ensure(&plan).await.expect("ensure");
    let see = async |script: &str| lab.run(&plan.uid, "", script).await.1.trim().to_owned();
    assert_eq!(see("id -u; id -g; pwd; echo $A").await, "1000\n1001\n/srv/www\nb c");
    assert_eq!(see("grep NoNewPrivs /proc/self/status").await, "NoNewPrivs:\t1");
    assert_eq!(see("grep Seccomp: /proc/self/status").await, "Seccomp:\t2");
    assert_eq!(see("cat /proc/kcore | dd count=1 2>/dev/null").await, "");
    for forbidden in ["echo 1 > /proc/sys/kernel/hostname", "mount -t tmpfs x /tmp", "unshare -U true"] {
        let (code, out, _) = lab.run(&plan.uid, "", forbidden).await;
        assert_ne!(code, 0, "{forbidden}: {out}");
    }
}
