//! A virtual machine, from the API call to the first line of the guest's own start-up on its console, beside the very
//! QEMU command that Corten runs, started by hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use client::{Api, DeleteOptions};
use model::compute::{Instance, InstanceSpec, Isolation, KernelPayload, Payload, Power};
use model::{Bytes, CpuMillis, ObjectMeta, Resources};

use crate::Result;
use crate::cloud::{self, Cloud};
use crate::report::{Row, Verdict, times};
use crate::store::spread;

const PAIRS: usize = 7;
/// What the tiny guest's init says first.
const LINE: &[u8] = b"corten tiny: init on Linux";
/// The console's log of a guest that is started by hand.
const CONSOLE: &str = "console.log";
const LOOK_EVERY: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn measure() -> Result<Vec<Row>> {
    let cloud = Cloud::up_without_networks()?;
    cloud.corten(&["image", "build", "tiny"])?;
    let mut rows = Vec::new();
    for isolation in [Isolation::MicroVm, Isolation::Vm] {
        rows.push(row(&cloud, isolation).await?);
    }
    Ok(rows)
}

async fn row(cloud: &Cloud, isolation: Isolation) -> Result<Row> {
    let mut pairs = Vec::new();
    // The first pair warms both and does not count.
    for number in 0..=PAIRS {
        let pair = pair(cloud, isolation, &format!("{}-{number}", isolation.as_str())).await?;
        if number > 0 {
            pairs.push(pair);
        }
    }
    let ratio = spread(pairs.iter().map(|(ours, bare)| ours.as_secs_f64() / bare.as_secs_f64()));
    let ms = |of: fn(&(Duration, Duration)) -> Duration| {
        spread(pairs.iter().map(|pair| of(pair).as_secs_f64() * 1e3)).median
    };
    let machine = if isolation == Isolation::MicroVm { "microvm" } else { "q35" };
    Ok(Row {
        what: format!("{machine}: API call to the first line of the guest's init"),
        corten: format!("{:.0} ms", ms(|(ours, _)| *ours)),
        peer: format!("the same QEMU command by hand: {:.0} ms", ms(|(_, bare)| *bare)),
        ratio: times(ratio),
        goal: "<= 1.10x".into(),
        verdict: Verdict::of(ratio.median <= 1.10),
        note: "the command line is read from the running guest, its inherited sockets and log replaced by files of \
               the same kind; by hand it runs as root and without a cgroup. Both console logs are looked at every \
               millisecond. Warm page cache; emulated (TCG) where the machine has no KVM for guests."
            .into(),
    })
}

/// The time of one guest by Corten, and of the same by hand.
async fn pair(cloud: &Cloud, isolation: Isolation, name: &str) -> Result<(Duration, Duration)> {
    let client = cloud.connect()?;
    let instances: Api<Instance> = client.project("default");
    // A connection that is open, as any client has.
    instances.find(name).await?;
    let wanted = instance(isolation, name);
    let started = Instant::now();
    let created = instances.create(&wanted).await?;
    let uid = created.metadata.uid.as_str();
    until_line(&cloud.data().join(format!("instances/{uid}/qemu/console.log"))).await?;
    let ours = started.elapsed();

    let (pid, command) = qemu(uid)?;
    let stop = serde_json::json!({ "spec": { "power": Power::Stopped } });
    instances.merge(name, &stop).await?;
    until_gone(pid).await?;
    let bare = time_by_hand(&command).await?;
    instances.delete(name, &DeleteOptions::default()).await?;
    Ok((ours, bare))
}

/// Until the guest says its first line.
async fn time_by_hand(command: &[String]) -> Result<Duration> {
    let directory = tempfile::tempdir()?;
    let started = Instant::now();
    let guest = by_hand(command, directory.path())?;
    let line = until_line(&directory.path().join(CONSOLE)).await;
    let elapsed = started.elapsed();
    drop(guest);
    let errors = fs::read_to_string(directory.path().join("errors"))?;
    line.map(|()| elapsed).map_err(|e| format!("{e}; QEMU said: {errors}").into())
}

/// A guest of this command line, which inherits nothing and keeps its files in `directory`.
pub(crate) fn by_hand(command: &[String], directory: &Path) -> Result<Guest> {
    let mut words = independent(command, directory, &directory.join(CONSOLE)).into_iter();
    let program = words.next().ok_or("the guest has no command line")?;
    let errors = fs::File::create(directory.join("errors"))?;
    let guest = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors)
        .spawn()?;
    Ok(Guest(guest))
}

/// Dropping it is `kill -9`.
#[derive(Debug)]
pub(crate) struct Guest(Child);

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A command line that inherits nothing: sockets and files by path in place of descriptors.
fn independent(command: &[String], directory: &Path, console: &Path) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = command.iter();
    while let Some(word) = rest.next() {
        if word == "-add-fd" {
            rest.next();
            continue;
        }
        let word =
            word.replace("/dev/fdset/1", &console.display().to_string()).replace("/dev/fdset/2", "/dev/kvm");
        words.push(if word.starts_with("socket,") { by_path(&word, directory) } else { word });
    }
    words
}

/// `socket,id=monitor,fd=7,...` as `socket,id=monitor,path=...`.
fn by_path(word: &str, directory: &Path) -> String {
    let id = word.split(',').find_map(|part| part.strip_prefix("id=")).unwrap_or("socket");
    let path = format!("path={}", directory.join(format!("{id}.sock")).display());
    let parts = word.split(',').map(|part| if part.starts_with("fd=") { path.as_str() } else { part });
    parts.collect::<Vec<_>>().join(",")
}

/// The guest's process and its command line.
pub(crate) fn qemu(uid: &str) -> Result<(u32, Vec<String>)> {
    let found = cloud::processes()
        .into_iter()
        .find(|process| process.arguments.windows(2).any(|pair| pair[0] == "-uuid" && pair[1] == uid));
    found.map(|process| (process.pid, process.arguments)).ok_or_else(|| format!("no guest {uid} runs").into())
}

async fn until_line(log: &Path) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !fs::read(log).is_ok_and(|text| text.windows(LINE.len()).any(|part| part == LINE)) {
        if Instant::now() > deadline {
            return Err(format!("the guest said nothing in {}", log.display()).into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

pub(crate) async fn until_gone(pid: u32) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while PathBuf::from(format!("/proc/{pid}/exe")).read_link().is_ok() {
        if Instant::now() > deadline {
            return Err(format!("the guest (process {pid}) does not end").into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

fn instance(isolation: Isolation, name: &str) -> Instance {
    let spec = InstanceSpec {
        isolation,
        payload: Payload::Kernel(KernelPayload { image: "tiny".into(), ..KernelPayload::default() }),
        resources: Resources { cpu: CpuMillis(1000), memory: Bytes::mib(128), ..Resources::default() },
        stop_grace_seconds: Some(0),
        ..InstanceSpec::default()
    };
    Instance::new(ObjectMeta::in_project("default", name), spec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_without_descriptors() {
        let line =
            "qemu -add-fd fd=7,set=1 -chardev socket,id=console,fd=5,server=on,logfile=/dev/fdset/1 -m 128M";
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let found = independent(&words, Path::new("/d"), Path::new("/d/log")).join(" ");
        assert_eq!(
            found,
            "qemu -chardev socket,id=console,path=/d/console.sock,server=on,logfile=/d/log -m 128M"
        );
    }
}
