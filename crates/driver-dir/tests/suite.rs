//! The suite of volume drivers, on a pool of one host and on one that hosts share, and that nothing is left in the folder.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use driver::volume_conformance as suite;
use driver::{
    ChangesPlan, DiskKey, DiskLocation, DriverError, KEY_HEADER, PoolPlace, StoragePool, VolumeDriver,
    VolumeOrigin, VolumePlace, VolumePlan,
};
use driver_dir::DirDriver;
use model::{Bytes, Uid};

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        if entry.path().is_dir() { found.extend(files(&entry.path())) } else { found.push(entry.path()) }
    }
    found
}

fn shared(folder: &Path) -> StoragePool {
    let identity = Uid::parse("ee01").unwrap();
    let place = PoolPlace::Folder(folder.to_owned());
    StoragePool { name: "default".into(), identity, place, is_new: true }
}

/// A driver whose pool is its own, and one that shares it; both have it at the same place.
async fn both(work: impl AsyncFn(DirDriver)) {
    for is_shared in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("default");
        let driver = if is_shared {
            std::fs::create_dir(&folder).unwrap();
            let driver = DirDriver::new(dir.path().join("own"), "h1");
            driver.serve(&shared(&folder)).await.unwrap();
            driver
        } else {
            DirDriver::new(dir.path(), "h1")
        };
        work(driver).await;
        let is_kept = |file: &std::path::PathBuf| {
            ["identity", "locks", "gone"].iter().any(|kept| is_shared && file.starts_with(folder.join(kept)))
        };
        let left: Vec<_> = files(dir.path()).into_iter().filter(|file| !is_kept(file)).collect();
        assert_eq!(left, Vec::<std::path::PathBuf>::new());
    }
}

#[tokio::test]
async fn epochs_only_grow() {
    both(async |driver| suite::epochs_only_grow(&driver).await).await;
}

#[tokio::test]
async fn clones_stand_on_snapshots() {
    both(async |driver| suite::clones_stand_on_snapshots(&driver).await).await;
}

fn tool(program: &str, args: &[&str]) {
    let done = std::process::Command::new(program).args(args).output().unwrap();
    assert!(done.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&done.stderr));
}

fn write(disk: &Path, commands: &[&str]) {
    let args: Vec<&str> = commands.iter().flat_map(|command| ["-c", command]).collect();
    tool("qemu-io", &[&["-f", "qcow2"], &args[..], &[disk.to_str().unwrap()]].concat());
}

/// Which clusters a file of changes says something of, and whether they have bytes.
fn read(disk: &Path) -> Vec<(u64, bool)> {
    let mut clusters = image::Clusters::open(disk).unwrap();
    let mut found = Vec::new();
    while let Some((number, cluster)) = clusters.next_cluster().unwrap() {
        found.push((number, cluster != image::Cluster::Zeros));
    }
    found
}

#[tokio::test]
async fn changes_are_told() {
    both(async |driver| suite::changes_are_told(&driver, write, read).await).await;
}

#[tokio::test]
async fn volumes_are_filled() {
    let show = |disk: &DiskLocation| {
        let disk = disk.file().unwrap();
        let raw = disk.with_extension("raw");
        tool(
            "qemu-img",
            &["convert", "-f", "qcow2", "-O", "raw", disk.to_str().unwrap(), raw.to_str().unwrap()],
        );
        let content = std::fs::read(&raw).unwrap();
        std::fs::remove_file(&raw).unwrap();
        content
    };
    both(async |driver| suite::volumes_are_filled(&driver, show).await).await;
}

