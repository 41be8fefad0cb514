//! Blocks that a guest reads and writes at random places of a volume, beside the very QEMU command that Corten runs, started
//! by hand with the same file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use client::{Api, DeleteOptions};
use model::compute::{
    Instance, InstanceSpec, InstanceVolume, Isolation, KernelPayload, KeyPair, KeyPairSpec, Payload, Power,
};
use model::storage::Volume;
use model::{Bytes, CpuMillis, ObjectMeta, Resources};

use crate::Result;
use crate::boot::{by_hand, qemu, until_gone};
use crate::cloud::Cloud;
use crate::report::{Row, Verdict, times};
use crate::storage::qemu_io;
use crate::store::spread;

const PAIRS: usize = 5;
/// All of it is there before, so that nothing is measured but reading and writing.
const VOLUME: u64 = 256 << 20;
const SECONDS: u64 = 5;
const GOAL: f64 = 0.98;
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);
const NAME: &str = "io";
/// Runs in the guest.
const SOURCE: &str = include_str!("random_io.c");

pub(crate) async fn measure() -> Result<Vec<Row>> {
    let cloud = Cloud::up_without_networks()?;
    Ok(vec![row(&cloud).await?])
}

async fn row(cloud: &Cloud) -> Result<Row> {
    cloud.corten(&["image", "build", "tiny"])?;
    cloud.corten(&["volume", "create", NAME, "--size", &VOLUME.to_string()])?;
    let client = cloud.connect()?;
    let volume = client.project::<Volume>("default").get(NAME).await?;
    let head = cloud.data().join(format!("pools/default/data/{}.0.qcow2", volume.metadata.uid));
    qemu_io(&head, std::iter::once(format!("write -P 1 0 {VOLUME}")))?;
    let folder = tempfile::tempdir()?;
    let guest = Guest::prepare(folder.path(), volume.serial())?;
    let spec =
        KeyPairSpec { public_key: fs::read_to_string(folder.path().join("key.pub"))?.trim().to_owned() };
    let key = KeyPair::new(ObjectMeta::in_project("default", NAME), spec);
    client.project::<KeyPair>("default").create(&key).await?;
    let instances = client.project::<Instance>("default");
    instances.create(&instance()).await?;
    let mut pairs = Vec::new();
    // The first pair warms both and does not count.
    for number in 0..=PAIRS {
        let pair = pair(&instances, &guest).await?;
        if number > 0 {
            pairs.push(pair);
        }
    }
    instances.delete(NAME, &DeleteOptions::default()).await?;
    let ratio = spread(pairs.iter().map(|(ours, bare)| ours / bare));
    let per_second = |of: fn(&(f64, f64)) -> f64| spread(pairs.iter().map(of)).median;
    Ok(Row {
        what: "a guest's random reads and writes of 4 KiB on a volume (dir), one after the other".into(),
        corten: format!("{:.0}/s", per_second(|(ours, _)| *ours)),
        peer: format!("the same QEMU command by hand, same file: {:.0}/s", per_second(|(_, bare)| *bare)),
        ratio: times(ratio),
        goal: format!(">= {GOAL:.2}x"),
        verdict: Verdict::of(ratio.median >= GOAL),
        note: format!(
            "q35, {SECONDS} s each, half of them writes, past the guest's caches, in {} that were written before; by \
             hand it runs as root and without a cgroup. Emulated (TCG) where the machine has no KVM for guests",
            Bytes(VOLUME)
        ),
    })
}

/// What the guest does in a second by Corten, and by hand.
async fn pair(instances: &Api<Instance>, guest: &Guest) -> Result<(f64, f64)> {
    power(instances, Power::Running).await?;
    let (uid, port) = endpoint(instances).await?;
    let ours = guest.measure(port)?;
    let (pid, command) = qemu(&uid)?;
    power(instances, Power::Stopped).await?;
    until_gone(pid).await?;
    let folder = tempfile::tempdir()?;
    let by_hand = by_hand(&command, folder.path())?;
    let bare = guest.measure(port)?;
    drop(by_hand);
    Ok((ours, bare))
}

async fn power(instances: &Api<Instance>, power: Power) -> Result<()> {
    instances.merge(NAME, &serde_json::json!({ "spec": { "power": power } })).await?;
    Ok(())
}

/// Who it is, and the port of this machine that leads to its ssh server.
async fn endpoint(instances: &Api<Instance>) -> Result<(String, u16)> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let instance = instances.get(NAME).await?;
        let port = instance.status.ssh_endpoint.rsplit(':').next().and_then(|port| port.parse().ok());
        if let Some(port) = port
            && qemu(instance.metadata.uid.as_str()).is_ok()
        {
            return Ok((instance.metadata.uid.to_string(), port));
        }
        if Instant::now() > deadline {
            return Err("the guest does not start".into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The way into a guest, and what it is to run.
struct Guest {
    key: PathBuf,
    program: PathBuf,
    serial: String,
}

impl Guest {
    fn prepare(folder: &Path, serial: String) -> Result<Self> {
        let (key, source, program) = (folder.join("key"), folder.join("io.c"), folder.join("io"));
        let mut keygen = Command::new("ssh-keygen");
        run(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key))?;
        fs::write(&source, SOURCE)?;
        run(Command::new("cc").args(["-O2", "-static", "-o"]).args([&program, &source]))?;
        Ok(Self { key, program, serial })
    }

    /// Blocks in a second, of a guest that may still be starting.
    fn measure(&self, port: u16) -> Result<f64> {
        let deadline = Instant::now() + PATIENCE;
        while let Err(e) =
            self.ssh(port, "cat >/tmp/io && chmod +x /tmp/io", Stdio::from(File::open(&self.program)?))
        {
            if Instant::now() > deadline {
                return Err(e);
            }
            std::thread::sleep(LOOK_EVERY);
        }
        let serial = &self.serial;
        let disk = format!("$(grep -l {serial} /sys/block/vd*/serial | cut -d/ -f4)");
        let said = self.ssh(port, &format!("/tmp/io /dev/{disk} {VOLUME} {SECONDS}"), Stdio::null())?;
        Ok(said.trim().parse::<f64>()? / SECONDS as f64)
    }

    fn ssh(&self, port: u16, command: &str, input: Stdio) -> Result<String> {
        let mut ssh = Command::new("ssh");
        ssh.arg("-i").arg(&self.key).args(["-l", "root", "-p", &port.to_string()]);
        for option in
            ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ConnectTimeout=5"]
        {
            ssh.args(["-o", option]);
        }
        let done = ssh.args(["--", "127.0.0.1", command]).stdin(input).output()?;
        if done.status.success() {
            return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
        }
        Err(format!("the guest: {}", String::from_utf8_lossy(&done.stderr).trim()).into())
    }
}

fn run(command: &mut Command) -> Result<()> {
    let done = command.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    if done.status.success() { Ok(()) } else { Err(format!("{command:?}: {}", said.trim()).into()) }
}

fn instance() -> Instance {
    let spec = InstanceSpec {
        isolation: Isolation::Vm,
        payload: Payload::Kernel(KernelPayload { image: "tiny".into(), ..KernelPayload::default() }),
        resources: Resources { cpu: CpuMillis(1000), memory: Bytes::mib(128), ..Resources::default() },
        volumes: vec![InstanceVolume { volume: NAME.into(), ..InstanceVolume::default() }],
        key_pair: NAME.into(),
        power: Power::Stopped,
        stop_grace_seconds: Some(0),
        ..InstanceSpec::default()
    };
    Instance::new(ObjectMeta::in_project("default", NAME), spec)
}
