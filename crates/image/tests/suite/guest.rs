//! The tiny guest, built and booted: on `q35`, on `microvm` and from its disk, told who it is by a seed.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use image::build::{Packages, Tiny, tiny, tiny_disk};
use image::{Digest, Seed};

/// Longer than any boot takes, even on a machine that is busy with something else.
const PATIENCE: &str = "240";
/// Says who the guest thinks it is.
const USER_DATA: &str = "#!/bin/sh\necho \"user data: $(hostname) $(cat /root/.ssh/authorized_keys)\"\n";

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
        user_data: USER_DATA.into(),
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
        let log = console(machine, bus, &[boot.clone(), seeded(bus, &seed_path)].concat()).join("\n");
        let greeting = format!("corten tiny: init on Linux {}", tiny.kernel_version);
        assert!(log.contains(&greeting), "{machine} {boot:?}: {log}");
        assert!(log.contains("corten tiny: READY 10.0.2.15"), "{machine} {boot:?}: {log}");
        assert!(log.contains("user data: probe ssh-ed25519 AAAAkey me@home"), "{machine} {boot:?}: {log}");
    }
}

#[test]
fn without_a_seed_tiny_asks_the_metadata_service() {
    let dir = tempfile::tempdir().unwrap();
    let packages = Packages::open(std::env::temp_dir().join("corten-test-packages")).unwrap();
    let tiny = tiny(dir.path(), &packages).unwrap();
    let port = metadata_service();
    // The user-mode network's own addresses are moved to where the service has to be.
    let network = format!(
        "user,id=net,restrict=on,net=169.254.169.0/24,dhcpstart=169.254.169.15,\
         guestfwd=tcp:169.254.169.254:80-cmd:busybox nc 127.0.0.1 {port}"
    );
    let arguments = [kernel(&tiny), vec!["-netdev".into(), network]].concat();
    let log = console("q35", "pci", &arguments).join("\n");
    assert!(log.contains("corten tiny: metadata service 169.254.169.254"), "{log}");
    assert!(log.contains("corten tiny: READY 169.254.169.15"), "{log}");
    assert!(log.contains("user data: probe ssh-ed25519 AAAAkey me@home"), "{log}");
}

/// EC2's metadata service, version 2, for one guest; returns its port on loopback.
fn metadata_service() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let request: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let has_token = request.contains(&"X-aws-ec2-metadata-token: secret".to_owned());
            let body = match request.first().map_or("", |line| line.rsplit_once(' ').unwrap().0) {
                "PUT /latest/api/token" => Some("secret"),
                _ if !has_token => None,
                "GET /latest/meta-data/local-hostname" => Some("probe.corten.internal"),
                "GET /latest/meta-data/public-keys/" => Some("0=me"),
                "GET /latest/meta-data/public-keys/0/openssh-key" => Some("ssh-ed25519 AAAAkey me@home"),
                "GET /latest/user-data" => Some(USER_DATA),
                _ => None,
            };
            let answer = match body {
                Some(body) => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
                None => "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n".into(),
            };
            let _ = (&stream).write_all(answer.as_bytes());
        }
    });
    port
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

/// QEMU's arguments for a network and a seed disk.
fn seeded(bus: &str, seed: &Path) -> Vec<String> {
    let drive = format!("if=none,id=seed,format=raw,readonly=on,file={}", seed.display());
    let device = format!("virtio-blk-{bus},drive=seed");
    ["-netdev", "user,id=net,restrict=on", "-drive", &drive, "-device", &device].map(str::to_owned).into()
}

/// The lines of the console, up to the one the user data prints.
fn console(machine: &str, bus: &str, arguments: &[String]) -> Vec<String> {
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
            .args(arguments)
            .args(["-device", &format!("virtio-net-{bus},netdev=net")])
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
