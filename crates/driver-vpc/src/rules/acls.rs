//! Network ACLs: asked before anything else in the forward path, for every packet of a port whose subnet has one, also
//! of connections that were let through. A VPC without them has no chain of this.

use driver::{AclPlan, AclRulePlan, VpcPlan};
use nft::{Element, Field, Hook, KeyType, Policy, Rule, Set, Table, Verdict, key};

use super::filter_chain;
use super::groups::{Version, Way, match_protocol};
use super::ports::noted;
use crate::flows::{ENTERING, LEAVING};
use crate::layout::Devices;

/// Before the rules of ports.
const PRIORITY: i32 = -10;
const OUT: &str = "acl-out";
const IN: &str = "acl-in";

pub(super) fn add(table: &mut Table, plan: &VpcPlan, devices: &Devices) {
    if plan.acls.is_empty() {
        return;
    }
    for (map, way) in [(OUT, Way::Out), (IN, Way::In)] {
        let mut elements = Vec::new();
        for acl in &plan.acls {
            let chain = format!("{map}-{}", acl.subnet);
            table.chain(&chain, rules(acl, way));
            let own = acl.ports.iter().filter_map(|port| devices.ports.get(port));
            let element =
                |device: &u32| Element::with_verdict(key([(*device).into()]), Verdict::Jump(chain.clone()));
            elements.extend(own.map(element));
        }
        table.set(Set::verdict_map(map, &[KeyType::InterfaceIndex]), elements);
    }
    let asked = vec![
        Rule::new().verdict_of(&[Field::InputDevice], OUT),
        Rule::new().verdict_of(&[Field::OutputDevice], IN),
    ];
    table.base_chain("acls", filter_chain(Hook::Forward, PRIORITY, Policy::Accept), asked);
}

fn rules(acl: &AclPlan, way: Way) -> Vec<Rule> {
    let within = acl.networks.iter().map(|network| {
        let family = family(network.addr().is_ipv4());
        let matched = family.rule().in_network(family.field(way), network.network(), network.prefix_len());
        matched.verdict(&Verdict::Return)
    });
    let listed = if way == Way::Out { &acl.egress } else { &acl.ingress };
    let mut rules: Vec<Rule> = within.collect();
    for rule in listed {
        let refused = acl.logs_flows && !rule.allows;
        rules.extend(refused.then(|| noted(matched(rule, way), note(way))));
        let matched = matched(rule, way);
        rules.push(if rule.allows { matched.verdict(&Verdict::Return) } else { matched.drop() });
    }
    rules.extend(acl.logs_flows.then(|| noted(Rule::new(), note(way))));
    rules.push(Rule::new().drop().comment("no rule of the subnet's ACL"));
    rules
}

fn matched(rule: &AclRulePlan, way: Way) -> Rule {
    let network = rule.network;
    let family = family(network.addr().is_ipv4());
    let matched = family.rule().in_network(family.field(way), network.network(), network.prefix_len());
    match_protocol(matched, rule.protocol, family)
}

fn family(v4: bool) -> Version {
    if v4 { Version::V4 } else { Version::V6 }
}

fn note(way: Way) -> &'static str {
    if way == Way::Out { LEAVING } else { ENTERING }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use driver::Protocol;
    use model::Uid;

    use super::*;

    #[test]
    fn nothing_is_asked_where_no_subnet_has_an_acl() {
        let port = Uid::from_random([1; 16]);
        let devices = Devices { ports: BTreeMap::from([(port.clone(), 7)]), ..Devices::default() };
        let plan = VpcPlan::default();
        let [before, _] = super::super::tables(&plan, &devices);
        assert!(!before.chains.contains_key("acls") && !before.sets.contains_key(OUT));
        let rule = AclRulePlan {
            allows: true,
            protocol: Protocol::Tcp(80, 80),
            network: "0.0.0.0/0".parse().unwrap(),
        };
        let acl = AclPlan {
            subnet: Uid::from_random([2; 16]),
            networks: vec!["10.0.0.0/24".parse().unwrap(), "fd00:1::/64".parse().unwrap()],
            ports: vec![port],
            egress: Vec::new(),
            ingress: vec![rule],
            logs_flows: false,
        };
        let [with, _] = super::super::tables(&VpcPlan { acls: vec![acl.clone()], ..plan }, &devices);
        let rules = |chain: &str| with.chains[chain].rules.len();
        let named = |map: &str| format!("{map}-{}", acl.subnet);
        assert_eq!((rules("acls"), rules(&named(OUT)), rules(&named(IN))), (2, 3, 4));
        assert_eq!(with.chains["forward"], before.chains["forward"], "the rules of ports are what they were");
    }
}
