//! The cloud's own API, at addresses of the namespace itself: who may begin to talk to it. A port's own groups have to let
//! it out, as to anything else; then its subnet's routes lead there, or the endpoint's groups let it in.

use std::net::IpAddr;

use driver::{EndpointAccess, EndpointPlan, VpcPlan};
use nft::{Element, Field, KeyType, Rule, Set, Table, Verdict, key};

use super::groups::ingress_chain;
use super::{MAY_LEAVE, ports};
use crate::layout::Devices;

const TCP: u8 = 6;
const HTTPS: u16 = 443;
/// Where a packet to an endpoint is judged.
const JUDGED: &str = "endpoints";
/// Per family: the addresses, whose routes lead to which of them, and whose groups are asked.
const FAMILIES: [Names; 2] = [
    Names { all: "endpoints4", routed: "routed4", guarded: "guarded4", key: KeyType::Ipv4Address },
    Names { all: "endpoints6", routed: "routed6", guarded: "guarded6", key: KeyType::Ipv6Address },
];

struct Names {
    all: &'static str,
    routed: &'static str,
    guarded: &'static str,
    key: KeyType,
}

/// A VPC without endpoints has nothing of this.
pub(super) fn add(table: &mut Table, plan: &VpcPlan, devices: &Devices) {
    if plan.endpoints.is_empty() {
        return;
    }
    for (names, v4) in FAMILIES.iter().zip([true, false]) {
        let of_family = |endpoint: &'_ EndpointPlan| -> Vec<IpAddr> {
            endpoint.addresses.iter().copied().filter(|address| address.is_ipv4() == v4).collect()
        };
        let (mut all, mut routed, mut guarded) = (Vec::new(), Vec::new(), Vec::new());
        for endpoint in &plan.endpoints {
            for address in of_family(endpoint) {
                let element = Element::new(key([address.into()]));
                // Gateways of one service share theirs.
                if !all.contains(&element) {
                    all.push(element);
                }
                match &endpoint.access {
                    EndpointAccess::Ports(from) => {
                        let indexes = from.iter().filter_map(|port| devices.ports.get(port));
                        routed.extend(
                            indexes.map(|device| Element::new(key([(*device).into(), address.into()]))),
                        );
                    }
                    EndpointAccess::Groups(_) => {
                        let to = Verdict::Goto(chain(endpoint));
                        guarded.push(Element::with_verdict(key([address.into()]), to));
                    }
                }
            }
        }
        table.set(Set::new(names.all, &[names.key]), all);
        table.set(Set::new(names.routed, &[KeyType::InterfaceIndex, names.key]), routed);
        table.set(Set::verdict_map(names.guarded, &[names.key]), guarded);
    }
    for endpoint in &plan.endpoints {
        if let EndpointAccess::Groups(groups) = &endpoint.access {
            let known = groups.iter().filter(|uid| plan.groups.iter().any(|group| group.uid == **uid));
            let asked = known.map(|group| Rule::new().jump(&ingress_chain(group)));
            table.chain(&chain(endpoint), asked.collect());
        }
    }
    table.chain(JUDGED, judged());
}

/// What sends packets to an endpoint there; they are new.
pub(super) fn input(plan: &VpcPlan) -> Vec<Rule> {
    if plan.endpoints.is_empty() {
        return Vec::new();
    }
    let to = |rule: Rule| rule.protocol(TCP).equal(Field::DestinationPort, HTTPS).jump(JUDGED);
    let [v4, v6] = &FAMILIES;
    vec![
        to(Rule::new().ipv4().in_set(&[Field::Ip4Destination], v4.all)),
        to(Rule::new().ipv6().in_set(&[Field::Ip6Destination], v6.all)),
    ]
}

fn judged() -> Vec<Rule> {
    let [v4, v6] = &FAMILIES;
    let device = Field::InputDevice;
    vec![
        Rule::new().set_mark(0),
        Rule::new().verdict_of(&[device], ports::OUT),
        Rule::new().not_equal(Field::Mark, MAY_LEAVE).drop().comment("may not leave its port"),
        Rule::new().copy_to_mark(device).comment("names the port to sockets"),
        Rule::new().ipv4().in_set(&[device, Field::Ip4Destination], v4.routed).accept(),
        Rule::new().ipv6().in_set(&[device, Field::Ip6Destination], v6.routed).accept(),
        Rule::new().ipv4().verdict_of(&[Field::Ip4Destination], v4.guarded),
        Rule::new().ipv6().verdict_of(&[Field::Ip6Destination], v6.guarded),
        Rule::new().drop().comment("no way to the endpoint"),
    ]
}

fn chain(endpoint: &EndpointPlan) -> String {
    format!("endpoint-{}", endpoint.uid)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use driver::GroupPlan;
    use model::Uid;

    use super::*;

    #[test]
    fn a_vpc_without_endpoints_has_no_rule_for_them() {
        let uid = |n: u8| Uid::from_random([n; 16]);
        let devices = Devices { ports: BTreeMap::from([(uid(1), 7), (uid(2), 8)]), ..Devices::default() };
        let [before, _] = super::super::tables(&VpcPlan::default(), &devices);
        assert!(!before.chains.contains_key(JUDGED) && !before.sets.contains_key("endpoints4"));
        let gateway = |n: u8, port: u8| EndpointPlan {
            uid: uid(n),
            addresses: vec!["169.254.171.3".parse().unwrap()],
            access: EndpointAccess::Ports(vec![uid(port), uid(99)]),
        };
        let interface = EndpointPlan {
            uid: uid(5),
            addresses: vec!["10.0.0.9".parse().unwrap(), "fd00::9".parse().unwrap()],
            access: EndpointAccess::Groups(vec![uid(6), uid(98)]),
        };
        let plan = VpcPlan {
            endpoints: vec![gateway(3, 1), gateway(4, 2), interface],
            groups: vec![GroupPlan { uid: uid(6), ..GroupPlan::default() }],
            ..VpcPlan::default()
        };
        let [with, _] = super::super::tables(&plan, &devices);
        let count = |set: &str| with.sets[set].elements.len();
        assert_eq!((count("endpoints4"), count("routed4"), count("guarded4")), (2, 2, 1));
        assert_eq!((count("endpoints6"), count("routed6"), count("guarded6")), (1, 0, 1));
        assert_eq!(
            with.chains[&format!("endpoint-{}", uid(5))].rules.len(),
            1,
            "a group that is gone lets nobody in"
        );
        assert_eq!(with.chains["input"].rules.len(), before.chains["input"].rules.len() + 2);
    }
}
