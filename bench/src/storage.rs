//! Volumes: clones of images of two sizes beside `qemu-img create -b`, and what a backup of a little that changed takes
//! beside a copy of everything.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use client::{DeleteOptions, ListParams, TypedEvent};
use model::storage::{Volume, VolumeBackup, VolumePhase, VolumeSource, VolumeSpec};
use model::{Bytes, ObjectMeta};

use crate::Result;
use crate::cloud::Cloud;
use crate::report::{Row, Verdict, times};
use crate::store::spread;

const PAIRS: usize = 15;
const MIB: usize = 1 << 20;
/// Disks of two images, and how much is written in each.
const LARGE: (&str, u64, usize) = ("large", 10 << 30, 1024);
const SMALL: (&str, u64, usize) = ("small", 64 << 20, 16);
const CLONE_GOAL: f64 = 1.2;
/// The volume that is backed up, full to its end, and the share of its clusters that changes.
const VOLUME: u64 = 10 << 30;
const CLUSTER: u64 = 64 << 10;
const CHANGED_PERCENT: u64 = 1;
const BACKUP_GOAL_PERCENT: f64 = 2.0;
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn measure() -> Result<Vec<Row>> {
    let cloud = Cloud::up()?;
    let mut rows = clones(&cloud).await?;
    rows.push(increment(&cloud).await?);
    Ok(rows)
}

async fn clones(cloud: &Cloud) -> Result<Vec<Row>> {
    let mut medians = Vec::new();
    let mut rows = Vec::new();
    for (name, size, written) in [SMALL, LARGE] {
        let image = cloud.data().join(format!("{name}.raw"));
        random(&image, written)?;
        File::options().write(true).open(&image)?.set_len(size)?;
        let path = image.to_str().ok_or("the folder's name is not text")?;
        cloud.corten(&["image", "import", "--name", name, path])?;
        fs::remove_file(&image)?;
        let mut pairs = Vec::new();
        // The first pair warms both and does not count.
        for number in 0..=PAIRS {
            let ours = ours(cloud, name, &format!("{name}-{number}")).await?;
            let peer = peer(cloud, size)?;
            if number > 0 {
                pairs.push((ours, peer));
            }
        }
        let ratio = spread(pairs.iter().map(|(ours, peer)| ours.as_secs_f64() / peer.as_secs_f64()));
        let ms = |of: fn(&(Duration, Duration)) -> Duration| {
            spread(pairs.iter().map(|pair| of(pair).as_secs_f64() * 1e3)).median
        };
        medians.push(ms(|pair| pair.0));
        rows.push(Row {
            what: format!("clone of an image of {} to a bootable volume (dir)", Bytes(size)),
            corten: format!("{:.1} ms", ms(|pair| pair.0)),
            peer: format!("qemu-img create -b, and fsync: {:.1} ms", ms(|pair| pair.1)),
            ratio: times(ratio),
            goal: format!("<= {CLONE_GOAL:.2}x"),
            verdict: Verdict::of(ratio.median <= CLONE_GOAL),
            note: "from the call of the API until the volume is told to be available, over HTTPS; the object, its \
                   record and its file are on the disk by then. The peer's file and its folder are synced, too"
                .into(),
        });
    }
    let of_size = medians[1] / medians[0];
    rows.push(Row {
        what: "clone of an image of 10Gi beside one of 64Mi".into(),
        corten: format!("{:.1} ms", medians[1]),
        peer: format!("{:.1} ms", medians[0]),
        ratio: format!("{of_size:.2}x"),
        goal: "independent of size".into(),
        verdict: Verdict::of((0.8..=1.25).contains(&of_size)),
        note: "medians of the rows above".into(),
    });
    Ok(rows)
}

async fn ours(cloud: &Cloud, image: &str, name: &str) -> Result<Duration> {
    let volumes = cloud.connect()?.project::<Volume>("default");
    let source = VolumeSource { image: image.into(), ..VolumeSource::default() };
    let wanted =
        Volume::new(ObjectMeta::in_project("default", name), VolumeSpec { source, ..VolumeSpec::default() });
    let params = ListParams { field_selector: format!("metadata.name={name}"), ..ListParams::default() };
    // A connection that is open and told of changes, as any client has.
    let mut changes = volumes.watch(&params).await?;
    let started = Instant::now();
    volumes.create(&wanted).await?;
    loop {
        let event = tokio::time::timeout(PATIENCE, changes.next()).await?;
        match event.ok_or("the watch ended")?? {
            TypedEvent::Applied(volume) if volume.status.phase == VolumePhase::Available => break,
            TypedEvent::Applied(volume) if volume.status.phase == VolumePhase::Failed => {
                return Err("the volume cannot be made".into());
            }
            _ => {}
        }
    }
    let elapsed = started.elapsed();
    volumes.delete(name, &DeleteOptions::default()).await?;
    Ok(elapsed)
}

