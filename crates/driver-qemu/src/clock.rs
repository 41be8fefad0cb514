//! The clock of an emulated microvm: it has no timer that Linux could measure the processor's clock with but
//! one that is too coarse on a busy host, and then Linux hangs at boot. So it is told.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use ::driver::{Boot, VmPlan};
use model::compute::Machine;

use crate::host::{Accelerator, Host};

/// The parameter of Linux that tells it.
const PARAMETER: &str = "tsc_early_khz";

/// The machine as it should be started: its kernel's command line says how fast the clock ticks, if that is a
/// Linux and nobody said it before. Other kernels take their command line for their own.
pub(crate) fn tell<'a>(vm: &'a VmPlan, host: &Host) -> io::Result<Cow<'a, VmPlan>> {
    let Boot::Kernel { kernel, cmdline, .. } = &vm.boot else { return Ok(Cow::Borrowed(vm)) };
    let knows = host.accelerator == Accelerator::Kvm || cmdline.contains(PARAMETER);
    if vm.machine != Machine::MicroVm || knows || !is_linux(kernel)? {
        return Ok(Cow::Borrowed(vm));
    }
    let Some(khz) = host.tsc_khz else { return Ok(Cow::Borrowed(vm)) };
    // In front, because what stands behind `--` goes to the first process.
    let told = format!("{PARAMETER}={khz} {cmdline}");
    let mut vm = vm.clone();
    if let Boot::Kernel { cmdline, .. } = &mut vm.boot {
        *cmdline = told;
    }
    Ok(Cow::Owned(vm))
}

/// Whether a file is a Linux kernel by x86's boot protocol (Documentation/arch/x86/boot.rst).
fn is_linux(kernel: &Path) -> io::Result<bool> {
    let mut file = File::open(kernel)?;
    file.seek(SeekFrom::Start(0x202))?;
    let mut magic = [0; 4];
    match file.read_exact(&mut magic) {
        Ok(()) => Ok(&magic == b"HdrS"),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kernel: &[u8], machine: Machine, accelerator: Accelerator, cmdline: &str) -> bool {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kernel");
        std::fs::write(&path, kernel).unwrap();
        let boot = Boot::Kernel { kernel: path, initrd: None, cmdline: cmdline.to_owned() };
        let vm = VmPlan { machine, boot, disks: Vec::new(), volumes: Vec::new(), nics: Vec::new() };
        let host = Host { version: String::new(), accelerator, uefi: None, tsc_khz: Some(2_000_000) };
        let told = tell(&vm, &host).unwrap();
        let Boot::Kernel { cmdline: told, .. } = &told.boot else { unreachable!("a kernel stays one") };
        assert!(told.ends_with(cmdline), "{told}");
        told.starts_with("tsc_early_khz=2000000 ") && told != cmdline
    }

    #[test]
    fn only_an_emulated_microvm_s_linux_is_told() {
        let mut linux = vec![0; 0x202];
        linux.extend(b"HdrS");
        let (micro, tcg) = (Machine::MicroVm, Accelerator::Tcg);
        assert!(check(&linux, micro, tcg, "quiet -- sh"));
        assert!(!check(&linux, micro, Accelerator::Kvm, "quiet"));
        assert!(!check(&linux, Machine::Q35, tcg, "quiet"));
        assert!(!check(&linux, micro, tcg, "tsc_early_khz=5 quiet"), "said already");
        assert!(!check(b"\x7fELF", micro, tcg, "hello"), "a unikernel");
    }
}
