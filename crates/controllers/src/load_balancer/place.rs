//! Which host does a balancer's work: a pure function of hosts and what they do already.

use std::collections::HashMap;
use std::sync::Arc;

use model::topology::Host;

/// What hosts call the driver that balances.
const DRIVER: &str = "haproxy";

/// The ready host with the fewest balancers, or why there is none. `loads` has the host of every balancer.
pub(super) fn choose(hosts: &[Arc<Host>], loads: impl IntoIterator<Item = String>) -> Result<String, String> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for host in loads {
        *counts.entry(host).or_default() += 1;
    }
    let fits = |host: &&Arc<Host>| host.is_ready() && !host.spec.cordoned && balances(host).is_ok();
    let load = |host: &&Arc<Host>| counts.get(&host.metadata.name).copied().unwrap_or(0);
    let chosen = hosts.iter().filter(fits).min_by_key(|host| (load(host), host.metadata.name.clone()));
    if let Some(host) = chosen {
        return Ok(host.metadata.name.clone());
    }
    let reasons: Vec<String> = hosts.iter().map(|host| refusal(host)).collect();
    Err(if reasons.is_empty() { "there is no host".into() } else { reasons.join("; ") })
}

fn refusal(host: &Host) -> String {
    let name = &host.metadata.name;
    if !host.is_ready() {
        return format!("host {name} is not ready");
    }
    if host.spec.cordoned {
        return format!("host {name} is cordoned");
    }
    match balances(host) {
        Ok(()) => format!("host {name} fits"),
        Err(why) => format!("host {name}: {why}"),
    }
}

fn balances(host: &Host) -> Result<(), String> {
    match host.status.drivers.iter().find(|driver| driver.name == DRIVER) {
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
        assert_eq!(choose(&hosts, ["a".to_owned()]), Ok("b".into()));
        assert_eq!(choose(&hosts, ["a".into(), "b".into(), "b".into()]), Ok("a".into()));
        assert_eq!(choose(&hosts, []), Ok("a".into()));
    }

    #[test]
    fn why_there_is_none_is_said() {
        let hosts = [host("a", false, Some("")), host("b", true, None), host("c", true, Some("no haproxy"))];
        let why = choose(&hosts, []).unwrap_err();
        assert_eq!(why, "host a is not ready; host b: has no networks; host c: no haproxy");
        assert_eq!(choose(&[], []), Err("there is no host".into()));
    }
}
