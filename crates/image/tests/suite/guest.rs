//! The tiny guest, built and booted: on `q35`, on `microvm` and from its disk, told who it is by a seed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use image::build::{Packages, Tiny, tiny, tiny_disk};
use image::{Digest, Seed};

/// Longer than any boot takes, even on a machine that is busy with something else.
const PATIENCE: &str = "240";

#[test]
fn tiny_boots_on_every_machine_with_its_seed() {
    let dir = tempfile::tempdir().unwrap();
    // Kept between runs: packages are verified against apt's index each time.
    let packages = Packages::open(std::env::temp_dir().join("corten-test-packages")).unwrap();
    let tiny = tiny(dir.path(), &packages).unwrap();
    let disk = tiny_disk(&tiny, dir.path()).unwrap();
    let seed = Seed {
        instance_id: "i-1".into(),
        hostname: "probe".into(),
        public_keys: vec!["ssh-ed25519 AAAAkey me@home".into()],
        user_data: b"#!/bin/sh\necho \"user data: $(hostname) $(cat /root/.ssh/authorized_keys)\"\n".to_vec(),
        network_config: None,
    };
    let seed_path = dir.path().join("seed.img");
    fs::write(&seed_path, seed.image().unwrap()).unwrap();

    // Under emulation a microvm cannot always measure its clock: see `tsc_khz`.
    let khz = sys::tsc::tsc_khz().unwrap();
    let told = Tiny { cmdline: format!("{} tsc_early_khz={khz}", tiny.cmdline), ..tiny.clone() };
    for (machine, bus, boot) in [
        ("q35", "pci", kernel(&tiny)),
        ("microvm", "device", kernel(&told)),
        ("q35", "pci", from_disk(&disk)),
    ] {
        let log = console(machine, bus, &boot, &seed_path).join("\n");
        let greeting = format!("corten tiny: init on Linux {}", tiny.kernel_version);
        assert!(log.contains(&greeting), "{machine} {boot:?}: {log}");
        assert!(log.contains("corten tiny: READY 10.0.2.15"), "{machine} {boot:?}: {log}");
        assert!(log.contains("user data: probe ssh-ed25519 AAAAkey me@home"), "{machine} {boot:?}: {log}");
    }
}

#[test]
fn equal_packages_make_equal_guests() {
    let dir = tempfile::tempdir().unwrap();
    let packages = Packages::open(dir.path().join("packages")).unwrap();
    let build = |name: &str| {
        let tiny = tiny(&dir.path().join(name), &packages).unwrap();
        [tiny.kernel, tiny.initrd].map(|path| Digest::of_file(&path).unwrap())
    };
    assert_eq!(build("one"), build("two"));
}

/// QEMU's arguments that start a kernel directly.
fn kernel(tiny: &Tiny) -> Vec<String> {
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    ["-kernel".into(), path(&tiny.kernel), "-initrd".into(), path(&tiny.initrd)]
        .into_iter()
        .chain(["-append".into(), tiny.cmdline.clone()])
        .collect()
}

/// QEMU's arguments that start from a disk.
fn from_disk(disk: &Path) -> Vec<String> {
    let drive = format!("if=none,id=disk,format=qcow2,snapshot=on,file={}", disk.display());
    ["-drive", &drive, "-device", "virtio-blk-pci,drive=disk,bootindex=1"].map(str::to_owned).into()
}

/// The lines of the console, up to the one the user data prints.
fn console(machine: &str, bus: &str, boot: &[String], seed: &Path) -> Vec<String> {
    let mut qemu = Qemu(
        Command::new("timeout")
            .args([
                PATIENCE,
                "qemu-system-x86_64",
                "-machine",
                &format!("{machine},accel=tcg"),
                "-cpu",
                "max",
            ])
            .args(["-m", "128", "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio"])
            .args(["-netdev", "user,id=net,restrict=on", "-device", &format!("virtio-net-{bus},netdev=net")])
            .args(["-drive", &format!("if=none,id=seed,format=raw,readonly=on,file={}", seed.display())])
            .args(["-device", &format!("virtio-blk-{bus},drive=seed")])
            .args(boot)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut lines = Vec::new();
    for line in BufReader::new(qemu.0.stdout.take().unwrap()).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        let is_last = line.starts_with("user data: ");
        lines.push(line);
        if is_last {
            break;
        }
    }
    lines
}

/// Ends with the test, however it ends.
struct Qemu(Child);

impl Drop for Qemu {
    fn drop(&mut self) {
        // `timeout` passes the signal on; killed itself, it could not.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}
