//! Where an instance's volumes are: in a pool whose volumes stay on their host, that decides where it can run; in one
//! that hosts share, any host that has the pool will do.

use model::compute::Instance;
use model::storage::{Pool, Volume};
use reconcile::Cache;

/// What the volumes of an instance ask of its host.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// The only host that has them; none when they do not decide.
    pub(super) host: Option<String>,
    /// Pools that its host has to have, in order, but for those that every host has.
    pub(super) pools: Vec<String>,
}

/// The error says why no host can have them.
pub(super) fn place(
    instance: &Instance,
    volumes: &Cache<Volume>,
    pools: &Cache<Pool>,
) -> Result<Place, String> {
    let asked = &instance.spec.placement.host;
    let mut place = Place::default();
    let mut pinned_by = "";
    for (_, named) in instance.spec.named_volumes() {
        let key = format!("{}/{named}", instance.metadata.namespace);
        let Some(volume) = volumes.get(&key) else {
            // It was made in the same moment as the instance, and will be heard of: only then it is known where it is.
            return Err(format!("volume {named:?} is not known yet"));
        };
        let pool = pools.get(&volume.spec.pool);
        if pool.as_ref().is_some_and(|pool| !pool.spec.is_everywhere()) {
            place.pools.push(volume.spec.pool.clone());
        }
        if pool.is_some_and(|pool| pool.spec.is_shared()) {
            continue;
        }
        let host = volume.home();
        if host.is_empty() {
            continue;
        }
        match &place.host {
            Some(other) if other != host => {
                return Err(format!(
                    "no host can run it: volume {pinned_by:?} is on host {other:?} and volume {named:?} on {host:?}; detach one"
                ));
            }
            _ if !asked.is_empty() && asked != host => {
                return Err(format!(
                    "no host can run it: it is asked for on host {asked:?}, and volume {named:?} is on {host:?}"
                ));
            }
            _ => (place.host, pinned_by) = (Some(host.to_owned()), named),
        }
    }
    place.pools.sort_unstable();
    place.pools.dedup();
    Ok(place)
}
