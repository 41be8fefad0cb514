//! What guests of a VPC are told: addresses, names, metadata. From the same objects as the plan.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use client::Client;
use driver::{PortLink, PortPlan, VpcPlan};
use guest_services::{Directory, Instance as Told, Nic, NicFacts, Port as Served, Role};
use ipnet::IpNet;
use model::compute::{Instance, KeyPair, interfaces};
use model::network::{Address, Port, Vpc};
use model::{ApiError, REGION, short_id, zone_in_region};

use super::plan::{GUEST_MTU, View, addresses, names};
use super::zones;

/// How long a guest may go without asking again, in seconds.
const LEASE_SECONDS: u32 = 3600;

/// The public keys of instances' key pairs, by the pair's name.
pub(super) async fn keys(
    client: &Client,
    owners: &BTreeMap<String, Arc<Instance>>,
) -> Result<BTreeMap<String, String>, ApiError> {
    let mut keys = BTreeMap::new();
    for instance in owners.values().filter(|i| !i.spec.key_pair.is_empty()) {
        let name = &instance.spec.key_pair;
        if !keys.contains_key(name)
            && let Some(pair) = client.project::<KeyPair>(&instance.metadata.namespace).find(name).await?
        {
            keys.insert(name.clone(), pair.spec.public_key);
        }
    }
    Ok(keys)
}

pub(super) fn directory(
    view: &View,
    vpc: &Vpc,
    plan: &VpcPlan,
    links: &[PortLink],
    keys: &BTreeMap<String, String>,
    roles: &HashMap<String, Role>,
) -> Directory {
    let by_uid = names(&view.ports);
    let domain = zones::domain(vpc);
    let mut served = HashMap::new();
    for link in links {
        let (Some(port), Some(planned)) =
            (by_uid.get(&link.uid), plan.ports.iter().find(|p| p.uid == link.uid))
        else {
            continue;
        };
        let owner = view.owners.get(&port.metadata.name);
        let nic = Arc::new(nic(view, vpc, port, planned, owner, &domain));
        let told = owner.map(|instance| {
            let role = roles.get(&instance.metadata.name).cloned();
            Arc::new(Told { role, ..told(instance, port, vpc, &nic, keys, &view.authority) })
        });
        served.insert(link.index, Served { uid: link.uid.clone(), nic, instance: told });
    }
    let (zones, reverse) = zones::zones(view, vpc);
    let doors = view.doors(vpc, links);
    Directory {
        vpc: plan.uid.clone(),
        ports: served,
        zones,
        networks: vpc.spec.ranges().map(model::network::Cidr::net).collect(),
        reverse,
        upstreams: zones::upstreams(vpc),
        doors,
    }
}

fn nic(
    view: &View,
    vpc: &Vpc,
    port: &Port,
    planned: &PortPlan,
    owner: Option<&Arc<Instance>>,
    domain: &str,
) -> Nic {
    let subnets = view.subnets_of(&vpc.metadata.name);
    let length = |address: IpAddr| {
        let subnet = subnets.get(port.spec.subnet.as_str());
        let cidr = subnet.and_then(|s| s.spec.cidrs().find(|cidr| cidr.contains(address)));
        cidr.map_or(if address.is_ipv4() { 32 } else { 128 }, model::network::Cidr::prefix_len)
    };
    let gateway4 = planned.gateways.iter().find_map(|g| if let IpAddr::V4(g) = g { Some(*g) } else { None });
    let gateway6 = planned.gateways.iter().find_map(|g| if let IpAddr::V6(g) = g { Some(*g) } else { None });
    let options = view.options_of(vpc);
    let own = if vpc.spec.dns.disabled { Vec::new() } else { planned.gateways.clone() };
    let ipv4 = |servers: &[Address]| -> Vec<Ipv4Addr> {
        servers.iter().filter_map(|a| if let IpAddr::V4(a) = a.0 { Some(a) } else { None }).collect()
    };
    Nic {
        mac: planned.mac.0,
        hostname: owner.map_or(&port.metadata.name, |i| &i.metadata.name).clone(),
        domain: options.map_or(domain, |options| &options.spec.domain).to_owned(),
        addresses: addresses(port).into_iter().filter_map(|a| IpNet::new(a, length(a)).ok()).collect(),
        gateway4,
        gateway6,
        is_secondary: owner.is_some_and(|instance| !has_default_route(instance, port)),
        mtu: GUEST_MTU,
        dns: options.map_or_else(|| own.clone(), |options| options.spec.resolvers(&own)),
        ntp: options.map(|options| ipv4(&options.spec.ntp_servers)).unwrap_or_default(),
        netbios: options.map(|options| ipv4(&options.spec.netbios_name_servers)).unwrap_or_default(),
        netbios_node: options.and_then(|options| options.spec.netbios_node_type),
        routes: Vec::new(),
        lease_seconds: LEASE_SECONDS,
    }
}

/// Which of the instance's cards is at the port.
fn number_of(instance: &Instance, port: &Port) -> u32 {
    let mut all = interfaces(instance).into_iter();
    all.find(|(_, name)| *name == port.metadata.name).map_or(port.spec.interface, |(number, _)| number)
}

/// Whether the port's card is the primary one of the instance: the first, when no other is said to be.
fn has_default_route(instance: &Instance, port: &Port) -> bool {
    let primary = instance.spec.networks.iter().position(|network| network.primary).unwrap_or(0);
    interfaces(instance).get(primary).is_none_or(|(_, name)| *name == port.metadata.name)
}

fn told(
    instance: &Instance,
    port: &Port,
    vpc: &Vpc,
    nic: &Arc<Nic>,
    keys: &BTreeMap<String, String>,
    authority: &Arc<str>,
) -> Told {
    let meta = &instance.metadata;
    let key = &instance.spec.key_pair;
    let user_data = &instance.spec.user_data;
    Told {
        uid: meta.uid.clone(),
        id: short_id("i", meta),
        name: meta.name.clone(),
        image_id: instance.spec.payload.images().join(","),
        instance_type: instance.spec.instance_type.clone(),
        architecture: std::env::consts::ARCH.to_owned(),
        region: REGION.into(),
        zone: zone_in_region(&instance.spec.placement.zone),
        launched_at: meta.creation_timestamp.map(|t| t.to_string()).unwrap_or_default(),
        services_domain: "internal".into(),
        authority: Arc::clone(authority),
        public_keys: keys.get(key).map(|public| (key.clone(), public.clone())).into_iter().collect(),
        security_groups: port.spec.security_groups.clone(),
        user_data: (!user_data.is_empty()).then(|| user_data.clone().into_bytes().into()),
        nics: vec![NicFacts {
            nic: Arc::clone(nic),
            device_number: number_of(instance, port),
            id: short_id("eni", &port.metadata),
            vpc_id: short_id("vpc", &vpc.metadata),
            security_groups: port.spec.security_groups.clone(),
            ..NicFacts::default()
        }],
        ..Told::default()
    }
}
