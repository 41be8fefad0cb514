//! What every driver of volumes has to keep. A driver's tests call it with a fresh driver; it panics at a breach.

use model::{Bytes, Uid};

use crate::{DriverError, VolumeDriver, VolumeOrigin, VolumePlace, VolumePlan};

fn uid(name: &str) -> Uid {
    Uid::parse(name).unwrap_or_default()
}

fn place(name: &str) -> VolumePlace {
    VolumePlace { pool: "default".into(), uid: uid(name) }
}

fn plan(name: &str, size: u64, source: VolumeOrigin) -> VolumePlan {
    VolumePlan { place: place(name), size: Bytes(size), source }
}

fn refused<T: std::fmt::Debug>(what: &str, result: Result<T, DriverError>) {
    assert!(matches!(result, Err(DriverError::WrongState(_))), "{what} is not refused: {result:?}");
}

async fn ok<T>(what: &str, work: impl Future<Output = Result<T, DriverError>>) -> T {
    match work.await {
        Ok(value) => value,
        Err(e) => panic!("{what}: {e}"),
    }
}

/// An epoch that is over is refused, and so is a second holder.
///
/// # Panics
/// At the first promise that is broken.
pub async fn epochs_only_grow(driver: &dyn VolumeDriver) {
    let volume = place("aa01");
    ok("create", driver.create(&plan("aa01", 1 << 20, VolumeOrigin::Empty))).await;
    ok("create again", driver.create(&plan("aa01", 1 << 20, VolumeOrigin::Empty))).await;
    let first = ok("open", driver.open(&volume, &uid("bb01"), 3)).await;
    assert_eq!(first, ok("open again", driver.open(&volume, &uid("bb01"), 3)).await);
    refused("a second holder", driver.open(&volume, &uid("bb02"), 4).await);
    refused("deleting what is held", driver.delete(&volume).await);
    ok("close by another", driver.close(&volume, &uid("bb02"))).await;
    refused("still held", driver.open(&volume, &uid("bb02"), 4).await);
    ok("close", driver.close(&volume, &uid("bb01"))).await;
    refused("the same epoch", driver.open(&volume, &uid("bb02"), 3).await);
    refused("an older epoch", driver.open(&volume, &uid("bb01"), 2).await);
    ok("a newer epoch", driver.open(&volume, &uid("bb02"), 4)).await;
    assert_eq!(driver.held_by(&uid("bb02")).await.unwrap_or_default(), std::slice::from_ref(&volume));
    ok("close", driver.close(&volume, &uid("bb02"))).await;
    ok("delete", driver.delete(&volume)).await;
    ok("delete again", driver.delete(&volume)).await;
    assert!(matches!(driver.observe(&volume).await, Err(DriverError::NotFound(_))));
}

/// Snapshots outlive their volume, clones outlive both.
///
/// # Panics
/// At the first promise that is broken.
pub async fn clones_stand_on_snapshots(driver: &dyn VolumeDriver) {
    let (volume, clone) = (place("aa02"), place("aa03"));
    ok("create", driver.create(&plan("aa02", 1 << 20, VolumeOrigin::Empty))).await;
    for _ in 0..2 {
        ok("begin", driver.begin_snapshot(&volume, &uid("cc01"))).await;
    }
    refused("another at the same time", driver.begin_snapshot(&volume, &uid("cc02")).await);
    for _ in 0..2 {
        assert_eq!(ok("finish", driver.finish_snapshot(&volume, &uid("cc01"))).await, Bytes(1 << 20));
    }
    assert_eq!(ok("begin after the end", driver.begin_snapshot(&volume, &uid("cc01"))).await, None);
    ok("grow", driver.grow(&volume, Bytes(2 << 20))).await;
    ok("clone", driver.create(&plan("aa03", 0, VolumeOrigin::Snapshot(uid("cc01"))))).await;
    assert_eq!(ok("observe", driver.observe(&clone)).await.size, Bytes(1 << 20));
    let small = driver.create(&plan("aa04", 512, VolumeOrigin::Snapshot(uid("cc01")))).await;
    assert!(matches!(small, Err(DriverError::Invalid(_))), "smaller than its source: {small:?}");
    ok("revert", driver.revert(&volume, &uid("cc01"))).await;
    assert_eq!(ok("observe", driver.observe(&volume)).await.size, Bytes(2 << 20));
    ok("delete the volume", driver.delete(&volume)).await;
    ok("delete the snapshot", driver.delete_snapshot(&place("cc01"))).await;
    ok("open the clone", driver.open(&clone, &uid("bb01"), 1)).await;
    ok("close the clone", driver.close(&clone, &uid("bb01"))).await;
    ok("delete the clone", driver.delete(&clone)).await;
}
