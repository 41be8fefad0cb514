//! Vpc endpoints on this host: addresses of every VPC's namespace that lead to the cloud's own API, who comes to them,
//! and the names that lead there. Pure.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use driver::{EndpointAccess, EndpointPlan, PortLink};
use guest_services::{Door, EndpointId, RecordData, Zone};
use model::network::{EndpointService, Port, Vpc, VpcEndpoint};

use super::plan::{View, addresses, names};
use super::zones::NAME_TTL;

impl View {
    /// Those of a VPC that has ports here; without any there is nobody to come.
    pub(super) fn endpoints_of<'a>(
        &'a self,
        vpc: &'a Vpc,
        local: &[&Arc<Port>],
    ) -> impl Iterator<Item = &'a Arc<VpcEndpoint>> + use<'a> {
        let is_wanted = !local.is_empty();
        self.endpoints.iter().filter(move |endpoint| {
            is_wanted && endpoint.spec.vpc == vpc.metadata.name && !endpoint.metadata.is_deleting()
        })
    }

    pub(super) fn endpoint_plans(&self, vpc: &Vpc, local: &[&Arc<Port>]) -> Vec<EndpointPlan> {
        let plan = |endpoint: &Arc<VpcEndpoint>| {
            let access = if endpoint.is_interface() {
                let groups = self.groups.iter().filter(|group| {
                    endpoint.spec.security_groups.contains(&group.metadata.name)
                        && group.spec.vpc == vpc.metadata.name
                });
                EndpointAccess::Groups(groups.map(|group| group.metadata.uid.clone()).collect())
            } else {
                let led = local.iter().filter(|port| self.leads_to(endpoint, port));
                EndpointAccess::Ports(led.map(|port| port.metadata.uid.clone()).collect())
            };
            let uid = endpoint.metadata.uid.clone();
            EndpointPlan { uid, addresses: self.endpoint_addresses(endpoint), access }
        };
        self.endpoints_of(vpc, local).map(plan).collect()
    }

    /// Whether the routes of a port's subnet lead to a gateway.
    fn leads_to(&self, endpoint: &VpcEndpoint, port: &Port) -> bool {
        let subnet = self.subnets.iter().find(|subnet| subnet.metadata.name == port.spec.subnet);
        let table = subnet.and_then(|subnet| self.table_of(subnet));
        table.is_some_and(|table| endpoint.spec.route_tables.contains(&table.metadata.name))
    }

    fn endpoint_addresses(&self, endpoint: &VpcEndpoint) -> Vec<IpAddr> {
        if !endpoint.is_interface() {
            return endpoint.spec.service.gateway_address().into_iter().collect();
        }
        let is_its = |port: &&Arc<Port>| {
            port.spec.vpc_endpoint == endpoint.metadata.name
                && endpoint.spec.subnets.contains(&port.spec.subnet)
        };
        self.ports.iter().filter(is_its).flat_map(|port| addresses(port)).collect()
    }

    /// Where connections of the ports here lead.
    pub(super) fn doors(&self, vpc: &Vpc, links: &[PortLink]) -> Vec<Arc<Door>> {
        let by_uid = names(&self.ports);
        let here: Vec<(u32, &Arc<Port>)> =
            links.iter().filter_map(|link| Some((link.index, *by_uid.get(&link.uid)?))).collect();
        let local: Vec<&Arc<Port>> = here.iter().map(|(_, port)| *port).collect();
        let clients = |comes: &dyn Fn(&Port) -> bool| -> Arc<HashMap<u32, String>> {
            let those = here.iter().filter(|(_, port)| comes(port));
            Arc::new(those.map(|(index, port)| (*index, port.metadata.name.clone())).collect())
        };
        let everyone = clients(&|_| true);
        let door = |endpoint: &Arc<VpcEndpoint>| {
            let meta = &endpoint.metadata;
            Arc::new(Door {
                endpoint: EndpointId {
                    project: meta.namespace.clone(),
                    name: meta.name.clone(),
                    uid: meta.uid.clone(),
                },
                addresses: self.endpoint_addresses(endpoint),
                clients: if endpoint.is_interface() {
                    Arc::clone(&everyone)
                } else {
                    clients(&|port| self.leads_to(endpoint, port))
                },
            })
        };
        self.endpoints_of(vpc, &local).map(door).collect()
    }

    /// The names of the VPC's endpoints, each a zone of its own. Those of an interface go before those of a gateway.
    pub(super) fn endpoint_zones(&self, vpc: &Vpc) -> Vec<Zone> {
        let own =
            || self.endpoints.iter().filter(|e| e.spec.vpc == vpc.metadata.name && !e.metadata.is_deleting());
        let interfaces = own().filter(|endpoint| endpoint.is_interface());
        let gateways = own().filter(|endpoint| !endpoint.is_interface());
        let mut zones: BTreeMap<String, Zone> = BTreeMap::new();
        for endpoint in interfaces.chain(gateways) {
            let addresses = self.endpoint_addresses(endpoint);
            for name in endpoint.names() {
                if !zones.contains_key(&name)
                    && let Some(zone) = zone(&name, &addresses, endpoint.spec.service)
                {
                    zones.insert(name, zone);
                }
            }
        }
        zones.into_values().collect()
    }
}

