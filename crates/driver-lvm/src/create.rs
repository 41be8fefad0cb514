//! How volumes come to be. What takes long is done under a passing name, which becomes its own when all of it is there.

use std::path::Path;

use driver::{
    Begun, DiskFormat, DiskLocation, DriverError, VolumeOrigin, VolumePlan, in_files, in_guest, qemu_img,
};
use model::{Bytes, Uid};
use serde_json::Value;

use crate::driver::LvmDriver;
use crate::lvm::{Look, ThinPool};
use crate::record::{Name, Record};

impl LvmDriver {
    pub(crate) async fn make(&self, plan: &VolumePlan) -> Result<(), DriverError> {
        let uid = &plan.place.uid;
        let pool = self.pool(&plan.place.pool)?;
        let look = self.whole_look(&pool, uid).await?;
        let name = Name::Volume(uid.clone());
        if look.find(&name).is_some() {
            return self.making.remove_fill(&plan.place);
        }
        look.require_metadata()?;
        let encrypted = plan.key.is_some();
        let new = Record { encrypted, ..Record::default() };
        match (&plan.source, &plan.key) {
            (VolumeOrigin::Empty, None) => {
                let size = asked(&look, plan, Bytes(0), false)?;
                pool.create(&name, look.whole(size), &new.tags()).await?;
            }
            (VolumeOrigin::Snapshot(snapshot), _) => {
                let of = Name::Snapshot(snapshot.clone());
                let found = look.find(&of).ok_or_else(|| missing(snapshot))?;
                let record = Record::of(found);
                let size = asked(&look, plan, record.size(found), record.encrypted)?;
                pool.snapshot(&of, &name, &Record { encrypted: record.encrypted, ..Record::default() })
                    .await?;
                let size = look.whole(in_files(size, record.encrypted));
                if size > found.size {
                    pool.extend(&name, size).await?;
                }
            }
            (VolumeOrigin::Image(path), None) => {
                let least = look.whole(qemu_img::size_in(path, DiskFormat::Qcow2).await?);
                let size = look.whole(asked(&look, plan, least, false)?);
                let of = self.bring(&pool, &look, path, least).await?;
                pool.snapshot(&of, &name, &new).await?;
                if size > least {
                    pool.extend(&name, size).await?;
                }
            }
            (VolumeOrigin::Filled, _) => {
                let fill = self.making.fill(&plan.place);
                let least = qemu_img::size_in(&fill, DiskFormat::Raw).await?;
                let size = asked(&look, plan, in_guest(least, encrypted), encrypted)?;
                self.write(&pool, &look, plan, look.whole(in_files(size, encrypted)), None).await?;
            }
            (VolumeOrigin::Empty, Some(key)) => {
                let size = asked(&look, plan, Bytes(0), true)?;
                qemu_img::make_encrypted(&self.making.new_fill(&plan.place)?, size, key).await?;
                self.write(&pool, &look, plan, look.whole(in_files(size, true)), None).await?;
            }
            (VolumeOrigin::Image(path), Some(key)) => {
                let least = qemu_img::size_in(path, DiskFormat::Qcow2).await?;
                let size = asked(&look, plan, least, true)?;
                qemu_img::make_encrypted(&self.making.new_fill(&plan.place)?, size, key).await?;
                self.write(&pool, &look, plan, look.whole(in_files(size, true)), Some(path)).await?;
            }
        }
        self.making.remove_fill(&plan.place)
    }

    /// A volume with what is in its file, and over that, encrypted, what an image shows.
    async fn write(
        &self,
        pool: &ThinPool,
        look: &Look,
        plan: &VolumePlan,
        size: Bytes,
        image: Option<&Path>,
    ) -> Result<(), DriverError> {
        let uid = &plan.place.uid;
        let (making, passing) = self.begin(pool, look, uid.as_str()).await?;
        let new = Record { encrypted: plan.key.is_some(), ..Record::default() };
        pool.create(&passing, size, &new.tags()).await?;
        let device = DiskLocation::Device { path: pool.device_path(&passing) };
        pool.activate(&passing).await?;
        qemu_img::fill(&qemu_img::raw_node(&self.making.fill(&plan.place)), &device).await?;
        if let (Some(image), Some(key)) = (image, &plan.key) {
            qemu_img::encrypt_image(image, &device, key).await?;
        }
        pool.deactivate(&passing).await?;
        pool.rename(&passing, &Name::Volume(uid.clone())).await?;
        drop(making);
        Ok(())
    }

    /// What an image shows, in the pool: brought there once.
    async fn bring(
        &self,
        pool: &ThinPool,
        look: &Look,
        path: &Path,
        size: Bytes,
    ) -> Result<Name, DriverError> {
        let own = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let name = Name::Image(own.to_owned());
        if look.find(&name).is_some() {
            return Ok(name);
        }
        let _alone = self.bringing.lock().await;
        let look = pool.look().await?;
        if look.find(&name).is_some() {
            return Ok(name);
        }
        let (_making, passing) = self.begin(pool, &look, own).await?;
        pool.create(&passing, size, &[]).await?;
        pool.activate(&passing).await?;
        let image: Value = qemu_img::image_node(path);
        qemu_img::fill(&image, &DiskLocation::Device { path: pool.device_path(&passing) }).await?;
        pool.deactivate(&passing).await?;
        pool.rename(&passing, &name).await?;
        Ok(name)
    }

    /// The name of something on its way into the pool; what an attempt before has left under it, goes.
    async fn begin(
        &self,
        pool: &ThinPool,
        look: &Look,
        what: &str,
    ) -> Result<(Begun<'_>, Name), DriverError> {
        let making = self.making.begin(what);
        let passing = Name::Making(what.to_owned());
        if look.find(&passing).is_some() {
            pool.remove(&passing).await?;
        }
        Ok((making, passing))
    }
}

/// The size that a volume is to have for its guest, as far as whole extents can have it.
fn asked(look: &Look, plan: &VolumePlan, least: Bytes, encrypted: bool) -> Result<Bytes, DriverError> {
    let rounded = |size: Bytes| in_guest(look.whole(in_files(size, encrypted)), encrypted);
    let size = if plan.size.0 == 0 { plan.size } else { rounded(plan.size) };
    VolumePlan { size, ..plan.clone() }.size_on(least)
}

pub(crate) fn missing(snapshot: &Uid) -> DriverError {
    DriverError::NotFound(format!("{snapshot} (a snapshot)"))
}
