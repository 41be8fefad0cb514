//! A cloud without backups, for tests of other things.

use std::pin::Pin;

use async_trait::async_trait;
use model::ApiError;
use model::storage::VolumeBackup;
use server::http::{Backups, Upload};

pub(crate) struct NoBackups;

#[async_trait]
impl Backups for NoBackups {
    async fn read(
        &self,
        backup: VolumeBackup,
    ) -> Result<Pin<Box<dyn tokio::io::AsyncRead + Send>>, ApiError> {
        Err(ApiError::not_found("backup", &backup.metadata.name))
    }

    async fn write(&self, backup: VolumeBackup, _: Upload) -> Result<(), ApiError> {
        Err(ApiError::not_found("backup", &backup.metadata.name))
    }
}
