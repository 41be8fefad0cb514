//! Where an instance's volumes are: in a pool whose volumes stay on their host, that decides where it can run.

use model::compute::Instance;
use model::storage::Volume;
use reconcile::Cache;

/// The one host on which the instance can have its volumes; none when they do not decide. The error says why there is
/// no such host.
pub(super) fn pin(instance: &Instance, volumes: &Cache<Volume>) -> Result<Option<String>, String> {
    let asked = &instance.spec.placement.host;
    let mut pin: Option<(String, &str)> = None;
    for (_, named) in instance.spec.named_volumes() {
        let key = format!("{}/{named}", instance.metadata.namespace);
        let Some(volume) = volumes.get(&key) else {
            // It was made in the same moment as the instance, and will be heard of: only then it is known where it is.
            return Err(format!("volume {named:?} is not known yet"));
        };
        let host = volume.home();
        if host.is_empty() {
            continue;
        }
        match &pin {
            Some((other, name)) if other != host => {
                return Err(format!(
                    "no host can run it: volume {name:?} is on host {other:?} and volume {named:?} on {host:?}; detach one"
                ));
            }
            _ if !asked.is_empty() && asked != host => {
                return Err(format!(
                    "no host can run it: it is asked for on host {asked:?}, and volume {named:?} is on {host:?}"
                ));
            }
            _ => pin = Some((host.to_owned(), named)),
        }
    }
    Ok(pin.map(|(host, _)| host))
}
