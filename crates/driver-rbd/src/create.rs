//! How volumes come to be: under a passing name, which becomes the volume's own when all of it is there.

use std::path::{Path, PathBuf};

use driver::{DiskLocation, DriverError, VolumeOrigin, VolumePlan};
use model::{Bytes, Uid};
use serde::Deserialize;
use serde_json::json;
use sys::command::run;

use crate::cluster::{Cluster, Failure, IMAGE_MAX, or_missing};
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
            return self.require_kept_here(&record);
        }
        let making = self.begin(uid.as_str());
        let passing = Name::Making { what: uid.to_string(), host: self.host.clone() };
        let image = passing.to_string();
        if names.contains(&image) {
            or_missing(cluster.remove(&image).await)?;
        }
        let least = match &plan.source {
            VolumeOrigin::Empty => Bytes(0),
            VolumeOrigin::Snapshot(snapshot) => {
                let found = SnapshotRecord::must_find(&cluster, snapshot).await?;
                require_size(plan, found.size)?;
                let from = found.image(&names)?;
                let cloned = cluster.clone_of(&from, &snapshot::name(snapshot), &image).await;
                stands_still(cloned)?;
                found.size
            }
            VolumeOrigin::Image(path) => {
                let size = size_in(path, "qcow2").await?;
                require_size(plan, size)?;
                let from = self.bring(&cluster, &names, path, size).await?;
                stands_still(cluster.clone_of(&from, BASE, &image).await)?;
                size
            }
            VolumeOrigin::Filled => {
                let fill = self.fill_path(&plan.place.pool, uid);
                let size = size_in(&fill, "raw").await?;
                require_size(plan, size)?;
                cluster.create(&image, size).await?;
                let file = json!({ "driver": "raw", "file": { "driver": "file", "filename": fill.to_string_lossy() } });
                write(&file, &cluster.location(&image, None)).await?;
                size
            }
        };
        let size = plan.size.max(least);
        if plan.source == VolumeOrigin::Empty {
            cluster.create(&image, size).await?;
        } else if size > least {
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
        let own = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let name = Name::Image(own.clone());
        if names.contains(&name.to_string()) {
            return Ok(name.to_string());
        }
        let _alone = self.bringing.lock().await;
        let names = cluster.names().await?;
        if names.contains(&name.to_string()) {
            return Ok(name.to_string());
        }
        let _making = self.begin(&own);
        let passing = Name::Making { what: own, host: self.host.clone() };
        let image = passing.to_string();
        if names.contains(&image) {
            or_missing(cluster.remove(&image).await)?;
        }
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

    fn begin(&self, what: &str) -> Making<'_> {
        self.making.lock().insert(what.to_owned());
        Making { driver: self, what: what.to_owned() }
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

fn require_size(plan: &VolumePlan, least: Bytes) -> Result<(), DriverError> {
    if plan.size == Bytes(0) || plan.size >= least {
        return Ok(());
    }
    Err(DriverError::Invalid(format!(
        "a volume of {} is smaller than what it is made from; it must be at least {least}",
        plan.size
    )))
}

/// How large the disk in a file is, of a format that is stated.
async fn size_in(path: &Path, format: &str) -> Result<Bytes, DriverError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Info {
        virtual_size: u64,
    }
    let path = path.to_string_lossy();
    let told = run(QEMU_IMG, ["info", "--output", "json", "-f", format, &path], IMAGE_MAX).await;
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
