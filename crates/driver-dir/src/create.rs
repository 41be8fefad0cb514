//! How volumes come to be where it takes long: out of a file that was filled, or of an image that lies elsewhere. That
//! is done before anybody else has to wait for it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use driver::{DiskKey, DiskLocation, DriverError, VolumeOrigin, VolumePlan, in_guest, qemu_img};
use model::{Bytes, Uid};

use crate::driver::DirDriver;
use crate::header;
use crate::pool::{Pool, failed};
use crate::record::{self, VolumeRecord};

/// A file on its way into a pool; the file goes when this does.
#[derive(Debug)]
pub(crate) struct Brought<'a> {
    driver: &'a DirDriver,
    pub(crate) path: PathBuf,
}

impl Drop for Brought<'_> {
    fn drop(&mut self) {
        // What stays is swept with the other copies.
        let _ = fs::remove_file(&self.path);
        self.driver.copies.lock().remove(&self.path);
    }
}

impl DirDriver {
    /// A volume of what was put into its file.
    pub(crate) async fn create_filled(&self, plan: &VolumePlan) -> Result<(), DriverError> {
        let uid = &plan.place.uid;
        let (fill, copy) = {
            let (pool, _turn) = self.pool(&plan.place.pool).await?;
            if !may_make(&pool, uid)? {
                return Ok(());
            }
            pool.keep_reserve()?;
            let copy = pool.copy_path(uid);
            self.copies.lock().insert(copy.clone());
            (pool.fill_path(uid), copy)
        };
        let converted = self.convert(plan, &fill, &copy).await;
        let (pool, _turn) = self.pool(&plan.place.pool).await?;
        self.copies.lock().remove(&copy);
        let in_fill = converted?;
        if !may_make(&pool, uid)? {
            return Ok(());
        }
        let name = Pool::head_name(uid, 0);
        pool.take_in(&copy, &name)?;
        let encrypted = plan.key.is_some();
        let size = plan.size.max(in_guest(in_fill, encrypted));
        let volume = VolumeRecord::new(size, pool.host(), encrypted);
        if volume.in_files(size) > in_fill {
            pool.resize(&name, volume.in_files(size)).await?;
        }
        pool.keep_volume(uid, &volume)?;
        record::remove(&fill).map_err(failed("removing what was left"))
    }

    /// Makes a volume's qcow2 of its raw file; one that is encrypted has its image written into it.
    async fn convert(&self, plan: &VolumePlan, fill: &Path, copy: &Path) -> Result<Bytes, DriverError> {
        let size = Pool::convert(fill, copy).await?;
        if let (VolumeOrigin::Image(image), Some(key)) = (&plan.source, &plan.key) {
            header::check(image, &[None]).map_err(failed("reading the image"))?;
            qemu_img::encrypt_image(image, &DiskLocation::qcow2(copy), key).await?;
        }
        Ok(size)
    }

    /// An encrypted volume that is empty or has what an image shows. That takes as long as it takes to write it.
    pub(crate) async fn create_encrypted(&self, plan: &VolumePlan, key: &DiskKey) -> Result<(), DriverError> {
        let uid = &plan.place.uid;
        let least = match &plan.source {
            VolumeOrigin::Image(image) => header::virtual_size(image).map_err(failed("reading the image"))?,
            _ => 0,
        };
        let size = plan.size_on(Bytes(least))?;
        let fill = {
            let (pool, _turn) = self.pool(&plan.place.pool).await?;
            if !may_make(&pool, uid)? {
                return Ok(());
            }
            pool.keep_reserve()?;
            pool.fill_path(uid)
        };
        qemu_img::make_encrypted(&fill, size, key).await?;
        self.create_filled(plan).await
    }

    /// Copies an image to where it can be linked into a pool that lies elsewhere, before anybody has to wait.
    pub(crate) async fn bring_image(
        &self,
        pool: &str,
        image: &Path,
    ) -> Result<Option<Brought<'_>>, DriverError> {
        let (pool, _) = self.pool(pool).await?;
        let name = Pool::image_name(image);
        if !pool.is_shared() || pool.data(&name).exists() {
            return Ok(None);
        }
        // Several volumes may be made of it at the same time.
        let paths = (0_u32..).map(|number| pool.copies().join(format!("{name}.{number}")));
        let free = paths.into_iter().find(|path| self.copies.lock().insert(path.clone()));
        let brought = Brought { driver: self, path: free.unwrap_or_default() };
        let (from, to) = (image.to_owned(), brought.path.clone());
        let copy = move || {
            record::remove(&to)?;
            if fs::hard_link(&from, &to).is_err() {
                fs::copy(&from, &to)?;
                File::open(&to)?.sync_all()?;
            }
            Ok(())
        };
        let copied = tokio::task::spawn_blocking(copy).await;
        let copied: io::Result<()> = copied.unwrap_or_else(|e| Err(io::Error::other(e)));
        copied.map_err(failed("bringing the image into the pool"))?;
        Ok(Some(brought))
    }
}

/// Whether a volume has to be made yet.
pub(crate) fn may_make(pool: &Pool, uid: &Uid) -> Result<bool, DriverError> {
    if let Some(volume) = pool.volume(uid)? {
        return volume.possession().require_host(pool.host()).map(|()| false);
    }
    if pool.is_shared() && pool.gone().join(uid.as_str()).exists() {
        return Err(DriverError::WrongState("the volume was deleted".into()));
    }
    Ok(true)
}
