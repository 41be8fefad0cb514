//! Programs in a guest by the real guest agent: the host's qemu-ga and its libraries, laid over the tiny guest. Needs
//! qemu-guest-agent and cpio.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use driver::{Boot, ComputeDriver, DriverError, Exec, ExecRequest, Plan};
use driver_qemu::QemuDriver;
use model::compute::Machine;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bench::{Host, allow_passage, console_says, prompt, tiny};

const AGENT: &str = "/usr/sbin/qemu-ga";

#[tokio::test(flavor = "multi_thread")]
async fn programs_run_by_the_guest_agent_where_there_is_one() {
    let host = Host::new(Machine::Q35);
    let driver = host.driver();
    let mut plan = host.kernel_plan(&tiny().cmdline);
    lay_agent_over(&mut plan, host.path());
    driver.ensure(&plan).await.unwrap();
    console_says(&driver, &plan.uid, "READY").await;

    let absent = run(&driver, &plan, &["true"]).await.unwrap_err();
    assert!(matches!(&absent, DriverError::WrongState(why) if why.contains("qemu-guest-agent")), "{absent}");

    let mut console = driver.console().unwrap().attach(&plan.uid).await.unwrap();
    prompt(&mut console).await;
    console
        .write_all(
            b"/agent/ld --library-path /agent /agent/qemu-ga -m virtio-serial -p /dev/vport*p1 -t /run &\n",
        )
        .await
        .unwrap();
    // What is not read yet goes when the console is let go of.
    prompt(&mut console).await;
    drop(console);
    let answers = async {
        while run(&driver, &plan, &["true"]).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(60), answers).await.is_err() {
        let said = console_says(&driver, &plan.uid, "READY").await;
        panic!("the agent does not answer; the console says: {said}");
    }

    let script = "echo out; echo err >&2; exit 7";
    let (code, stdout, stderr) = finish(run(&driver, &plan, &["sh", "-c", script]).await.unwrap()).await;
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (7, "out\n", "err\n"));

    let missing = run(&driver, &plan, &["no-such-program"]).await.unwrap_err();
    assert!(
        matches!(&missing, DriverError::Failed { detail, .. } if detail.contains("no-such-program")),
        "{missing}"
    );

    // A program whose caller went away does not go on.
    let sleeper = run(&driver, &plan, &["sleep", "4711"]).await.unwrap();
    drop(sleeper);
    let ended = async {
        loop {
            let look = run(&driver, &plan, &["sh", "-c", "ps | grep -c '[s]leep 4711'"]).await.unwrap();
            if finish(look).await.1 == "0\n" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ended).await.expect("the program is killed");
    driver.delete(&plan.uid).await.unwrap();
}

async fn run(driver: &QemuDriver, plan: &Plan, argv: &[&str]) -> Result<Exec, DriverError> {
    let argv = argv.iter().map(ToString::to_string).collect();
    let request = ExecRequest { container: String::new(), argv, tty: false };
    driver.exec().unwrap().exec(&plan.uid, request).await
}

async fn finish(exec: Exec) -> (i32, String, String) {
    let Exec { mut stdout, mut stderr, exit, .. } = exec;
    let (mut out, mut err) = (String::new(), String::new());
    let (code, _, _) = tokio::join!(exit, stdout.read_to_string(&mut out), stderr.read_to_string(&mut err));
    (code.unwrap(), out, err)
}

/// Appends an archive to the guest's initramfs: the kernel unpacks one after the other.
fn lay_agent_over(plan: &mut Plan, dir: &Path) {
    let tree = dir.join("overlay");
    let agent = tree.join("agent");
    std::fs::create_dir_all(&agent).unwrap();
    std::fs::copy(AGENT, agent.join("qemu-ga")).unwrap();
    for library in libraries() {
        let name = library.file_name().unwrap().to_str().unwrap();
        let name = if name.starts_with("ld-linux") { "ld" } else { name };
        std::fs::copy(&library, agent.join(name)).unwrap();
    }
    let script = "find agent | cpio --quiet -o -H newc -R 0:0 | gzip -1";
    let overlay = Command::new("sh").args(["-c", script]).current_dir(&tree).output().unwrap();
    assert!(overlay.status.success(), "{}", String::from_utf8_lossy(&overlay.stderr));
    let Some(Boot::Kernel { initrd: Some(initrd), .. }) = plan.vm.as_mut().map(|vm| &mut vm.boot) else {
        panic!("the tiny guest boots a kernel")
    };
    let mut whole = std::fs::read(&*initrd).unwrap();
    whole.resize(whole.len().next_multiple_of(4), 0);
    whole.extend(overlay.stdout);
    *initrd = dir.join("initrd-with-agent");
    std::fs::write(&*initrd, whole).unwrap();
    allow_passage(dir);
}

/// What the agent is linked with, as the host's own loader finds it.
fn libraries() -> BTreeSet<PathBuf> {
    let listing = Command::new("ldd").arg(AGENT).output().expect("ldd");
    let listing = String::from_utf8(listing.stdout).unwrap();
    listing.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}
