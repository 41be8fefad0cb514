//! A plan as QEMU's command line: a pure function. Whatever could hold a comma is passed as JSON or as an
//! argument of its own, because QEMU splits its `a=b,c=d` options at commas. No path comes from a tenant.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::RawFd;

use driver::{Boot, Plan, VmPlan};
use model::compute::{Firmware, Machine};
use serde_json::{Value, json};

use crate::devices;
use crate::host::{Accelerator, Host};

/// The event QEMU writes to its log when a machine ends; see `outcome`.
pub(crate) const SHUTDOWN_EVENT: &str = "qemu_system_shutdown_request";

/// Numbers of the descriptors that QEMU inherits. It opens no socket, no log and no device node itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Descriptors {
    /// Listening sockets.
    pub(crate) monitor: RawFd,
    pub(crate) events: RawFd,
    pub(crate) console: RawFd,
    pub(crate) guest_agent: RawFd,
    /// Takes what the console says.
    pub(crate) console_log: RawFd,
    /// `/dev/kvm`.
    pub(crate) kvm: Option<RawFd>,
    /// This machine's UEFI variables.
    pub(crate) uefi_variables: Option<RawFd>,
    /// Of the plan's taps, in order.
    pub(crate) taps: Vec<TapDescriptors>,
    /// Of the keys of volumes, by the ids of their objects.
    pub(crate) keys: BTreeMap<String, RawFd>,
}

/// What QEMU gets of one tap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TapDescriptors {
    /// One per queue.
    pub(crate) queues: Vec<RawFd>,
    /// `/dev/vhost-net`, as often as there are queues; none where the kernel has no such thing.
    pub(crate) vhost: Vec<RawFd>,
}

/// Sets of descriptors that QEMU opens by name, as `/dev/fdset/N`.
mod fdset {
    pub(super) const CONSOLE_LOG: u32 = 1;
    pub(super) const KVM: u32 = 2;
    pub(super) const UEFI_VARIABLES: u32 = 3;
}

/// The arguments for one virtual machine.
pub(crate) fn args(plan: &Plan, vm: &VmPlan, host: &Host, fds: &Descriptors) -> Vec<OsString> {
    let mut line = Line::default();
    fixed(&mut line, plan);
    machine(&mut line, plan, vm, host, fds);
    boot(&mut line, vm, host, fds);
    talk(&mut line, fds);
    devices::add(&mut line, vm, fds);
    line.0
}

/// Whether the machine gets a screen: not where a kernel is started directly, which talks on the serial line.
pub(crate) fn has_display(vm: &VmPlan) -> bool {
    matches!(vm.boot, Boot::Firmware(_))
}

/// How much memory the translator of an emulated guest may fill with its translations.
pub(crate) fn translations_mib(plan: &Plan) -> u64 {
    (plan.resources.memory.as_mib() / 8).clamp(32, 512)
}

/// A command line in the making.
#[derive(Debug, Default)]
pub(crate) struct Line(Vec<OsString>);

impl Line {
    fn flag(&mut self, name: &str) {
        self.0.push(name.into());
    }

    pub(crate) fn option(&mut self, name: &str, value: impl Into<OsString>) {
        self.0.push(name.into());
        self.0.push(value.into());
    }

    pub(crate) fn json(&mut self, name: &str, value: Value) {
        self.option(name, value.to_string());
    }
}

