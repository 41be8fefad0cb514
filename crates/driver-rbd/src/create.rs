//! How volumes come to be: under a passing name, which becomes the volume's own when all of it is there.

use std::path::{Path, PathBuf};

use driver::{DiskLocation, DriverError, VolumeOrigin, VolumePlan};
use model::{Bytes, Uid};
use serde::Deserialize;
use serde_json::json;
use sys::command::run;

use crate::cluster::{CALL_MAX, Cluster, Failure, IMAGE_MAX, or_missing};
use crate::driver::RbdDriver;
use crate::record::{Name, Record};
use crate::snapshot::{self, SnapshotRecord};
use crate::tidy::drop_late;

/// The snapshot of what an image of the cloud shows.
pub(crate) const BASE: &str = "base";
const QEMU_IMG: &str = "qemu-img";

/// Something is being made; tidying leaves it alone as long as this lives.
struct Making<'a> {
    driver: &'a RbdDriver,
    what: String,
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.driver.making.lock().remove(&self.what);
    }
}

impl RbdDriver {
    pub(crate) async fn make(&self, plan: &VolumePlan) -> Result<(), DriverError> {
        if plan.key.is_some() {
            return Err(DriverError::Invalid(
                "volumes of a Ceph pool cannot be encrypted by the cloud: take a pool of files, or one that the cluster \
                 encrypts"
                    .into(),
            ));
        }
        let uid = &plan.place.uid;
        let cluster = self.cluster(&plan.place.pool)?;
        let names = cluster.names().await?;
        if names.contains(&Name::Gone(uid.clone()).to_string()) {
            return Err(DriverError::WrongState(format!("volume {uid} is deleted")));
        }
        if let Some(record) = Record::find(&names, uid) {
            return record.possession().require_host(&self.host);
        }
        let (making, passing) = self.begin(&cluster, &names, uid.as_str()).await?;
        let image = passing.to_string();
        let (least, size) = match &plan.source {
            VolumeOrigin::Empty => {
                let size = plan.size_on(Bytes(0))?;
                cluster.create(&image, size).await?;
                (size, size)
            }
            VolumeOrigin::Snapshot(snapshot) => {
                let found = SnapshotRecord::must_find(&cluster, snapshot).await?;
                let size = plan.size_on(found.size)?;
                let from = found.image(&names)?;
                let cloned = cluster.clone_of(&from, &snapshot::name(snapshot), &image).await;
                stands_still(cloned)?;
                (found.size, size)
            }
            VolumeOrigin::Image(path) => {
                let least = size_in(path, "qcow2").await?;
                let size = plan.size_on(least)?;
                let from = self.bring(&cluster, &names, path, least).await?;
                stands_still(cluster.clone_of(&from, BASE, &image).await)?;
                (least, size)
            }
            VolumeOrigin::Filled => {
                let fill = self.fill_path(&plan.place.pool, uid);
                let least = size_in(&fill, "raw").await?;
                let size = plan.size_on(least)?;
                cluster.create(&image, least).await?;
                let file = json!({ "driver": "raw", "file": { "driver": "file", "filename": fill.to_string_lossy() } });
                write(&file, &cluster.location(&image, None)).await?;
                (least, size)
            }
        };
        if size > least {
            cluster.resize(&image, size).await?;
        }
        cluster.rename(&passing, &Name::Volume(Record::new(uid, &self.host))).await?;
        drop(making);
        // It took a while: the cloud may have given it to another host, which has made it by now.
        let names = cluster.names().await?;
        if let Some(kept) = Record::find(&names, uid) {
            drop_late(&cluster, &names, &kept).await?;
        }
        self.remove_fill(&plan.place.pool, uid)
    }

    /// What an image shows, in the pool: brought there once, by whichever host needs it first.
    async fn bring(
        &self,
        cluster: &Cluster,
        names: &[String],
        path: &Path,
        size: Bytes,
    ) -> Result<String, DriverError> {
        let own = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let name = Name::Image(own.to_owned());
        if names.contains(&name.to_string()) {
            return Ok(name.to_string());
        }
        let _alone = self.bringing.lock().await;
        let names = cluster.names().await?;
        if names.contains(&name.to_string()) {
            return Ok(name.to_string());
        }
        let (_making, passing) = self.begin(cluster, &names, own).await?;
        let image = passing.to_string();
        cluster.create(&image, size).await?;
        let file = json!({
            "driver": "qcow2", "backing": null, "file": { "driver": "file", "filename": path.to_string_lossy() },
        });
        write(&file, &cluster.location(&image, None)).await?;
        cluster.take(&image, BASE).await?;
        match cluster.rename(&passing, &name).await {
            // Another host was quicker.
            Err(Failure::Exists) => {
                or_missing(cluster.remove_snapshot(&image, BASE).await)?;
                or_missing(cluster.remove(&image).await)?;
            }
            done => done?,
        }
        Ok(name.to_string())
    }

    /// The name of something on its way into the pool; what an attempt before has left under it, goes.
    async fn begin(
        &self,
        cluster: &Cluster,
        names: &[String],
        what: &str,
    ) -> Result<(Making<'_>, Name), DriverError> {
        self.making.lock().insert(what.to_owned());
        let making = Making { driver: self, what: what.to_owned() };
        let passing = Name::Making { what: what.to_owned(), host: self.host.clone() };
        if names.contains(&passing.to_string()) {
            or_missing(cluster.remove(&passing.to_string()).await)?;
        }
        Ok((making, passing))
    }

    pub(crate) fn is_making(&self, what: &str) -> bool {
        self.making.lock().contains(what)
    }

    pub(crate) fn fill_path(&self, pool: &str, uid: &Uid) -> PathBuf {
        self.scratch.join(format!("{pool}.{uid}.raw"))
    }

    pub(crate) fn remove_fill(&self, pool: &str, uid: &Uid) -> Result<(), DriverError> {
        match std::fs::remove_file(self.fill_path(pool, uid)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(DriverError::failed("removing what was left", e))
            }
            _ => Ok(()),
        }
    }
}

/// What was to be cloned may have gone meanwhile; another attempt sees what there is.
fn stands_still(cloned: Result<(), Failure>) -> Result<(), DriverError> {
    match cloned {
        Err(Failure::Missing) => {
            Err(DriverError::WrongState("what the volume is made of has just gone from the pool".into()))
        }
        done => Ok(done?),
    }
}

/// How large the disk in a file is, of a format that is stated.
async fn size_in(path: &Path, format: &str) -> Result<Bytes, DriverError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Info {
        virtual_size: u64,
    }
    let path = path.to_string_lossy();
    let told = run(QEMU_IMG, ["info", "--output", "json", "-f", format, &path], CALL_MAX).await;
    let told = told.map_err(|e| DriverError::failed("qemu-img info", e))?;
    let info: Info =
        serde_json::from_slice(&told).map_err(|e| DriverError::failed("reading what qemu-img says", e))?;
    Ok(Bytes(info.virtual_size))
}

/// Writes what a node shows into a new image, of which nothing was ever written.
async fn write(from: &serde_json::Value, to: &DiskLocation) -> Result<(), DriverError> {
    // Who runs here may read the keyring, and needs no key on a command line.
    let to = to.without_key();
    let (from, to) = (format!("json:{from}"), format!("json:{}", to.node("to", "", false)));
    let args = ["convert", "-q", "-n", "--target-is-zero", "-W", &from, &to];
    let done = run(QEMU_IMG, args, IMAGE_MAX).await;
    done.map(drop).map_err(|e| DriverError::failed("qemu-img (packages qemu-utils, qemu-block-extra)", e))
}
