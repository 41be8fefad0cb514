//! Everything that is said to boot, boots, with the devices of its plan.

use std::time::Duration;

use driver::{Boot, ComputeDriver, DiskFormat, DiskLocation, DiskPlan, NicPlan};
use model::compute::{Cell, Firmware, Isolation, Machine, PayloadKind};
use model::{Bytes, CpuMillis};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bench::{Host, console_says, prompt, tiny, tiny_disk};

#[tokio::test(flavor = "multi_thread")]
async fn a_pc_starts_a_kernel_and_shows_it_its_disks_and_network() {
    let host = Host::new(Machine::Q35);
    let driver = host.driver();
    let mut plan = host.kernel_plan(&tiny().cmdline);
    let disks = [("raw,1.img", DiskFormat::Raw, "raw-1"), ("two.qcow2", DiskFormat::Qcow2, "qcow2-2")];
    let vm = plan.vm.as_mut().unwrap();
    for (name, format, serial) in disks {
        let path = plan.dir.join(name);
        let word = if format == DiskFormat::Raw { "raw" } else { "qcow2" };
        sys::command::run(
            "qemu-img",
            ["create".as_ref(), "-f".as_ref(), word.as_ref(), path.as_os_str(), "8M".as_ref()],
            Duration::from_secs(30),
        )
        .await
        .unwrap();
        vm.disks.push(DiskPlan::new(DiskLocation::File { path, format }, serial));
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    vm.nics.push(NicPlan::User { mac: "02:00:00:00:00:07".into(), forwards: vec![(port, 22)] });

    driver.ensure(&plan).await.unwrap();
    console_says(&driver, &plan.uid, "READY 10.0.2.15").await;
    let mut console = driver.console().unwrap().attach(&plan.uid).await.unwrap();
    prompt(&mut console).await;
    console.write_all(b"cat /sys/block/vda/serial; echo; cat /sys/block/vdb/serial\n").await.unwrap();
    console_says(&driver, &plan.uid, "raw-1\r\nqcow2-2").await;
    console.write_all(b"dd if=/dev/zero of=/dev/vdb bs=1M count=1 && echo wro''te\n").await.unwrap();
    console_says(&driver, &plan.uid, "wrote").await;

    let in_use = driver.console().unwrap().attach(&plan.uid).await.err().unwrap();
    assert!(in_use.to_string().contains("is in use"), "{in_use}");
    drop(console);

    let mut banner = [0; 8];
    TcpStream::connect(("127.0.0.1", port)).await.unwrap().read_exact(&mut banner).await.unwrap();
    assert_eq!(&banner, b"SSH-2.0-", "the forwarded port reaches the guest's ssh");

    let screen = driver.display().unwrap().vnc(&plan.uid).await.err().unwrap();
    assert!(screen.to_string().contains("no screen"), "{screen}");
    driver.delete(&plan.uid).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pc_boots_its_disk_by_bios_and_shows_its_screen() {
    let host = Host::new(Machine::Q35);
    let driver = host.driver();
    let mut plan = host.kernel_plan("");
    plan.cell = Cell::new(Isolation::Vm, PayloadKind::Disk);
    plan.resources.memory = Bytes::mib(128);
    plan.resources.cpu = CpuMillis(1500);
    let disk = plan.dir.join("root.qcow2");
    std::fs::copy(tiny_disk(), &disk).unwrap();
    let vm = plan.vm.as_mut().unwrap();
    vm.boot = Boot::Firmware(Firmware::Bios);
    vm.disks.push(DiskPlan::new(DiskLocation::qcow2(disk), "root"));

    driver.ensure(&plan).await.unwrap();
    let mut screen = driver.display().unwrap().vnc(&plan.uid).await.unwrap();
    let mut greeting = [0; 12];
    screen.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"RFB 003.008\n");
    console_says(&driver, &plan.uid, "corten tiny: READY").await;
    driver.delete(&plan.uid).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn uefi_runs_with_variables_of_its_own() {
    let host = Host::new(Machine::Q35);
    let driver = host.driver();
    let mut plan = host.kernel_plan("");
    plan.resources.memory = Bytes::mib(256);
    let disk = plan.dir.join("root.img");
    std::fs::File::create(&disk).unwrap().set_len(1 << 20).unwrap();
    let vm = plan.vm.as_mut().unwrap();
    vm.boot = Boot::Firmware(Firmware::Uefi);
    vm.disks.push(DiskPlan { read_only: true, ..DiskPlan::new(DiskLocation::raw(disk), "root") });

    driver.ensure(&plan).await.unwrap();
    // The boot manager names the disk it tries: the firmware works and sees it.
    console_says(&driver, &plan.uid, "BdsDxe").await;
    assert!(plan.dir.join("qemu/uefi-variables.fd").exists());
    driver.delete(&plan.uid).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_work_says_so_before_anything_is_made() {
    let host = Host::new(Machine::MicroVm);
    let driver = host.driver();
    let mut plan = host.kernel_plan("");
    plan.vm.as_mut().unwrap().boot = Boot::Firmware(Firmware::Bios);
    let error = driver.ensure(&plan).await.unwrap_err();
    assert_eq!(error.to_string(), "qemu cannot boot a microvm from a disk: give it a kernel");
    assert!(driver.list().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_is_told_in_qemu_s_own_words() {
    let host = Host::new(Machine::MicroVm);
    let driver = host.driver();
    let mut plan = host.kernel_plan("");
    let missing = plan.dir.join("missing.img");
    plan.vm
        .as_mut()
        .unwrap()
        .disks
        .push(DiskPlan { read_only: true, ..DiskPlan::new(DiskLocation::raw(&missing), "") });
    let error = driver.ensure(&plan).await.unwrap_err().to_string();
    assert!(error.contains("Could not open") && error.contains("missing.img"), "{error}");
    std::fs::File::create(&missing).unwrap().set_len(1 << 20).unwrap();
    driver.ensure(&plan).await.expect("the next try, with the disk there");
    driver.delete(&plan.uid).await.unwrap();
}