fn peer(cloud: &Cloud, size: u64) -> Result<Duration> {
    let image = image_of(&cloud.data().join("images"), size)?;
    let folder = tempfile::tempdir_in(cloud.data())?;
    let path = folder.path().join("clone");
    let started = Instant::now();
    let made = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"])
        .args([&image, &path])
        .stdin(Stdio::null())
        .status()?;
    File::open(&path)?.sync_all()?;
    File::open(folder.path())?.sync_all()?;
    let elapsed = started.elapsed();
    if made.success() { Ok(elapsed) } else { Err("qemu-img cannot make a clone".into()) }
}

/// The file of the image cache for a disk of this size.
fn image_of(folder: &Path, size: u64) -> Result<std::path::PathBuf> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if disk_size(&path).is_ok_and(|found| found == size) {
                return Ok(path);
            }
        }
    }
    Err("the image's file is not found".into())
}

fn disk_size(path: &Path) -> Result<u64> {
    use std::os::unix::fs::FileExt;
    let mut head = [0; 32];
    File::open(path)?.read_exact_at(&mut head, 0)?;
    if &head[..4] != b"QFI\xfb" {
        return Err("not a qcow2 file".into());
    }
    Ok(head[24..].iter().fold(0, |size, byte| size << 8 | u64::from(*byte)))
}

async fn increment(cloud: &Cloud) -> Result<Row> {
    cloud.corten(&["volume", "create", "data", "--size", &VOLUME.to_string()])?;
    let client = cloud.connect()?;
    let uid = client.project::<Volume>("default").get("data").await?.metadata.uid;
    let head = cloud.data().join(format!("pools/default/data/{uid}.0.qcow2"));
    let gib = cloud.data().join("gib");
    random(&gib, 1024)?;
    let source = gib.to_str().ok_or("the folder's name is not text")?;
    let writes = (0..VOLUME >> 30).map(|n| format!("write -s {source} {} 1073741824", n << 30));
    qemu_io(&head, writes)?;
    fs::remove_file(&gib)?;
    let started = Instant::now();
    cloud.corten(&["backup", "create", "full", "--volume", "data"])?;
    let whole = started.elapsed();
    let clusters = VOLUME / CLUSTER;
    let count = clusters * CHANGED_PERCENT / 100;
    let some = cloud.data().join("some");
    random(&some, 1)?;
    let source = some.to_str().ok_or("the folder's name is not text")?;
    // Spread over the disk, no two side by side.
    let place = |n: u64| (n * (clusters / count) + n * n % 50) * CLUSTER;
    qemu_io(&head, (0..count).map(|n| format!("write -s {source} {} {CLUSTER}", place(n))))?;
    fs::remove_file(&some)?;
    let started = Instant::now();
    cloud.corten(&["backup", "create", "little", "--volume", "data"])?;
    let little = started.elapsed();
    let backup = client.project::<VolumeBackup>("default").get("little").await?;
    if backup.status.base != "full" {
        return Err("the second backup is not one of what changed".into());
    }
    let share = backup.status.stored_bytes.0 as f64 / VOLUME as f64 * 100.0;
    Ok(Row {
        what: format!("incremental backup of {CHANGED_PERCENT} % changed of {}", Bytes(VOLUME)),
        corten: format!("{:.0} MiB", backup.status.stored_bytes.0 as f64 / MIB as f64),
        peer: format!("full copy: {}", Bytes(VOLUME)),
        ratio: format!("{share:.2} %"),
        goal: format!("<= {BACKUP_GOAL_PERCENT:.0} % of the bytes"),
        verdict: Verdict::of(share <= BACKUP_GOAL_PERCENT),
        note: format!(
            "random bytes that do not compress; {count} clusters of 64 KiB are changed all over the disk, \
             {} MiB were read of it, and everything written down counts: chunks, tables and the manifest. The full \
             backup took {:.0} s, the increment {:.1} s",
            backup.status.read_bytes.0 >> 20,
            whole.as_secs_f64(),
            little.as_secs_f64()
        ),
    })
}

/// Runs commands of qemu-io on a qcow2 file.
pub(crate) fn qemu_io(disk: &Path, commands: impl Iterator<Item = String>) -> Result<()> {
    let mut tool = Command::new("qemu-io")
        .args(["-f", "qcow2"])
        .arg(disk)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    let mut to = tool.stdin.take().ok_or("qemu-io has no input")?;
    for command in commands {
        writeln!(to, "{command}")?;
    }
    drop(to);
    if tool.wait()?.success() { Ok(()) } else { Err("qemu-io cannot write to the disk".into()) }
}

/// A file of so many MiB that do not compress.
fn random(path: &Path, mib: usize) -> Result<()> {
    let mut from = File::open("/dev/urandom")?;
    let mut to = File::create(path)?;
    std::io::copy(&mut std::io::Read::take(&mut from, (mib * MIB) as u64), &mut to)?;
    Ok(())
}
