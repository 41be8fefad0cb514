//! From network ACLs to what is asked at the edge of the subnets that have ports here. Pure.

use std::sync::Arc;

use driver::{AclPlan, AclRulePlan};
use model::network::{
    AclAction, AclRule, Cidr, Direction, NetworkAcl, NetworkAclSpec, Port, Subnet, SubnetMode, Vpc,
};

use super::plan::{View, protocol};

impl View {
    /// Subnets whose ACL lets everything through have none here: they cost nothing.
    pub(super) fn acls(&self, vpc: &Vpc, local: &[&Arc<Port>]) -> Vec<AclPlan> {
        let subnets = self.subnets_of(&vpc.metadata.name).into_values();
        let routed = subnets.filter(|subnet| subnet.spec.mode == SubnetMode::Routed);
        let plan = |subnet: &Arc<Subnet>| {
            let acl = self.acl_of(subnet);
            // One that is named and not known yet lets nothing through.
            let none = || (!subnet.spec.network_acl.is_empty()).then(NetworkAclSpec::default);
            let acl = acl.map_or_else(none, |acl| Some(acl.spec.clone()))?;
            if acl.lets_everything_through() {
                return None;
            }
            let own = || local.iter().filter(|port| port.spec.subnet == subnet.metadata.name);
            let rules = |direction| {
                let rules = acl.ordered(direction).into_iter();
                let plan = |rule: &AclRule| {
                    Some(AclRulePlan {
                        allows: rule.action == AclAction::Allow,
                        protocol: protocol(rule.protocol, rule.ports, (rule.icmp_type, rule.icmp_code)),
                        network: rule.cidr?.net(),
                    })
                };
                rules.filter_map(plan).collect()
            };
            Some(AclPlan {
                subnet: subnet.metadata.uid.clone(),
                networks: subnet.spec.cidrs().map(Cidr::net).collect(),
                ports: own().map(|port| port.metadata.uid.clone()).collect(),
                egress: rules(Direction::Egress),
                ingress: rules(Direction::Ingress),
                logs_flows: vpc.spec.flow_logs || own().any(|port| self.is_logged(port, &vpc.metadata.name)),
            })
        };
        let mut plans: Vec<AclPlan> = routed.filter_map(plan).collect();
        plans.retain(|plan| !plan.ports.is_empty());
        plans
    }

    /// The ACL that a subnet names, or the VPC's default one.
    fn acl_of(&self, subnet: &Subnet) -> Option<&Arc<NetworkAcl>> {
        let mut own = self.acls.iter().filter(|acl| acl.spec.vpc == subnet.spec.vpc);
        let named = &subnet.spec.network_acl;
        own.find(|acl| if named.is_empty() { acl.spec.is_default } else { acl.metadata.name == *named })
    }
}

#[cfg(test)]
mod tests {
    use model::network::{AclRule, NetworkAclSpec};

    use super::super::plan::tests::{object, view};

    #[test]
    fn only_subnets_with_ports_here_and_rules_that_refuse_are_asked_about() {
        let (mut view, vpc) = view();
        let acl = |rules: &[(&str, Option<u8>)], is_default| {
            let rule = |(number, (cidr, icmp)): (usize, &(&str, Option<u8>))| AclRule {
                number: u16::try_from(number).unwrap() + 1,
                cidr: cidr.parse().ok(),
                icmp_type: *icmp,
                ..AclRule::default()
            };
            let rules = rules.iter().enumerate().map(rule).collect();
            NetworkAclSpec { vpc: "v".into(), rules, is_default }
        };
        assert_eq!(view.plan(&vpc).acls, [], "none is there");
        view.acls = vec![object("main", 120, acl(&[("10.0.0.0/8", None)], true))];
        let [plan] = view.plan(&vpc).acls.try_into().unwrap();
        assert_eq!((plan.ports.len(), plan.ingress.len(), plan.egress.len()), (2, 1, 0));
        let mut own = (*view.subnets[0]).clone();
        own.spec.network_acl = "own".into();
        view.subnets = vec![std::sync::Arc::new(own)];
        let [plan] = view.plan(&vpc).acls.try_into().unwrap();
        assert_eq!(
            (plan.ingress, plan.egress),
            (vec![], vec![]),
            "what it names is not known yet: nothing passes"
        );
        view.links.clear();
        assert_eq!(view.plan(&vpc).acls, []);
    }
}
