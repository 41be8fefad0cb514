//! What a guest that has taken over its QEMU would find: nothing.

use driver::ComputeDriver;
use model::compute::Machine;

use crate::bench::{Host, SHELL};

#[tokio::test(flavor = "multi_thread")]
async fn the_process_is_nobody_and_confined() {
    let host = Host::new(Machine::Q35);
    let driver = host.driver();
    let plan = host.kernel_plan(SHELL);
    let pid = driver.ensure(&plan).await.unwrap().pid.unwrap();
    let proc = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let status = proc("status");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
    };
    let id = plan.user_id;
    assert_eq!(field("Uid:"), format!("{id} {id} {id} {id}"));
    assert_eq!(field("Gid:"), format!("{id} {id} {id} {id}"));
    assert_eq!(field("Groups:"), "");
    assert_eq!(field("CapEff:"), "0000000000000000");
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Seccomp:"), "2", "a filter of system calls");
    assert_eq!(
        proc("environ").replace('\0', ""),
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    );
    let group = format!("corten/qemu-{}", plan.uid);
    assert!(proc("cgroup").lines().any(|line| line.contains(":memory:") || line.starts_with("0:")));
    assert!(proc("cgroup").contains(&group), "{}", proc("cgroup"));
    let usage = sys::cgroup::Cgroups::detect(sys::cgroup::ROOT)
        .unwrap()
        .group(&format!("qemu-{}", plan.uid))
        .unwrap()
        .usage();
    let usage = usage.unwrap();
    assert!(usage.memory_bytes > 0 && usage.cpu_nanos > 0, "{usage:?}");
    // Of the files of its sandbox the process holds its sockets and the console's log, and nothing else of ours.
    let open: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
        .map(|to| to.display().to_string())
        .filter(|to| to.starts_with(&host.path().display().to_string()))
        .collect();
    assert!(open.iter().all(|to| to.ends_with("/console.log") || to.ends_with("/qemu.log")), "{open:?}");
    driver.delete(&plan.uid).await.unwrap();
}
