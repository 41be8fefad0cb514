//! What may come over links to peers: what is from an address of theirs.

use driver::VpcPlan;
use nft::{Element, Field, KeyType, Rule, Set, Table, Verdict, key};

use crate::layout::Devices;

/// From links to the chains that look at their sources.
pub(super) const SOURCES: &str = "peers";

pub(super) fn add(table: &mut Table, plan: &VpcPlan, devices: &Devices) {
    let mut elements = Vec::new();
    for peer in &plan.peers {
        let Some(device) = devices.peers.get(&peer.uid) else { continue };
        let chain = format!("peer-{}", peer.uid);
        let mut rules: Vec<Rule> = peer
            .ranges
            .iter()
            .map(|range| {
                let (family, field) = if range.addr().is_ipv4() {
                    (Rule::new().ipv4(), Field::Ip4Source)
                } else {
                    (Rule::new().ipv6(), Field::Ip6Source)
                };
                family.in_network(field, range.network(), range.prefix_len()).accept()
            })
            .collect();
        rules.push(Rule::new().drop().comment("no address of the peer's"));
        table.chain(&chain, rules);
        elements.push(Element::with_verdict(key([(*device).into()]), Verdict::Goto(chain)));
    }
    table.set(Set::verdict_map(SOURCES, &[KeyType::InterfaceIndex]), elements);
}