/// Whoever had it open was killed: what it noted misses changes, and the volume can grow all the same.
#[tokio::test]
async fn a_note_that_misses_changes_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let driver = DirDriver::new(dir.path(), "h1");
    let place = VolumePlace { pool: "default".into(), uid: Uid::parse("aa").unwrap() };
    let plan =
        VolumePlan { place: place.clone(), size: Bytes(1 << 20), source: VolumeOrigin::Empty, key: None };
    driver.create(&plan).await.unwrap();
    let told = async |backup: &str, since: &str| {
        let uid = |name| Uid::parse(name).unwrap();
        let target = driver.begin_changes(&place, &uid(backup)).await.unwrap();
        let plan = ChangesPlan { target: target.clone(), begins: uid(backup), since: vec![uid(since)] };
        let base = driver.changes(&place, &plan).await.unwrap();
        let found: Vec<u64> = read(&target).into_iter().filter(|c| c.1).map(|c| c.0).collect();
        driver.finish_changes(&place, &uid(backup)).await.unwrap();
        (base, found)
    };
    told("d1", "d0").await;
    let head = dir.path().join("default/data/aa.0.qcow2");
    let commands = ["-f", "qcow2", "-c", "write -P 7 64k 64k", "-c", "flush", "-c", "abort"];
    let ended = std::process::Command::new("qemu-io").args(commands).arg(&head).output().unwrap();
    assert!(!ended.status.success(), "it ends as if it was killed");
    driver.grow(&place, Bytes(2 << 20)).await.unwrap();
    assert_eq!(told("d2", "d1").await, (None, vec![1]));
    driver.delete(&place).await.unwrap();
}

/// A guest that took its QEMU over writes the name of a file of the host into its disk's header.
#[tokio::test]
async fn a_header_that_names_a_file_of_the_host_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let driver = DirDriver::new(dir.path(), "h1");
    let place = VolumePlace { pool: "default".into(), uid: Uid::parse("aa").unwrap() };
    let plan =
        VolumePlan { place: place.clone(), size: Bytes(1 << 20), source: VolumeOrigin::Empty, key: None };
    driver.create(&plan).await.unwrap();
    let head = dir.path().join("default/data/aa.0.qcow2");
    let rebase = ["rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd", head.to_str().unwrap()];
    assert!(std::process::Command::new("qemu-img").args(rebase).status().unwrap().success());
    for error in [
        driver.grow(&place, Bytes(2 << 20)).await.unwrap_err(),
        driver.open(&place, &Uid::parse("bb").unwrap(), 1).await.unwrap_err(),
    ] {
        assert!(error.to_string().contains("tampered with"), "{error}");
    }
}

/// What is not mounted looks like an empty folder, and what another pool is in like anything.
#[tokio::test]
async fn a_folder_that_is_not_the_pools_is_not_taken_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let mounted = dir.path().join("mounted");
    let place = VolumePlace { pool: "default".into(), uid: Uid::parse("aa").unwrap() };
    let plan =
        VolumePlan { place: place.clone(), size: Bytes(1 << 20), source: VolumeOrigin::Empty, key: None };
    let driver = DirDriver::new(dir.path().join("own"), "h1");
    let refused = async |pool: StoragePool, why: &str| {
        let looked = driver.serve(&pool).await.unwrap_err();
        assert!(looked.to_string().contains(why), "{looked}");
        let made = driver.create(&plan).await.unwrap_err();
        assert!(made.to_string().contains(why), "{made}");
    };
    let pool = shared(&mounted);
    refused(pool.clone(), "not mounted").await;
    std::fs::create_dir(&mounted).unwrap();
    refused(StoragePool { is_new: false, ..pool.clone() }, "not mounted").await;
    std::fs::write(mounted.join("photo"), "").unwrap();
    let taken = driver.serve(&pool).await.unwrap_err();
    assert!(matches!(&taken, DriverError::Invalid(_)) && taken.to_string().contains("photo"), "{taken}");
    std::fs::remove_file(mounted.join("photo")).unwrap();
    driver.serve(&pool).await.unwrap();
    driver.create(&plan).await.unwrap();
    // Another host, on which nothing is mounted there for a while.
    let away = dir.path().join("away");
    std::fs::rename(&mounted, &away).unwrap();
    std::fs::create_dir(&mounted).unwrap();
    let gone = driver.observe(&place).await.unwrap_err();
    assert!(gone.to_string().contains("not mounted"), "{gone}");
    assert!(driver.held_by(&Uid::parse("bb").unwrap()).await.is_err(), "what is held is not known");
    refused(StoragePool { is_new: false, ..pool.clone() }, "not mounted").await;
    assert_eq!(files(&mounted), Vec::<std::path::PathBuf>::new(), "nothing was put there");
    std::fs::remove_dir(&mounted).unwrap();
    std::fs::rename(&away, &mounted).unwrap();
    driver.serve(&StoragePool { is_new: false, ..pool.clone() }).await.unwrap();
    driver.observe(&place).await.unwrap();
    let other = StoragePool { identity: Uid::parse("ee02").unwrap(), is_new: false, ..pool };
    refused(other, "another pool").await;
}

