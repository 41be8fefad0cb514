//! The devices of a virtual machine as QEMU arguments: screen, disks, network cards, and the small ones every
//! guest gets. All of it in JSON, so that no value can end early and start another option.

use driver::{DiskPlan, NicPlan, VmPlan};
use model::compute::Machine;
use serde_json::{Value, json};
use sys::memory_file;

use crate::args::{Descriptors, Line, TapDescriptors, has_display};
use crate::{guest_agent, volumes};

/// Slots into which devices can be plugged while the machine runs.
pub(crate) const HOTPLUG_SLOTS: u32 = 8;

/// Adds every device of the machine.
pub(crate) fn add(line: &mut Line, vm: &VmPlan, fds: &Descriptors) {
    if has_display(vm) {
        line.json("-device", json!({ "driver": "VGA", "id": "screen" }));
    }
    line.json("-device", json!({ "driver": virtio(vm.machine, "rng"), "id": "rng" }));
    line.json(
        "-device",
        json!({ "driver": virtio(vm.machine, "balloon"), "id": "balloon", "free-page-reporting": true }),
    );
    line.json("-device", json!({ "driver": virtio(vm.machine, "serial"), "id": "ports" }));
    line.json(
        "-device",
        json!({ "driver": "virtserialport", "bus": "ports.0", "chardev": "guest-agent", "name": guest_agent::PORT }),
    );
    for (number, disk) in vm.disks.iter().enumerate() {
        add_disk(line, vm, number, disk);
    }
    let mut taps = fds.taps.iter();
    let mut nics = vm.nics.iter().enumerate();
    if let Some((number, first)) = nics.next() {
        add_nic(line, vm.machine, number, first, &mut taps, None);
    }
    if vm.machine == Machine::Q35 {
        for slot in 1..=HOTPLUG_SLOTS {
            let port = json!({ "driver": "pcie-root-port", "id": format!("slot{slot}"), "chassis": slot });
            line.json("-device", port);
        }
    }
    let is_q35 = vm.machine == Machine::Q35;
    let mut slots = (1..=HOTPLUG_SLOTS).filter(|_| is_q35).map(|number| format!("slot{number}"));
    for disk in &vm.volumes {
        add_volume(line, disk, fds);
        // What it boots from is never taken out.
        let slot = if disk.boot { None } else { slots.next() };
        let mut device = volumes::device(disk, virtio(vm.machine, "blk"), slot.as_deref());
        if disk.boot {
            device["bootindex"] = json!(0);
        }
        line.json("-device", device);
    }
    // So that they can be taken out, as far as there are slots.
    for (number, nic) in nics {
        add_nic(line, vm.machine, number, nic, &mut taps, slots.next().as_deref());
    }
}

/// The name of a virtio device on this machine's bus.
pub(crate) fn virtio(machine: Machine, device: &str) -> String {
    match machine {
        Machine::Q35 => format!("virtio-{device}-pci"),
        Machine::MicroVm => format!("virtio-{device}-device"),
    }
}

fn add_disk(line: &mut Line, vm: &VmPlan, number: usize, disk: &DiskPlan) {
    let node = format!("disk{number}");
    line.json("-blockdev", disk.location.node(&node, &node, disk.read_only));
    let mut device = json!({
        "driver": virtio(vm.machine, "blk"),
        "id": format!("{node}-device"),
        "drive": node,
        "serial": disk.serial,
    });
    if number == 0 && has_display(vm) && !vm.boots_from_volume() {
        device["bootindex"] = json!(0);
    }
    line.json("-device", device);
}

/// A volume's block nodes, and its keys.
fn add_volume(line: &mut Line, disk: &DiskPlan, fds: &Descriptors) {
    // The caller saw that none is missing.
    for (id, key) in volumes::keys(disk).unwrap_or_default() {
        if let Some(fd) = fds.keys.get(&id) {
            line.json("-object", key.object_of_file(&id, &memory_file::inherited_path(*fd)));
        }
    }
    line.json("-blockdev", volumes::node(disk));
    if let Some(decrypting) = volumes::key_node(disk) {
        line.json("-blockdev", decrypting);
    }
}

fn add_nic<'a>(
    line: &mut Line,
    machine: Machine,
    number: usize,
    nic: &NicPlan,
    taps: &mut impl Iterator<Item = &'a TapDescriptors>,
    slot: Option<&str>,
) {
    let netdev = format!("nic{number}");
    let (backend, mac, queues) = match nic {
        NicPlan::Tap { mac, .. } => {
            // The caller opened every tap of the plan.
            let Some(tap) = taps.next() else { return };
            (tap_network(&netdev, &tap.queues, &tap.vhost), mac, tap.queues.len())
        }
        NicPlan::User { mac, forwards } => (user_network(&netdev, forwards), mac, 1),
    };
    line.json("-netdev", backend);
    line.json("-device", card_device(machine, &netdev, mac, queues, slot));
}

/// The card that the guest sees.
pub(crate) fn card_device(
    machine: Machine,
    netdev: &str,
    mac: &str,
    queues: usize,
    slot: Option<&str>,
) -> Value {
    let mut device = json!({
        "driver": virtio(machine, "net"),
        "id": format!("{netdev}-device"),
        "netdev": netdev,
        "mac": mac,
    });
    if let Some(slot) = slot {
        device["bus"] = json!(slot);
    }
    if machine == Machine::Q35 {
        // No boot from the network: the instance's disk is what boots, and the ROM costs time.
        device["romfile"] = json!("");
    }
    if queues > 1 {
        device["mq"] = json!(true);
        if machine == Machine::Q35 {
            // Each queue one for either way, one for the configuration and one for the control queue.
            device["vectors"] = json!(2 * queues + 2);
        }
    }
    device
}

/// The host's side of a card at a tap, by the numbers or names of what is open of it.
pub(crate) fn tap_network(id: &str, queues: &[impl ToString], vhost: &[impl ToString]) -> Value {
    let (fd, vhost_fd) = if queues.len() > 1 { ("fds", "vhostfds") } else { ("fd", "vhostfd") };
    let mut backend = json!({ "type": "tap", "id": id });
    backend[fd] = json!(list(queues));
    if !vhost.is_empty() {
        backend["vhost"] = json!(true);
        backend[vhost_fd] = json!(list(vhost));
    }
    backend
}

fn list(of: &[impl ToString]) -> String {
    of.iter().map(ToString::to_string).collect::<Vec<_>>().join(":")
}

/// Restricted, because QEMU's own network would otherwise let the guest reach the host's loopback, where
/// services trust whoever comes.
fn user_network(id: &str, forwards: &[(u16, u16)]) -> Value {
    let forwards: Vec<Value> = forwards
        .iter()
        .map(|(host, guest)| json!({ "str": format!("tcp:127.0.0.1:{host}-:{guest}") }))
        .collect();
    json!({ "type": "user", "id": id, "restrict": true, "hostfwd": forwards })
}
