//! How long a sandbox takes to run, beside `runc run --detach` of the very same configuration; pairs in turn.
//!
//! `cargo run --release -p driver-oci --example start [PAIRS]`, as root. The peer's root is mounted beforehand.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use driver::{ComputeDriver, ContainerPlan, Plan};
use driver_oci::{OciDriver, OciOptions};
use model::compute::{Cell, Isolation, PayloadKind};
use model::{Bytes, CpuMillis, Resources, Uid};
use sys::mount::{self, Overlay};

type Error = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let pairs: u8 = std::env::args().nth(1).map_or(Ok(10), |text| text.parse())?;
    let folder = tempfile::tempdir()?;
    let archive = folder.path().join("busybox.oci");
    image::oci::build::busybox(&archive)?;
    let layers =
        image::oci::unpack(&archive, &folder.path().join("layers"), &image::oci::Limits::default())?.layers;
    let options = OciOptions {
        run_dir: folder.path().join("run"),
        cgroup: format!("corten-bench-{}", std::process::id()),
        ..OciOptions::default()
    };
    let driver = OciDriver::new(options.clone())?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for number in 0..pairs {
        let uid = Uid::from_random([number; 16]);
        let dir = folder.path().join(uid.as_str());
        std::fs::create_dir(&dir)?;
        let plan = plan(uid, dir, layers.clone());

        let start = Instant::now();
        driver.ensure(&plan).await?;
        ours.push(start.elapsed());
        let config = options.run_dir.join(format!("sandboxes/{}/containers/main/config.json", plan.uid));
        let config = std::fs::read_to_string(config)?;
        if number == 0 {
            memory(folder.path())?;
        }
        driver.delete(&plan.uid).await?;

        theirs.push(bare(&folder.path().join(format!("bare{number}")), &config, &plan)?);
    }
    report("driver", &mut ours);
    report("runc  ", &mut theirs);
    println!(
        "ratio of medians {:.2}",
        ours[ours.len() / 2].as_secs_f64() / theirs[theirs.len() / 2].as_secs_f64()
    );
    Ok(())
}

fn plan(uid: Uid, dir: std::path::PathBuf, layers: Vec<std::path::PathBuf>) -> Plan {
    Plan {
        label: format!("bench/{uid}"),
        cell: Cell::new(Isolation::Namespace, PayloadKind::Containers),
        resources: Resources { cpu: CpuMillis(1000), memory: Bytes::mib(64), disk: Bytes(0) },
        user_id: 100_000,
        vm: None,
        containers: vec![ContainerPlan {
            name: "main".to_owned(),
            layers,
            argv: ["sleep", "1000"].map(str::to_owned).to_vec(),
            env: Vec::new(),
            working_dir: String::new(),
            user: String::new(),
            tty: false,
        }],
        mounts: Vec::new(),
        dir,
        uid,
    }
}

/// The same configuration with namespaces of its own instead of those that were made for it.
fn bare(bundle: &Path, config: &str, plan: &Plan) -> Result<Duration, Error> {
    let [upper, work, rootfs] = ["upper", "work", "rootfs"].map(|name| bundle.join(name));
    for folder in [&upper, &work, &rootfs] {
        std::fs::create_dir_all(folder)?;
    }
    let overlay = Overlay { lower: &plan.containers[0].layers, upper: &upper, work: &work };
    mount::overlay(overlay, &rootfs)?;
    let mut config: serde_json::Value = serde_json::from_str(config)?;
    config["root"]["path"] = "rootfs".into();
    let id = bundle.file_name().and_then(|name| name.to_str()).unwrap_or("bare").to_owned();
    config["linux"]["cgroupsPath"] = format!("/corten-bench/{id}").into();
    for namespace in config["linux"]["namespaces"].as_array_mut().into_iter().flatten() {
        if let Some(fields) = namespace.as_object_mut() {
            fields.remove("path");
        }
    }
    // What the runtime does not find it refuses.
    if let Some(mounts) = config["mounts"].as_array_mut() {
        mounts.retain(|one| one["type"] != "bind");
    }
    std::fs::write(bundle.join("config.json"), config.to_string())?;

    let start = Instant::now();
    let status = Command::new("runc")
        .args(["run", "--detach", "--bundle"])
        .arg(bundle)
        .arg(&id)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    let took = start.elapsed();
    Command::new("runc").args(["delete", "--force", &id]).status()?;
    mount::detach(&rootfs)?;
    if status.success() { Ok(took) } else { Err(format!("runc run: {status}").into()) }
}

/// What stays in memory beside the container's own processes.
fn memory(run: &Path) -> Result<(), Error> {
    let run = run.to_string_lossy().into_owned();
    for process in std::fs::read_dir("/proc")?.flatten() {
        let line = std::fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
        if line.starts_with("conmon") && line.contains(&run) {
            let rollup = std::fs::read_to_string(process.path().join("smaps_rollup")).unwrap_or_default();
            for field in rollup.lines().filter(|l| l.starts_with("Rss") || l.starts_with("Pss:")) {
                println!("conmon {field}");
            }
        }
    }
    Ok(())
}

fn report(name: &str, times: &mut [Duration]) {
    times.sort();
    let ms = |at: usize| times[at].as_secs_f64() * 1000.0;
    println!("{name} median {:.1} ms, min {:.1}, max {:.1}", ms(times.len() / 2), ms(0), ms(times.len() - 1));
}