/// What every machine has: no defaults, no configuration files, no way to start programs or gain rights.
fn fixed(line: &mut Line, plan: &Plan) {
    let short: String = plan.uid.as_str().chars().take(8).collect();
    line.option("-name", format!("guest={},process=corten-{short}", escape(&plan.label)));
    line.flag("-nodefaults");
    line.flag("-no-user-config");
    line.option("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    line.option("-trace", format!("enable={SHUTDOWN_EVENT}"));
}

fn machine(line: &mut Line, plan: &Plan, vm: &VmPlan, host: &Host, fds: &Descriptors) {
    let flash = if is_uefi(vm) { ",pflash0=uefi-code,pflash1=uefi-variables" } else { "" };
    match vm.machine {
        Machine::Q35 => line.option("-machine", format!("q35,usb=off,vmport=off,smm=off,hpet=off{flash}")),
        // The clock chip, because nothing else tells an emulated guest the time.
        Machine::MicroVm => line.option("-machine", "microvm,rtc=on"),
    }
    match host.accelerator {
        Accelerator::Kvm => {
            let device = fds.kvm.map_or_else(String::new, |fd| {
                let path = descriptor_set(line, fd, fdset::KVM);
                format!(",device={path}")
            });
            line.option("-accel", format!("kvm{device}"));
            line.option("-cpu", "host");
        }
        Accelerator::Tcg => {
            line.option("-accel", format!("tcg,thread=multi,tb-size={}", translations_mib(plan)));
            line.option("-cpu", "max");
        }
    }
    line.option("-smp", plan.resources.cpu.ceil_cores().max(1).to_string());
    line.option("-m", format!("{}M", plan.resources.memory.as_mib()));
    if is_uuid(plan.uid.as_str()) {
        line.option("-uuid", plan.uid.as_str());
    }
    if vm.machine == Machine::Q35 {
        let system = "type=1,manufacturer=Corten,product=Corten Instance";
        line.option("-smbios", format!("{system},serial={}", plan.uid));
    }
}

fn boot(line: &mut Line, vm: &VmPlan, host: &Host, fds: &Descriptors) {
    match &vm.boot {
        Boot::Kernel { kernel, initrd, cmdline } => {
            line.option("-kernel", kernel);
            if let Some(initrd) = initrd {
                line.option("-initrd", initrd);
            }
            if !cmdline.is_empty() {
                line.option("-append", cmdline);
            }
        }
        Boot::Firmware(Firmware::Bios) => {}
        Boot::Firmware(Firmware::Uefi) => {
            if let (Some(firmware), Some(variables)) = (&host.uefi, fds.uefi_variables) {
                let variables = descriptor_set(line, variables, fdset::UEFI_VARIABLES);
                flash(line, "uefi-code", &firmware.code.to_string_lossy(), true);
                flash(line, "uefi-variables", &variables, false);
            }
        }
    }
}

/// A flash chip of the machine, with this file as its content.
fn flash(line: &mut Line, name: &str, path: &str, read_only: bool) {
    let file = json!({ "driver": "file", "filename": path });
    line.json(
        "-blockdev",
        json!({ "node-name": name, "driver": "raw", "read-only": read_only, "file": file }),
    );
}

/// Monitor, events, console and screen, over descriptors that are open already.
fn talk(line: &mut Line, fds: &Descriptors) {
    for (name, fd) in [("monitor", fds.monitor), ("events", fds.events)] {
        line.option("-chardev", format!("socket,id={name},fd={fd},server=on,wait=off"));
        line.option("-mon", format!("chardev={name},mode=control"));
    }
    let log = descriptor_set(line, fds.console_log, fdset::CONSOLE_LOG);
    let log = format!("logfile={log},logappend=on");
    line.option("-chardev", format!("socket,id=console,fd={},server=on,wait=off,{log}", fds.console));
    line.option("-serial", "chardev:console");
    line.option("-chardev", format!("socket,id=guest-agent,fd={},server=on,wait=off", fds.guest_agent));
    line.option("-display", "none");
    // A screen without a socket: whoever may see it is handed over by descriptor.
    line.option("-vnc", "none");
}

/// Makes an inherited descriptor known under a path and returns the path.
fn descriptor_set(line: &mut Line, fd: RawFd, set: u32) -> String {
    line.option("-add-fd", format!("fd={fd},set={set}"));
    format!("/dev/fdset/{set}")
}

fn is_uefi(vm: &VmPlan) -> bool {
    matches!(vm.boot, Boot::Firmware(Firmware::Uefi))
}

/// QEMU's escape for a value in a list of options.
fn escape(value: &str) -> String {
    value.replace(',', ",,")
}

fn is_uuid(uid: &str) -> bool {
    uid.len() == 36 && uid.bytes().enumerate().all(|(i, b)| (b == b'-') == matches!(i, 8 | 13 | 18 | 23))
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
