//! Golden command lines, and the proof that no value can end early.

use std::path::PathBuf;

use driver::{DiskKey, DiskLocation, DiskPlan, NicPlan, RbdImage};
use model::compute::{Cell, Isolation, PayloadKind};
use model::{Bytes, CpuMillis, Resources, Uid};
use proptest::prelude::*;

use super::*;
use crate::host::UefiFirmware;

fn host(accelerator: Accelerator) -> Host {
    let uefi = UefiFirmware { code: "/ovmf/code.fd".into(), variables: "/ovmf/vars.fd".into() };
    Host { version: "10.0.2".into(), accelerator, uefi: Some(uefi), tsc_khz: None }
}

fn descriptors() -> Descriptors {
    Descriptors {
        monitor: 10,
        events: 11,
        console: 12,
        guest_agent: 14,
        console_log: 13,
        kvm: None,
        uefi_variables: None,
        taps: Vec::new(),
        keys: BTreeMap::new(),
    }
}

fn plan(machine: Machine, boot: Boot) -> (Plan, VmPlan) {
    let vm = VmPlan { machine, boot, disks: Vec::new(), volumes: Vec::new(), nics: Vec::new() };
    let plan = Plan {
        uid: Uid::parse("0123abcd-0000-4000-8000-000000000001").unwrap(),
        label: "shop/web".into(),
        cell: Cell::new(Isolation::Vm, PayloadKind::Kernel),
        resources: Resources { cpu: CpuMillis(1500), memory: Bytes::mib(96), disk: Bytes(0) },
        dir: "/sandbox".into(),
        user_id: 70_000,
        vm: None,
        containers: Vec::new(),
        mounts: Vec::new(),
    };
    (plan, vm)
}

fn kernel(cmdline: &str) -> Boot {
    Boot::Kernel { kernel: "/k".into(), initrd: Some("/i".into()), cmdline: cmdline.into() }
}

/// One option per line, as a person would write it.
fn text(args: &[OsString]) -> String {
    let words = args.iter().map(|arg| arg.to_string_lossy());
    words.collect::<Vec<_>>().join(" ").replace(" -", "\n-")
}

#[test]
fn a_microvm_with_a_kernel() {
    let (plan, vm) = plan(Machine::MicroVm, kernel("console=ttyS0"));
    let expected = r#"-name guest=shop/web,process=corten-0123abcd
-nodefaults
-no-user-config
-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
-trace enable=qemu_system_shutdown_request
-machine microvm,rtc=on
-accel tcg,thread=multi,tb-size=32
-cpu max
-smp 2
-m 96M
-uuid 0123abcd-0000-4000-8000-000000000001
-kernel /k
-initrd /i
-append console=ttyS0
-chardev socket,id=monitor,fd=10,server=on,wait=off
-mon chardev=monitor,mode=control
-chardev socket,id=events,fd=11,server=on,wait=off
-mon chardev=events,mode=control
-add-fd fd=13,set=1
-chardev socket,id=console,fd=12,server=on,wait=off,logfile=/dev/fdset/1,logappend=on
-serial chardev:console
-chardev socket,id=guest-agent,fd=14,server=on,wait=off
-display none
-vnc none
-device {"driver":"virtio-rng-device","id":"rng"}
-device {"driver":"virtio-balloon-device","free-page-reporting":true,"id":"balloon"}
-device {"driver":"virtio-serial-device","id":"ports"}
-device {"bus":"ports.0","chardev":"guest-agent","driver":"virtserialport","name":"org.qemu.guest_agent.0"}"#;
    assert_eq!(text(&args(&plan, &vm, &host(Accelerator::Tcg), &descriptors())), expected);
}

