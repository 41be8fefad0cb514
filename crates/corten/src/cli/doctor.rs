//! `corten doctor`: whether this machine has what a host needs; one line per finding, with the remedy.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use super::cloud::Global;
use super::output::{self, harmless};
use crate::failure::Failure;

/// Least free disk to run at all, and to run well.
const DISK_LEAST: u64 = 2 << 30;
const DISK_GOOD: u64 = 10 << 30;
/// Where programs that keep the clock right leave their traces.
const TIME_KEEPERS: [&str; 4] = [
    "/run/systemd/timesync/synchronized",
    "/run/chrony/chronyd.pid",
    "/run/chrony/chronyd.sock",
    "/run/ntpd.pid",
];

/// Check whether this machine can be a host
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(global: &Global) -> Result<(), Failure> {
    let findings = [
        kvm(),
        program("qemu", "qemu-system-x86_64", "qemu-system-x86", "virtual machines cannot run"),
        program("qemu-img", "qemu-img", "qemu-utils", "disk images cannot be imported"),
        runtime(),
        program("conmon", "conmon", "conmon", "containers cannot run"),
        program("ssh", "ssh-keygen", "openssh-client", "`corten ssh` has no keys"),
        overlay(),
        cgroups(),
        disk(&global.data),
        clock(),
        user(),
    ];
    output::print(&findings.iter().map(Finding::line).collect::<String>())?;
    let failed = findings.iter().filter(|f| f.verdict == Verdict::Fail).count();
    if failed == 0 {
        Ok(())
    } else {
        Err(Failure::failed(format!("{failed} of {} checks failed", findings.len())))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

#[derive(Debug, PartialEq, Eq)]
struct Finding {
    verdict: Verdict,
    what: &'static str,
    says: String,
    remedy: String,
}

impl Finding {
    fn ok(what: &'static str, says: impl Into<String>) -> Self {
        Self { verdict: Verdict::Ok, what, says: says.into(), remedy: String::new() }
    }

    fn warn(what: &'static str, says: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, what, says: says.into(), remedy: remedy.into() }
    }

    fn fail(what: &'static str, says: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, what, says: says.into(), remedy: remedy.into() }
    }

    fn line(&self) -> String {
        let word = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "fail",
        };
        let remedy = if self.remedy.is_empty() { String::new() } else { format!("; {}", self.remedy) };
        format!("{word:<5} {:<9} {}{remedy}\n", self.what, harmless(&self.says))
    }
}

fn kvm() -> Finding {
    let path = Path::new("/dev/kvm");
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if !path.exists() || !virtualizes(&flags) {
        // Nested hypervisors offer the device without the processor's word for it, and then guests hang.
        return Finding::warn(
            "kvm",
            "no hardware virtualization: virtual machines run emulated, and slowly",
            "switch it on in the firmware, or allow nested virtualization",
        );
    }
    match fs::OpenOptions::new().read(true).write(true).open(path) {
        Ok(_) => Finding::ok("kvm", "hardware virtualization"),
        Err(e) => {
            Finding::warn("kvm", format!("/dev/kvm cannot be opened: {e}"), "run as root, or join group kvm")
        }
    }
}

/// Whether `/proc/cpuinfo` has the flag of Intel's or AMD's virtualization.
fn virtualizes(cpuinfo: &str) -> bool {
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm")
}

/// Whether a program is there and says its version.
fn program(what: &'static str, name: &str, package: &str, without: &str) -> Finding {
    let install = format!("apt-get install {package}");
    if find(name).is_none() {
        return Finding::fail(what, format!("there is no {name}: {without}"), install);
    }
    // ssh-keygen has no version to tell, and being there is enough.
    if name == "ssh-keygen" {
        return Finding::ok(what, name);
    }
    let output = Command::new(name).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            Finding::ok(what, text.lines().next().unwrap_or(name))
        }
        Ok(output) => Finding::fail(what, format!("{name} does not start ({})", output.status), install),
        Err(e) => Finding::fail(what, format!("{name} does not start: {e}"), install),
    }
}

/// The runtime that containers would be made by, which may be named by its whole path.
fn runtime() -> Finding {
    let runtime = crate::daemon::oci_runtime();
    program("runtime", &runtime.to_string_lossy(), "crun", "containers cannot run")
}

fn overlay() -> Finding {
    if sys::mount::has_overlay() {
        return Finding::ok("overlay", "containers' files can be laid one above the other");
    }
    let remedy = "take a kernel with CONFIG_OVERLAY_FS";
    Finding::fail("overlay", "this kernel has no overlayfs: containers cannot run", remedy)
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

fn cgroups() -> Finding {
    match sys::cgroup::Cgroups::detect(sys::cgroup::ROOT) {
        Ok(_) => Finding::ok("cgroups", "limits of processor, memory and processes can be held"),
        Err(e) => Finding::fail("cgroups", e.to_string(), "see /proc/cgroups for what this kernel has"),
    }
}

fn disk(data: &Path) -> Finding {
    let existing = data.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/"));
    match sys::disk::free_bytes(existing) {
        Ok(free) => room(free, existing),
        Err(e) => Finding::fail(
            "disk",
            format!("{} cannot be asked: {e}", existing.display()),
            "choose another --data",
        ),
    }
}

fn room(free: u64, at: &Path) -> Finding {
    let says = format!("{:.1} GiB free at {}", free as f64 / f64::from(1 << 30), at.display());
    match free {
        DISK_GOOD.. => Finding::ok("disk", says),
        DISK_LEAST.. => Finding::warn("disk", says, "images and guests want 10 GiB"),
        _ => Finding::fail("disk", says, "make room, or choose another --data"),
    }
}

fn clock() -> Finding {
    let built = std::env::current_exe().and_then(fs::metadata).and_then(|meta| meta.modified());
    if built.is_ok_and(|built| SystemTime::now() < built) {
        return Finding::fail(
            "clock",
            "the clock is behind: this program is from the future",
            "set the time; certificates and tokens are refused otherwise",
        );
    }
    if TIME_KEEPERS.iter().any(|path| Path::new(path).exists()) {
        return Finding::ok("clock", "kept right by the network");
    }
    Finding::warn("clock", "nothing keeps the clock right", "apt-get install systemd-timesyncd or chrony")
}

fn user() -> Finding {
    if nix::unistd::geteuid().is_root() {
        Finding::ok("user", "root")
    } else {
        Finding::warn("user", "not root", "`corten up` and `corten join` need root")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_with_its_remedy() {
        assert_eq!(Finding::ok("kvm", "good").line(), "ok    kvm       good\n");
        assert_eq!(
            Finding::fail("runc", "there is no runc", "get it").line(),
            "fail  runc      there is no runc; get it\n"
        );
    }

    #[test]
    fn verdicts() {
        assert!(virtualizes("processor : 0\nflags\t\t: fpu vme svm sse\n"));
        assert!(!virtualizes("processor : 0\nflags\t\t: fpu vme svm_lock\nmodel name : vmx\n"));
        let at = Path::new("/x");
        assert_eq!(room(20 << 30, at).verdict, Verdict::Ok);
        assert_eq!(room(5 << 30, at).verdict, Verdict::Warn);
        assert_eq!(room(1 << 30, at).verdict, Verdict::Fail);
        let missing = program("x", "no-such-program-here", "x", "nothing works");
        assert_eq!((missing.verdict, missing.remedy.as_str()), (Verdict::Fail, "apt-get install x"));
    }
}
