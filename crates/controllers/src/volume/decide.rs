//! Which host has the work of a volume: a pure function of what is known of hosts.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use model::topology::Host;

/// What is known of a volume or snapshot.
#[derive(Debug, Default)]
pub(super) struct Look<'a> {
    /// Spreads them over hosts, always in the same way.
    pub(super) key: &'a str,
    pub(super) pool: &'a str,
    /// The host that has the work; empty when none has it yet.
    pub(super) host: &'a str,
    /// That host says that an instance may have it open.
    pub(super) is_attached: bool,
    /// The host of the instance that names it, empty where that has none; `None` where no instance names it.
    pub(super) user: Option<&'a str>,
    /// The host that has the work of the volume it is made from; empty where there is none.
    pub(super) source: &'a str,
}

/// The host to give it to; none when it is to stay.
pub(super) fn decide<'a>(look: &Look<'a>, hosts: &'a [Arc<Host>]) -> Option<&'a str> {
    let user = look.user.filter(|host| !host.is_empty());
    if look.host.is_empty() {
        let usable = |host: &&str| is_usable(hosts, host, look.pool);
        let near = [user, Some(look.source)].into_iter().flatten().find(|host| usable(host));
        return near.or_else(|| any(look, hosts));
    }
    let is_free = !look.is_attached || is_lost(hosts, look.host);
    if let Some(user) = user {
        return (is_free && user != look.host).then_some(user);
    }
    // Whoever names it gets a host soon, and it goes there then.
    if look.user.is_some() || !is_free || is_usable(hosts, look.host, look.pool) {
        return None;
    }
    // One that is silent may be back in a moment; one that is heard of and has no pool is of no use.
    let silent = hosts.iter().any(|h| h.metadata.name == look.host && !h.is_ready() && !h.is_fenced());
    if silent { None } else { any(look, hosts) }
}

/// Gone from the cloud, or silent for so long that it has ended by itself what has to end.
pub(super) fn is_lost(hosts: &[Arc<Host>], name: &str) -> bool {
    hosts.iter().find(|host| host.metadata.name == name).is_none_or(|host| host.is_fenced())
}

fn is_usable(hosts: &[Arc<Host>], name: &str, pool: &str) -> bool {
    hosts.iter().any(|host| host.metadata.name == name && serves(host, pool))
}

fn serves(host: &Host, pool: &str) -> bool {
    host.is_ready() && host.has_pool(pool) && !host.metadata.is_deleting()
}

/// The usable host that comes first for this key; when hosts come or go, little else changes.
fn any<'a>(look: &Look<'_>, hosts: &'a [Arc<Host>]) -> Option<&'a str> {
    let rank = |name: &str| {
        let mut hasher = DefaultHasher::new();
        (look.key, name).hash(&mut hasher);
        hasher.finish()
    };
    let usable = hosts.iter().filter(|host| serves(host, look.pool));
    usable.map(|host| host.metadata.name.as_str()).min_by_key(|name| rank(name))
}

#[cfg(test)]
mod tests {
    use model::topology::{FENCED, HostPool, HostSpec};
    use model::{Condition, ConditionStatus, ObjectMeta};

    use super::*;

    /// `+` ready with the pool, `-` ready without it, `?` silent, `!` silent for long.
    fn hosts(text: &str) -> Vec<Arc<Host>> {
        let host = |word: &str| {
            let (state, name) = word.split_at(1);
            let mut host = Host::new(ObjectMeta::named(name), HostSpec::default());
            let condition = |kind: &str| Condition::new(kind, ConditionStatus::True, "Because", "");
            let unavailable = if state == "-" { "is not mounted" } else { "" };
            host.status.pools = vec![HostPool { name: "p".into(), unavailable: unavailable.into() }];
            match state {
                "+" | "-" => host.status.conditions.push(condition("Ready")),
                "!" => host.status.conditions.push(condition(FENCED)),
                _ => {}
            }
            Arc::new(host)
        };
        text.split_whitespace().map(host).collect()
    }

    #[test]
    fn the_work_is_where_the_instance_is_and_moves_when_nobody_may_write() {
        let table = [
            // The host, attached, the user's, the source's; the hosts; the decision.
            (("", false, None, ""), "+a", Some("a")),
            (("", false, None, "b"), "+a +b", Some("b")),
            (("", false, Some("a"), "b"), "+a +b", Some("a")),
            (("", false, None, ""), "-a ?b !c", None),
            (("a", false, None, ""), "+a +b", None),
            (("a", true, Some("b"), ""), "+a +b", None),
            (("a", false, Some("b"), ""), "+a +b", Some("b")),
            (("a", true, Some("b"), ""), "?a +b", None),
            (("a", true, Some("b"), ""), "!a +b", Some("b")),
            (("a", true, Some("b"), ""), "+b", Some("b")),
            (("a", true, Some("a"), ""), "!a +b", None),
            (("a", true, Some(""), ""), "!a +b", None),
            (("a", true, None, ""), "?a +b", None),
            (("a", false, None, ""), "?a +b", None),
            (("a", true, None, ""), "!a +b", Some("b")),
            (("a", false, None, ""), "-a +b", Some("b")),
            (("a", true, None, ""), "-a +b", None),
        ];
        for ((host, is_attached, user, source), hosts_text, wanted) in table {
            let hosts = hosts(hosts_text);
            let look = Look { key: "k", pool: "p", host, is_attached, user, source };
            assert_eq!(decide(&look, &hosts), wanted, "{look:?} {hosts_text}");
        }
    }
}