/// Buckets have names below that of S3.
fn zone(name: &str, addresses: &[IpAddr], service: EndpointService) -> Option<Zone> {
    let mut zone = Zone::new(name).ok()?;
    let below = (service == EndpointService::S3).then(|| format!("*.{name}"));
    for owner in [name.to_owned()].into_iter().chain(below) {
        for address in addresses {
            let record = match address {
                IpAddr::V4(address) => RecordData::A(*address),
                IpAddr::V6(address) => RecordData::Aaaa(*address),
            };
            zone.insert(&owner, NAME_TTL, record).ok()?;
        }
    }
    Some(zone)
}

#[cfg(test)]
mod tests {
    use model::network::{EndpointType, RouteTableSpec, SubnetSpec, VpcEndpointSpec};

    use super::super::plan::tests::{object, port, view};
    use super::*;

    /// A VPC whose subnet `s` follows the main table, with a gateway and an interface.
    fn with_endpoints(tables: &[&str]) -> (View, Arc<Vpc>) {
        let (mut view, vpc) = view();
        let gateway = VpcEndpointSpec {
            vpc: "v".into(),
            route_tables: tables.iter().map(ToString::to_string).collect(),
            ..VpcEndpointSpec::default()
        };
        let interface = VpcEndpointSpec {
            vpc: "v".into(),
            service: EndpointService::Ec2,
            endpoint_type: EndpointType::Interface,
            subnets: vec!["s".into()],
            security_groups: vec!["clients".into()],
            private_dns: true,
            ..VpcEndpointSpec::default()
        };
        view.endpoints = vec![object("store", 120, gateway), object("api", 121, interface)];
        let mut own = (*port("api-vpce", 50, &["clients"])).clone();
        own.spec.vpc_endpoint = "api".into();
        view.ports.push(Arc::new(own));
        (view, vpc)
    }

    #[test]
    fn routes_lead_to_gateways_and_groups_let_into_interfaces() {
        let (mut view, vpc) = with_endpoints(&["main"]);
        let plan = view.plan(&vpc);
        let [gateway, interface] = plan.endpoints.as_slice() else { panic!("{:?}", plan.endpoints) };
        let local: Vec<_> = plan.ports.iter().map(|port| port.uid.clone()).collect();
        assert_eq!(gateway.access, EndpointAccess::Ports(local), "all ports of the subnet");
        assert_eq!(gateway.addresses, [IpAddr::from([169, 254, 171, 3])]);
        let clients = view.groups[1].metadata.uid.clone();
        assert_eq!(interface.access, EndpointAccess::Groups(vec![clients]));
        assert_eq!(interface.addresses, [IpAddr::from([10, 0, 0, 50])]);
        assert!(plan.ports.iter().all(|port| !port.addresses.contains(&interface.addresses[0])));
        view.subnets.push(object(
            "private",
            110,
            SubnetSpec { vpc: "v".into(), route_table: "private".into(), ..SubnetSpec::default() },
        ));
        view.tables.push(object(
            "private",
            111,
            RouteTableSpec { vpc: "v".into(), ..RouteTableSpec::default() },
        ));
        let (elsewhere, vpc) = with_endpoints(&["private"]);
        assert_eq!(elsewhere.plan(&vpc).endpoints[0].access, EndpointAccess::Ports(Vec::new()));
        view.links.clear();
        assert_eq!(view.plan(&vpc).endpoints, [], "nobody is here");
    }

    #[test]
    fn doors_know_who_comes_by_them() {
        let (view, vpc) = with_endpoints(&["main"]);
        let link = |name: &str, index: u32| PortLink {
            uid: view.ports.iter().find(|port| port.metadata.name == name).unwrap().metadata.uid.clone(),
            device: "p".into(),
            index,
            namespace: "/n".into(),
        };
        let doors = view.doors(&vpc, &[link("web", 4), link("both", 5)]);
        let expected = HashMap::from([(4, "web".to_owned()), (5, "both".to_owned())]);
        assert!(doors.iter().all(|door| *door.clients == expected), "{doors:?}");
        assert_eq!(doors[1].endpoint.name, "api");
        assert!(view.doors(&vpc, &[]).is_empty());
        let (unrouted, vpc) = with_endpoints(&[]);
        let doors = unrouted.doors(&vpc, &[link("web", 4)]);
        assert!(doors[0].clients.is_empty() && !doors[1].clients.is_empty());
    }

    #[test]
    fn names_are_zones_and_an_interface_goes_first() {
        let (mut view, vpc) = with_endpoints(&["main"]);
        let names = |view: &View| -> Vec<String> {
            view.endpoint_zones(&vpc).iter().map(|zone| zone.name().to_owned()).collect()
        };
        let own = view.endpoints[1].own_name().unwrap();
        let mut expected =
            vec!["ec2.my-corten-1.amazonaws.com".to_owned(), "s3.my-corten-1.amazonaws.com".into(), own];
        expected.sort();
        assert_eq!(names(&view), expected);
        let mut second = (*view.endpoints[1]).clone();
        second.spec.service = EndpointService::S3;
        view.endpoints[1] = Arc::new(second);
        assert_eq!(names(&view).len(), 2, "one name, one zone");
        let zones = view.endpoint_zones(&vpc);
        let s3 = zones.iter().find(|zone| zone.name().starts_with("s3.")).unwrap();
        assert!(format!("{s3:?}").contains("10.0.0.50") && !format!("{s3:?}").contains("169.254"), "{s3:?}");
    }
}