/// A host that stood still since before the volume was made comes back after it is gone.
#[tokio::test]
async fn a_volume_that_is_gone_is_not_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let place = VolumePlace { pool: "default".into(), uid: Uid::parse("aa").unwrap() };
    let plan =
        VolumePlan { place: place.clone(), size: Bytes(1 << 20), source: VolumeOrigin::Empty, key: None };
    let (late, driver) = (DirDriver::new("own", "h1"), DirDriver::new("own", "h2"));
    for driver in [&late, &driver] {
        driver.serve(&shared(dir.path())).await.unwrap();
    }
    driver.create(&plan).await.unwrap();
    assert!(matches!(late.create(&plan).await, Err(DriverError::WrongState(_))));
    driver.delete(&place).await.unwrap();
    assert!(matches!(late.create(&plan).await, Err(DriverError::WrongState(_))));
}

/// The server of a folder is gone: whoever reads in it waits for ever. Nobody who asks the driver does.
#[tokio::test(start_paused = true)]
async fn a_folder_that_does_not_answer_is_not_waited_for() {
    async fn as_time_goes<T>(work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::time::advance(Duration::from_secs(1)) => {}
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let place = VolumePlace { pool: "default".into(), uid: Uid::parse("aa").unwrap() };
    let plan =
        VolumePlan { place: place.clone(), size: Bytes(1 << 20), source: VolumeOrigin::Empty, key: None };
    let pool = shared(dir.path());
    let driver = DirDriver::new("own", "h1");
    driver.serve(&pool).await.unwrap();
    driver.create(&plan).await.unwrap();
    let identity = dir.path().join("identity");
    let content = std::fs::read(&identity).unwrap();
    std::fs::remove_file(&identity).unwrap();
    tool("mkfifo", &[identity.to_str().unwrap()]);
    let said = |error: DriverError| {
        let message = error.to_string();
        assert!(message.contains("has not answered"), "{message}");
    };
    said(as_time_goes(driver.observe(&place)).await.unwrap_err());
    said(as_time_goes(driver.is_wanted_elsewhere(&place)).await.unwrap_err());
    said(as_time_goes(driver.serve(&pool)).await.unwrap_err());
    said(driver.observe(&place).await.unwrap_err());
    // The one who still waits reads what there is.
    std::fs::write(&identity, &content).unwrap();
    std::fs::remove_file(&identity).unwrap();
    std::fs::write(&identity, &content).unwrap();
    driver.serve(&pool).await.unwrap();
    assert!(!driver.is_wanted_elsewhere(&place).await.unwrap());
    driver.observe(&place).await.unwrap();
}

const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// What is done to, or asked of, a disk in an encrypted volume.
fn inside(disk: &Path, command: &str) -> String {
    let secret = format!("secret,id=key,format=raw,data={KEY}");
    let options = format!(
        "driver=luks,key-secret=key,file.driver=qcow2,file.file.driver=file,file.file.filename={}",
        disk.display()
    );
    let args = ["--object", &secret, "-c", command, "--image-opts", &options];
    let done = std::process::Command::new("qemu-io").args(args).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && !said.contains("verification failed"), "{command}: {said}");
    said
}

fn shows(disk: &Path, byte: u8) -> bool {
    std::fs::read(disk).unwrap().windows(4096).any(|window| window.iter().all(|b| *b == byte))
}

