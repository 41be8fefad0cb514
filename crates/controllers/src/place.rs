//! Which host does the work of what belongs to no instance, such as a load balancer or a gateway: a pure function of hosts
//! and what they do already. And when it is time for another host.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use model::topology::Host;
use parking_lot::Mutex;
use reconcile::{Cache, Outcome};
use tokio::time::Instant;

/// How long a host may be silent before its work goes elsewhere; beyond its lease.
const MOVE_AFTER: Duration = Duration::from_secs(30);
/// How soon to look again for a host when there is none.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Since when hosts are not heard of.
#[derive(Debug, Default)]
pub(crate) struct Silence(Mutex<HashMap<String, Instant>>);

impl Silence {
    /// When to look again at what stays on this host; `None` when it needs another.
    pub(crate) fn stays(&self, hosts: &Cache<Host>, name: &str) -> Option<Outcome> {
        if name.is_empty() {
            return None;
        }
        let host = hosts.get(name)?;
        if host.is_ready() {
            self.0.lock().remove(name);
            return Some(Outcome::Done);
        }
        let since = *self.0.lock().entry(name.to_owned()).or_insert_with(Instant::now);
        MOVE_AFTER.checked_sub(since.elapsed()).filter(|rest| !rest.is_zero()).map(Outcome::RequeueAfter)
    }
}

/// The ready host with the fewest of these that has the driver, or why there is none. `loads` has the host of each.
pub(crate) fn choose(
    driver: &str,
    hosts: &[Arc<Host>],
    loads: impl IntoIterator<Item = String>,
) -> Result<String, String> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for host in loads {
        *counts.entry(host).or_default() += 1;
    }
    let fits = |host: &&Arc<Host>| host.is_ready() && !host.spec.cordoned && drives(host, driver).is_ok();
    let load = |host: &&Arc<Host>| counts.get(&host.metadata.name).copied().unwrap_or(0);
    let chosen = hosts.iter().filter(fits).min_by_key(|host| (load(host), host.metadata.name.clone()));
    if let Some(host) = chosen {
        return Ok(host.metadata.name.clone());
    }
    let reasons: Vec<String> = hosts.iter().map(|host| refusal(host, driver)).collect();
    Err(if reasons.is_empty() { "there is no host".into() } else { reasons.join("; ") })
}

fn refusal(host: &Host, driver: &str) -> String {
    let name = &host.metadata.name;
    if !host.is_ready() {
        return format!("host {name} is not ready");
    }
    if host.spec.cordoned {
        return format!("host {name} is cordoned");
    }
    match drives(host, driver) {
        Ok(()) => format!("host {name} fits"),
        Err(why) => format!("host {name}: {why}"),
    }
}

fn drives(host: &Host, driver: &str) -> Result<(), String> {
    match host.status.drivers.iter().find(|found| found.name == driver) {
        None => Err("has no networks".into()),
        Some(driver) if !driver.unavailable.is_empty() => Err(driver.unavailable.clone()),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use model::topology::{DriverStatus, HostSpec};
    use model::{Condition, ConditionStatus, Object, ObjectMeta};

    use super::*;

    const DRIVER: &str = "haproxy";

    fn host(name: &str, ready: bool, unavailable: Option<&str>) -> Arc<Host> {
        let mut host = Object::new(ObjectMeta::named(name), HostSpec::default());
        let status = if ready { ConditionStatus::True } else { ConditionStatus::Unknown };
        host.status.conditions.push(Condition::new("Ready", status, "Test", ""));
        host.status.drivers.extend(unavailable.map(|why| DriverStatus {
            name: DRIVER.into(),
            unavailable: why.into(),
            ..DriverStatus::default()
        }));
        Arc::new(host)
    }

    #[test]
    fn the_ready_host_with_the_fewest_is_chosen() {
        let hosts = [host("a", true, Some("")), host("b", true, Some("")), host("c", false, Some(""))];
        assert_eq!(choose(DRIVER, &hosts, ["a".to_owned()]), Ok("b".into()));
        assert_eq!(choose(DRIVER, &hosts, ["a".into(), "b".into(), "b".into()]), Ok("a".into()));
        assert_eq!(choose(DRIVER, &hosts, []), Ok("a".into()));
    }

    #[test]
    fn why_there_is_none_is_said() {
        let hosts = [host("a", false, Some("")), host("b", true, None), host("c", true, Some("no haproxy"))];
        let why = choose(DRIVER, &hosts, []).unwrap_err();
        assert_eq!(why, "host a is not ready; host b: has no networks; host c: no haproxy");
        assert_eq!(choose(DRIVER, &[], []), Err("there is no host".into()));
    }
}
