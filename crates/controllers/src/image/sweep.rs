//! The sweep: files in the cache that no image and no instance needs any more are removed.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use client::{Client, ListParams};
use image::Cache as Blobs;
use model::ApiError;
use model::compute::{Image, Instance};
use reconcile::Cache;

/// How often the cache is swept. A file must be unneeded in two sweeps in a row, so that one that was just
/// imported and not yet written down stays.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

pub(super) async fn run(blobs: &Arc<Blobs>, images: &Cache<Image>, client: &Client) {
    let mut unneeded: HashSet<String> = HashSet::new();
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        match sweep(blobs, images, client, &unneeded).await {
            Ok(now) => unneeded = now,
            Err(e) => tracing::debug!(error = %e, "the image cache was not swept"),
        }
    }
}

/// Removes what was unneeded before and is so still; returns what is unneeded now.
async fn sweep(
    blobs: &Arc<Blobs>,
    images: &Cache<Image>,
    client: &Client,
    before: &HashSet<String>,
) -> Result<HashSet<String>, ApiError> {
    // Disks of instances are clones of their image's file, also when the image itself was deleted. While any
    // instance names an image that is gone, nobody can tell which file it uses: keep them all. (What boots from a
    // volume does not need them: pools have links of their own.)
    let instances = client.all::<Instance>().list(&ListParams::default()).await?.items;
    let known: HashSet<String> = images.all().iter().map(|i| i.metadata.name.clone()).collect();
    let clones = instances.iter().filter(|i| !i.spec.boots_from_volume());
    if clones.flat_map(|i| i.spec.payload.images()).any(|name| !known.contains(name)) {
        return Ok(HashSet::new());
    }
    let needed: HashSet<String> =
        images.all().iter().flat_map(|i| &i.status.artifacts).map(|a| a.sha256.clone()).collect();
    let (blobs, before) = (Arc::clone(blobs), before.clone());
    super::blocking(move || {
        let mut unneeded = HashSet::new();
        for stored in blobs.list()? {
            let name = stored.digest.to_string();
            if needed.contains(&name) {
                continue;
            }
            if before.contains(&name) {
                blobs.remove(&stored.digest)?;
            } else {
                unneeded.insert(name);
            }
        }
        Ok::<_, image::CacheError>(unneeded)
    })
    .await
}