/// The key comes in a file that QEMU inherits: everybody on the host may read its arguments.
#[test]
fn an_encrypted_volume_has_a_key_that_is_not_on_the_line() {
    let (plan, mut vm) = plan(Machine::Q35, kernel(""));
    vm.volumes.push(DiskPlan {
        encrypted: true,
        key: Some(DiskKey::new("c2VjcmV0")),
        ..DiskPlan::new(DiskLocation::qcow2("/v.qcow2"), "7")
    });
    let fds = Descriptors { keys: BTreeMap::from([("k-7".into(), 21)]), ..descriptors() };
    let line = text(&args(&plan, &vm, &host(Accelerator::Tcg), &fds));
    let expected = concat!(
        r#"-object {"file":"/proc/self/fd/21","format":"raw","id":"k-7","qom-type":"secret"}"#,
        "\n",
        r#"-blockdev {"discard":"unmap","driver":"qcow2","file":{"discard":"unmap","driver":"file","filename":"/v.qcow2","#,
        r#""locking":"on"},"node-name":"v-7","read-only":false}"#,
        "\n",
        r#"-blockdev {"discard":"unmap","driver":"luks","file":"v-7","key-secret":"k-7","node-name":"k-7"}"#,
    );
    assert!(line.contains(expected), "{line}");
    assert!(line.contains(r#""drive":"k-7""#) && !line.contains("c2VjcmV0"), "{line}");
}

#[test]
fn a_pc_that_boots_its_disk_by_uefi_under_kvm() {
    let (plan, mut vm) = plan(Machine::Q35, Boot::Firmware(Firmware::Uefi));
    vm.disks.push(DiskPlan::new(DiskLocation::qcow2("/d.qcow2"), "vol-1"));
    vm.nics.push(NicPlan::Tap { mac: "02:00:00:00:00:01".into(), device: "tap0".into(), namespace: None });
    vm.nics.push(NicPlan::User { mac: "02:00:00:00:00:02".into(), forwards: vec![(2222, 22)] });
    let fds =
        Descriptors { kvm: Some(17), uefi_variables: Some(15), taps: vec![tap(&[16], &[])], ..descriptors() };
    let line = text(&args(&plan, &vm, &host(Accelerator::Kvm), &fds));
    let expected = [
        "-machine q35,usb=off,vmport=off,smm=off,hpet=off,pflash0=uefi-code,pflash1=uefi-variables",
        "-add-fd fd=17,set=2\n-accel kvm,device=/dev/fdset/2\n-cpu host",
        "-smbios type=1,manufacturer=Corten,product=Corten Instance,\
         serial=0123abcd-0000-4000-8000-000000000001",
        r#"-blockdev {"driver":"raw","file":{"driver":"file","filename":"/ovmf/code.fd"},"node-name":"uefi-code","read-only":true}"#,
        r#"-blockdev {"driver":"raw","file":{"driver":"file","filename":"/dev/fdset/3"},"node-name":"uefi-variables","read-only":false}"#,
        r#"-device {"driver":"VGA","id":"screen"}"#,
        r#"-blockdev {"discard":"unmap","driver":"qcow2","file":{"discard":"unmap","driver":"file","filename":"/d.qcow2","locking":"on"},"node-name":"disk0","read-only":false}"#,
        r#"-device {"bootindex":0,"drive":"disk0","driver":"virtio-blk-pci","id":"disk0-device","serial":"vol-1"}"#,
        r#"-netdev {"fd":"16","id":"nic0","type":"tap"}"#,
        r#"-device {"driver":"virtio-net-pci","id":"nic0-device","mac":"02:00:00:00:00:01","netdev":"nic0","romfile":""}"#,
        r#"-netdev {"hostfwd":[{"str":"tcp:127.0.0.1:2222-:22"}],"id":"nic1","restrict":true,"type":"user"}"#,
        r#"-device {"chassis":4,"driver":"pcie-root-port","id":"slot4"}"#,
    ];
    for part in expected {
        assert!(line.contains(part), "{part}\nis not in\n{line}");
    }
}

/// A volume in a Ceph cluster: its own block node, and the cluster's key in a file that QEMU inherits.
#[test]
fn a_volume_of_a_cluster_is_opened_with_the_cluster_s_key() {
    let (plan, mut vm) = plan(Machine::Q35, kernel(""));
    let image = RbdImage {
        conf: "/etc/ceph/ceph.conf".into(),
        user: "corten".into(),
        pool: "vms".into(),
        image: "an,image".into(),
        snapshot: None,
        key: Some(DiskKey::of_ceph("c2VjcmV0")),
    };
    vm.volumes.push(DiskPlan::new(DiskLocation::Rbd(image), "7"));
    let fds = Descriptors { keys: BTreeMap::from([("p-7".into(), 21)]), ..descriptors() };
    let line = text(&args(&plan, &vm, &host(Accelerator::Tcg), &fds));
    let expected = concat!(
        r#"-object {"file":"/proc/self/fd/21","format":"base64","id":"p-7","qom-type":"secret"}"#,
        "\n",
        r#"-blockdev {"discard":"unmap","driver":"raw","file":{"conf":"/etc/ceph/ceph.conf","discard":"unmap","#,
        r#""driver":"rbd","image":"an,image","key-secret":"p-7","pool":"vms","user":"corten"},"#,
        r#""node-name":"v-7","read-only":false}"#,
    );
    assert!(line.contains(expected), "{line}");
    assert!(line.contains(r#""drive":"v-7""#) && !line.contains("c2VjcmV0"), "{line}");
}

fn tap(queues: &[RawFd], vhost: &[RawFd]) -> TapDescriptors {
    TapDescriptors { queues: queues.to_vec(), vhost: vhost.to_vec() }
}

#[test]
fn a_card_has_a_queue_per_core() {
    let (plan, mut vm) = plan(Machine::Q35, Boot::Firmware(Firmware::Bios));
    vm.nics.push(NicPlan::Tap { mac: "02:00:00:00:00:01".into(), device: "tap0".into(), namespace: None });
    let fds = Descriptors { taps: vec![tap(&[16, 17], &[18, 19])], ..descriptors() };
    let line = text(&args(&plan, &vm, &host(Accelerator::Tcg), &fds));
    for part in [
        r#"-netdev {"fds":"16:17","id":"nic0","type":"tap","vhost":true,"vhostfds":"18:19"}"#,
        r#""mac":"02:00:00:00:00:01","mq":true,"netdev":"nic0","romfile":"","vectors":6}"#,
    ] {
        assert!(line.contains(part), "{part}\nis not in\n{line}");
    }
}

proptest! {
    /// Whatever the names are, QEMU reads the same options with the same keys, and the values come back whole.
    #[test]
    fn no_value_ends_early(
        label in "[ -~é]{0,30}",
        cmdline in "[ -~]{1,60}",
        path in "/[ -~é]{0,30}",
        serial in "[ -~]{0,20}",
        mac in "[ -~]{0,17}",
    ) {
        let (mut plan, mut vm) = plan(Machine::Q35, kernel(&cmdline));
        plan.label.clone_from(&label);
        let path = PathBuf::from(path);
        vm.disks.push(DiskPlan { read_only: true, ..DiskPlan::new(DiskLocation::raw(&path), serial.clone()) });
        vm.nics.push(NicPlan::User { mac: mac.clone(), forwards: Vec::new() });
        let line = args(&plan, &vm, &host(Accelerator::Tcg), &descriptors());
        let value = |option: &str, nth: usize| {
            let at = line.iter().enumerate().filter(|(_, arg)| *arg == option).nth(nth).unwrap().0;
            line[at + 1].to_str().unwrap()
        };
        let json = |option: &str, nth: usize| serde_json::from_str::<Value>(value(option, nth)).unwrap();

        let name = options(value("-name", 0));
        prop_assert_eq!(name, [("guest".into(), label), ("process".into(), "corten-0123abcd".into())]);
        prop_assert_eq!(value("-append", 0), cmdline);
        prop_assert_eq!(&json("-blockdev", 0)["file"]["filename"], &json!(path));
        prop_assert_eq!(&json("-device", 4)["serial"], &json!(serial));
        prop_assert_eq!(&json("-device", 5)["mac"], &json!(mac));
    }
}

/// QEMU's own reading of `a=b,c=d`, where `,,` is a comma.
fn options(text: &str) -> Vec<(String, String)> {
    let mut fields = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ',' if chars.peek() == Some(&',') => {
                chars.next();
                fields.last_mut().unwrap().push(',');
            }
            ',' => fields.push(String::new()),
            c => fields.last_mut().unwrap().push(c),
        }
    }
    fields
        .into_iter()
        .map(|field| {
            field.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())).unwrap_or((field, String::new()))
        })
        .collect()
}
