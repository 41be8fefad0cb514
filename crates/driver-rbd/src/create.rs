//! How volumes come to be: under a passing name, which becomes the volume's own when all of it is there.

use std::path::Path;

use driver::{Begun, DiskFormat, DriverError, VolumeOrigin, VolumePlan, in_files, in_guest, qemu_img};
use model::Bytes;

use crate::cluster::{Cluster, Failure, or_missing};
use crate::driver::RbdDriver;
use crate::record::{Name, Record};
use crate::snapshot::{self, SnapshotRecord};
use crate::tidy::drop_late;

/// The snapshot of what an image of the cloud shows.
pub(crate) const BASE: &str = "base";

impl RbdDriver {
    pub(crate) async fn make(&self, plan: &VolumePlan) -> Result<(), DriverError> {
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
        let encrypted = plan.key.is_some();
        let location = cluster.location(&image, None);
        // Of the image, at first and at last.
        let (least, size) = match (&plan.source, &plan.key) {
            (VolumeOrigin::Empty, None) => {
                let size = plan.size_on(Bytes(0))?;
                cluster.create(&image, size).await?;
                (size, size)
            }
            (VolumeOrigin::Snapshot(snapshot), _) => {
                let found = SnapshotRecord::must_find(&cluster, snapshot).await?;
                let size = plan.size_on(found.shown_size())?;
                let from = found.image(&names)?;
                let cloned = cluster.clone_of(&from, &snapshot::name(snapshot), &image).await;
                stands_still(cloned)?;
                (found.size, in_files(size, encrypted))
            }
            (VolumeOrigin::Image(path), None) => {
                let least = qemu_img::size_in(path, DiskFormat::Qcow2).await?;
                let size = plan.size_on(least)?;
                let from = self.bring(&cluster, &names, path, least).await?;
                stands_still(cluster.clone_of(&from, BASE, &image).await)?;
                (least, size)
            }
            (VolumeOrigin::Filled, _) => {
                let least = qemu_img::size_in(&self.making.fill(&plan.place), DiskFormat::Raw).await?;
                let size = plan.size_on(in_guest(least, encrypted))?;
                self.fill(&cluster, plan, &image, least).await?;
                (least, in_files(size, encrypted))
            }
            (VolumeOrigin::Empty, Some(key)) => {
                let size = plan.size_on(Bytes(0))?;
                qemu_img::make_encrypted(&self.making.new_fill(&plan.place)?, size, key).await?;
                self.fill(&cluster, plan, &image, in_files(size, true)).await?;
                (in_files(size, true), in_files(size, true))
            }
            (VolumeOrigin::Image(path), Some(key)) => {
                let size = plan.size_on(qemu_img::size_in(path, DiskFormat::Qcow2).await?)?;
                qemu_img::make_encrypted(&self.making.new_fill(&plan.place)?, size, key).await?;
                self.fill(&cluster, plan, &image, in_files(size, true)).await?;
                qemu_img::encrypt_image(path, &location, key).await?;
                (in_files(size, true), in_files(size, true))
            }
        };
        if size > least {
            cluster.resize(&image, size).await?;
        }
        let made = Record { encrypted, ..Record::new(uid, &self.host) };
        cluster.rename(&passing, &Name::Volume(made)).await?;
        drop(making);
        // It took a while: the cloud may have given it to another host, which has made it by now.
        let names = cluster.names().await?;
        if let Some(kept) = Record::find(&names, uid) {
            drop_late(&cluster, &names, &kept).await?;
        }
        self.making.remove_fill(&plan.place)
    }

    /// A new image that has what is in the volume's file.
    async fn fill(
        &self,
        cluster: &Cluster,
        plan: &VolumePlan,
        image: &str,
        size: Bytes,
    ) -> Result<(), DriverError> {
        let file = self.making.fill(&plan.place);
        cluster.create(image, size).await?;
        qemu_img::fill(&qemu_img::raw_node(&file), &cluster.location(image, None)).await
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
        qemu_img::fill(&qemu_img::image_node(path), &cluster.location(&image, None)).await?;
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
    ) -> Result<(Begun<'_>, Name), DriverError> {
        let making = self.making.begin(what);
        let passing = Name::Making { what: what.to_owned(), host: self.host.clone() };
        if names.contains(&passing.to_string()) {
            or_missing(cluster.remove(&passing.to_string()).await)?;
        }
        Ok((making, passing))
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
