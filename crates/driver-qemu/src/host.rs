//! What this host offers to virtual machines, found out by trying: QEMU's version, whether KVM really runs
//! guests, which UEFI firmware is installed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use driver::DriverError;
use sys::command::CommandError;

use crate::QemuOptions;

/// How long QEMU may take to tell its version.
const VERSION_MAX: Duration = Duration::from_secs(30);
/// How long the probe guest may take under KVM; it needs about half a second even when emulated.
const PROBE_MAX: Duration = Duration::from_secs(10);
/// Where distributions keep the UEFI firmware (code, template of the variables), best first.
const UEFI: [(&str, &str); 4] = [
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
];

/// The host as the arguments of a virtual machine depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) version: String,
    pub(crate) accelerator: Accelerator,
    pub(crate) uefi: Option<UefiFirmware>,
    /// How fast the processor's clock ticks, which emulated guests see unchanged.
    pub(crate) tsc_khz: Option<u64>,
}

/// Who executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accelerator {
    /// The processor.
    Kvm,
    /// QEMU, translating them.
    Tcg,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UefiFirmware {
    pub(crate) code: PathBuf,
    /// Copied for every virtual machine.
    pub(crate) variables: PathBuf,
}

impl Accelerator {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

impl Host {
    pub(crate) async fn probe(options: &QemuOptions) -> Result<Self, DriverError> {
        let version = version(&options.program).await?;
        let accelerator = if has_virtualization() && runs_guests(&options.program, Accelerator::Kvm).await {
            Accelerator::Kvm
        } else {
            Accelerator::Tcg
        };
        // Measured now, because it takes a while and a start must not wait for it.
        let tsc_khz = tokio::task::spawn_blocking(sys::tsc::tsc_khz).await.ok().flatten();
        Ok(Self { version, accelerator, uefi: find_uefi(), tsc_khz })
    }
}

async fn version(program: &Path) -> Result<String, DriverError> {
    let text = sys::command::run(program, ["--version"], VERSION_MAX).await.map_err(|e| match e {
        CommandError::Missing { program } => DriverError::Unsupported {
            driver: crate::NAME,
            what: format!("run virtual machines: {program} is missing; install qemu-system-x86"),
        },
        e => DriverError::failed("asking qemu for its version", e),
    })?;
    Ok(parse_version(&String::from_utf8_lossy(&text)))
}

/// `QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)` holds `10.0.2`.
fn parse_version(text: &str) -> String {
    text.split_whitespace().skip_while(|word| *word != "version").nth(1).unwrap_or("unknown").to_owned()
}

/// Whether the processor says that it can. Nested hypervisors offer `/dev/kvm` without saying so, and then
/// stock guests hang in it.
fn has_virtualization() -> bool {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = cpu.lines().find_map(|line| line.strip_prefix("flags")).unwrap_or_default();
    flags.split_ascii_whitespace().any(|flag| flag == "vmx" || flag == "svm")
        && Path::new("/dev/kvm").exists()
}

/// Whether a guest really runs to its end: the firmware itself, which looks for something to boot, finds
/// nothing, and resets, at which QEMU exits.
async fn runs_guests(program: &Path, accelerator: Accelerator) -> bool {
    let cpu = if accelerator == Accelerator::Kvm { "host" } else { "max" };
    let args = [
        ["-machine", "q35"],
        ["-accel", accelerator.as_str()],
        ["-cpu", cpu],
        ["-m", "32M"],
        ["-display", "none"],
        ["-action", "reboot=shutdown"],
        ["-boot", "reboot-timeout=1"],
    ];
    let args = args.iter().flatten().copied().chain(["-nodefaults", "-no-user-config"]);
    match sys::command::run(program, args, PROBE_MAX).await {
        Ok(_) => true,
        Err(e) => {
            tracing::warn!(accelerator = accelerator.as_str(), error = %e, "probe guest did not run");
            false
        }
    }
}

fn find_uefi() -> Option<UefiFirmware> {
    UEFI.iter()
        .map(|(code, variables)| UefiFirmware { code: code.into(), variables: variables.into() })
        .find(|firmware| firmware.code.exists() && firmware.variables.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_out_of_the_distribution_s_text() {
        let text = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright (c) 2003-2025";
        assert_eq!(parse_version(text), "10.0.2");
        assert_eq!(parse_version("something else"), "unknown");
    }

    #[tokio::test]
    async fn the_probe_guest_runs_where_guests_run() {
        let program = crate::QemuOptions::new("/nowhere").program;
        assert!(runs_guests(&program, Accelerator::Tcg).await, "is qemu-system-x86 installed?");
        assert!(!runs_guests(Path::new("/nowhere/qemu"), Accelerator::Tcg).await);
    }
}
