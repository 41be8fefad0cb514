//! Datagrams: translated by the kernel in the balancer's namespace, to servers that are healthy. A flow stays with its
//! server for as long as the kernel remembers it, which is half a minute after its last datagram.

use std::fs::File;
use std::net::{IpAddr, SocketAddr};

use driver::{BalancerPlan, DriverError, PoolPlan, ServerHealth, ServerPlan};
use model::network::{Balancing, Listener, ListenerProtocol};
use nft::{
    Base, ChainKind, Connection, Element, Family, Field, Hook, KeyType, NftError, Policy, Rule, Set, Table,
    Verdict, key,
};
use sys::namespace::within_network;

use crate::folder::Folder;

const TABLE: &str = "balancer";
/// UDP's number among protocols (IANA).
const UDP: u8 = 17;
/// Most shares of a group: weights are made smaller to fit.
const SHARES_MAX: u32 = 1024;
/// That a connection's destination is translated, in its status.
const TRANSLATED: u32 = 0x20;

/// Makes the namespace's table what the plan and the servers' health say.
pub(crate) fn ensure(
    plan: &BalancerPlan,
    folder: &Folder,
    servers: &[ServerHealth],
) -> Result<(), DriverError> {
    let table = table(plan, servers);
    let failed = |e: &dyn std::fmt::Display| DriverError::failed("translating datagrams", e);
    let namespace = File::open(folder.namespace()).map_err(|e| failed(&e))?;
    within_network(Some(&namespace), || {
        let mut connection = Connection::open()?;
        Ok(table.apply(&mut connection))
    })
    .map_err(|e: std::io::Error| failed(&e))?
    .map(drop)
    .map_err(|e: NftError| failed(&e))
}

fn table(plan: &BalancerPlan, servers: &[ServerHealth]) -> Table {
    let mut table = Table::new(Family::Inet, TABLE);
    let mut arriving = Vec::new();
    for listener in plan.listeners.iter().filter(|l| l.protocol == ListenerProtocol::Udp) {
        let Some(pool) = plan.groups.iter().find(|pool| pool.settings.name == listener.target_group) else {
            continue;
        };
        for own in &plan.addresses {
            arriving.extend(spread(&mut table, listener, pool, *own, servers));
        }
    }
    let base = |hook, priority| Base { kind: ChainKind::Nat, hook, priority, policy: Policy::Accept };
    table.base_chain("arriving", base(Hook::Prerouting, -100), arriving);
    // Answers come back the same way.
    let back = |own: &IpAddr| {
        let family = if own.is_ipv4() { Rule::new().ipv4() } else { Rule::new().ipv6() };
        family.any_bit(Field::ConnectionStatus, TRANSLATED).source_to(*own)
    };
    let mut leaving: Vec<Rule> = plan.addresses.iter().find(|a| a.is_ipv4()).map(back).into_iter().collect();
    leaving.extend(plan.addresses.iter().find(|a| a.is_ipv6()).map(back));
    table.base_chain("leaving", base(Hook::Postrouting, 100), leaving);
    table
}

/// Adds the servers of a listener at one of the balancer's addresses; the rule that leads to them, if there are any.
fn spread(
    table: &mut Table,
    listener: &Listener,
    pool: &PoolPlan,
    own: IpAddr,
    servers: &[ServerHealth],
) -> Option<Rule> {
    let well = |server: &&ServerPlan| {
        server.address.is_ipv4() == own.is_ipv4()
            && servers
                .iter()
                .any(|s| s.healthy && s.group == pool.settings.name && s.address == server.address)
    };
    let healthy: Vec<ServerPlan> = pool.servers.iter().filter(well).copied().collect();
    let shares = shares(&healthy);
    let total = u32::try_from(shares.len()).ok().filter(|total| *total > 0)?;
    let name = format!("{}-{own}", listener.port);
    let mut elements = Vec::new();
    for (turn, address) in (0_u32..).zip(&shares) {
        let chain = format!("to-{}-{}", address.ip(), address.port());
        elements.push(Element::with_verdict(key([turn.into()]), Verdict::Goto(chain.clone())));
        table.chain(&chain, vec![to(*address)]);
    }
    table.set(Set::verdict_map(&name, &[KeyType::Mark]), elements);
    let (here, source) = match own {
        IpAddr::V4(_) => (Rule::new().ipv4().equal(Field::Ip4Destination, own), Field::Ip4Source),
        IpAddr::V6(_) => (Rule::new().ipv6().equal(Field::Ip6Destination, own), Field::Ip6Source),
    };
    let rule = here.protocol(UDP).equal(Field::DestinationPort, listener.port);
    let rule = match pool.settings.balancing {
        Balancing::SourceAddress if total > 1 => rule.number_of(source, total),
        Balancing::RoundRobin | Balancing::SourceAddress => rule.number_in_turn(total),
        // What is under way is not known here.
        Balancing::LeastConnections => rule.number_at_random(total),
    };
    Some(rule.verdict_of(&[], &name))
}

fn to(address: SocketAddr) -> Rule {
    let family = if address.is_ipv4() { Rule::new().ipv4() } else { Rule::new().ipv6() };
    family.protocol(UDP).destination_to_port(address)
}

/// Every server as often as it has shares; by turns, not one after the other.
fn shares(servers: &[ServerPlan]) -> Vec<SocketAddr> {
    let total: u32 = servers.iter().map(|server| u32::from(server.weight)).sum();
    let smaller = total.div_ceil(SHARES_MAX).max(1);
    let share = |server: &ServerPlan| (u32::from(server.weight) / smaller).max(1);
    let most = servers.iter().map(share).max().unwrap_or(0);
    let round = |n: u32| servers.iter().filter(move |s| share(s) > n).map(|s| s.address);
    (0..most).flat_map(round).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_become_shares() {
        let server = |port, weight| ServerPlan { address: SocketAddr::from(([10, 0, 0, 1], port)), weight };
        let ports =
            |servers: &[ServerPlan]| -> Vec<u16> { shares(servers).iter().map(SocketAddr::port).collect() };
        assert_eq!(ports(&[server(1, 1), server(2, 3)]), [1, 2, 2, 2]);
        assert_eq!(ports(&[]), Vec::<u16>::new());
        let many: Vec<ServerPlan> = (0..1000).map(|port| server(port, 256)).collect();
        assert_eq!(shares(&many).len(), 1000);
    }
}
