//! The tiny guest, built and booted: on `q35` and on `microvm`, told who it is by a seed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use image::Seed;
use image::build::{Packages, Tiny, tiny};

/// Longer than any boot takes, even on a machine that is busy with something else.
const PATIENCE: &str = "240";

#[test]
fn tiny_boots_on_q35_and_on_microvm_with_its_seed() {
    let dir = tempfile::tempdir().unwrap();
    // Kept between runs: packages are verified against apt's index each time.
    let packages = Packages::open(std::env::temp_dir().join("corten-test-packages")).unwrap();
    let tiny = tiny(dir.path(), &packages).unwrap();
    let seed = Seed {
        instance_id: "i-1".into(),
        hostname: "probe".into(),
        public_keys: vec!["ssh-ed25519 AAAAkey me@home".into()],
        user_data: b"#!/bin/sh\necho \"user data: $(hostname) $(cat /root/.ssh/authorized_keys)\"\n".to_vec(),
        network_config: None,
    };
    let seed_path = dir.path().join("seed.img");
    fs::write(&seed_path, seed.image().unwrap()).unwrap();

    for (machine, bus) in [("q35", "pci"), ("microvm", "device")] {
        let lines = boot(&tiny, &seed_path, machine, bus);
        let log = lines.join("\n");
        let greeting = format!("corten tiny: init on Linux {}", tiny.kernel_version);
        assert!(log.contains(&greeting), "{machine}: {log}");
        assert!(log.contains("corten tiny: READY 10.0.2.15"), "{machine}: {log}");
        assert!(log.contains("user data: probe ssh-ed25519 AAAAkey me@home"), "{machine}: {log}");
    }
}

/// The lines of the console, up to the one the user data prints.
fn boot(tiny: &Tiny, seed: &Path, machine: &str, bus: &str) -> Vec<String> {
    let mut cmdline = tiny.cmdline.clone();
    if machine == "microvm" {
        cmdline += &format!(" tsc_early_khz={}", host_khz());
    }
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
            .args(["-kernel".as_ref(), tiny.kernel.as_os_str(), "-initrd".as_ref(), tiny.initrd.as_os_str()])
            .args(["-append", &cmdline])
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

/// A microvm has no timer but the PIT to measure the TSC with, and under emulation on a busy host that
/// measurement fails now and then: the kernel then waits for ever. Told the frequency, it does not measure.
fn host_khz() -> u64 {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap();
    let mhz = info.lines().find_map(|line| line.strip_prefix("cpu MHz")?.split(": ").nth(1)).unwrap();
    (mhz.parse::<f64>().unwrap() * 1000.0) as u64
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
