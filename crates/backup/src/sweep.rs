//! Removing a backup, and the packs that no other needs.

use std::collections::BTreeSet;

use crate::vault::MANIFEST;
use crate::{Error, Manifest, Place, Vault};

/// Removes a backup. No other of the same volume may be in the making. Repeated after it was cut off, it goes on.
pub async fn remove(vault: &dyn Vault, place: &Place) -> Result<(), Error> {
    vault.delete(&place.manifest()).await?;
    let below = format!("{}/", place.volume);
    let keys = vault.list(&below).await?;
    let mut needed = BTreeSet::new();
    for key in keys.iter().filter(|key| key.ends_with(&format!("/{MANIFEST}"))) {
        needed.insert(key.clone());
        let backup = key.trim_start_matches(&below).trim_end_matches(MANIFEST).trim_end_matches('/');
        let other = Place { volume: place.volume.clone(), backup: backup.to_owned() };
        // One that cannot be read might need anything.
        let manifest = Manifest::load(vault, &other, None).await?;
        needed.extend(manifest.needs().into_iter().map(|pack| format!("{below}{pack}")));
    }
    for key in keys.iter().filter(|key| !needed.contains(*key)) {
        vault.delete(key).await?;
    }
    Ok(())
}