/// What is written to an encrypted volume is in none of its files; snapshots and clones read it with the same key.
#[tokio::test]
async fn encrypted_volumes_show_nothing() {
    both(async |driver| {
        let place = |uid: &str| VolumePlace { pool: "default".into(), uid: Uid::parse(uid).unwrap() };
        let (volume, clone, snapshot) = (place("aa"), place("ab"), place("bb"));
        let key = Some(DiskKey::new(KEY));
        let plan = |place: &VolumePlace, source| VolumePlan {
            place: place.clone(),
            size: Bytes(2 << 20),
            source,
            key: key.clone(),
        };
        driver.create(&plan(&volume, VolumeOrigin::Empty)).await.unwrap();
        driver.create(&plan(&volume, VolumeOrigin::Empty)).await.unwrap();
        assert_eq!(driver.observe(&volume).await.unwrap().size, Bytes(2 << 20));
        let head = driver.open(&volume, &place("cc").uid, 1).await.unwrap().file().unwrap().to_owned();
        inside(&head, "read -P 0 0 1M");
        inside(&head, "write -P 165 512k 256k");
        assert!(!shows(&head, 165), "the file shows what was written");
        driver.begin_snapshot(&volume, &snapshot.uid).await.unwrap();
        driver.finish_snapshot(&volume, &snapshot.uid).await.unwrap();
        driver.close(&volume, &place("cc").uid).await.unwrap();
        driver.grow(&volume, Bytes(4 << 20)).await.unwrap();
        let head = driver.open(&volume, &place("cc").uid, 2).await.unwrap().file().unwrap().to_owned();
        inside(&head, "write -P 166 512k 256k");
        inside(&head, "write -P 167 3M 64k");
        driver.create(&plan(&clone, VolumeOrigin::Snapshot(snapshot.uid.clone()))).await.unwrap();
        let of_then = driver.open(&clone, &place("cd").uid, 1).await.unwrap().file().unwrap().to_owned();
        inside(&of_then, "read -P 165 512k 256k");
        driver.close(&volume, &place("cc").uid).await.unwrap();
        driver.close(&clone, &place("cd").uid).await.unwrap();
        driver.delete(&volume).await.unwrap();
        driver.delete(&clone).await.unwrap();
        driver.delete_snapshot(&snapshot).await.unwrap();
    })
    .await;
}

/// An encrypted volume of an image has what the image shows, zeros among it.
#[tokio::test]
async fn an_image_is_encrypted() {
    let dir = tempfile::tempdir().unwrap();
    let driver = DirDriver::new(dir.path().join("pools"), "h1");
    let image = dir.path().join("image");
    tool("qemu-img", &["create", "-q", "-f", "qcow2", image.to_str().unwrap(), "4M"]);
    write(&image, &["write -P 165 1M 64k"]);
    let place = VolumePlace { pool: "default".into(), uid: Uid::parse("aa").unwrap() };
    let plan = |size| VolumePlan {
        place: place.clone(),
        size: Bytes(size),
        source: VolumeOrigin::Image(image.clone()),
        key: Some(DiskKey::new(KEY)),
    };
    let small = driver.create(&plan(1 << 20)).await;
    assert!(matches!(&small, Err(DriverError::Invalid(why)) if why.contains("spec.size")), "{small:?}");
    driver.create(&plan(0)).await.unwrap();
    assert_eq!(driver.observe(&place).await.unwrap().size, Bytes(4 << 20));
    let head = driver.open(&place, &Uid::parse("cc").unwrap(), 1).await.unwrap().file().unwrap().to_owned();
    inside(&head, "read -P 0 0 1M");
    inside(&head, "read -P 165 1M 64k");
    inside(&head, "read -P 0 2M 2M");
    assert!(!shows(&head, 165), "the file shows what the image has");
    let info = std::process::Command::new("qemu-img").args(["info", "--output=json"]).arg(&head).output();
    let info: serde_json::Value = serde_json::from_slice(&info.unwrap().stdout).unwrap();
    assert_eq!(info["virtual-size"], (4 << 20) + KEY_HEADER.0);
    driver.close(&place, &Uid::parse("cc").unwrap()).await.unwrap();
    driver.delete(&place).await.unwrap();
    assert_eq!(files(&dir.path().join("pools")), Vec::<std::path::PathBuf>::new());
}
