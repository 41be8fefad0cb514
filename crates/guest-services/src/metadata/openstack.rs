//! OpenStack's layout of an instance's metadata, as cloud-init and cloudbase-init read it.

use std::net::IpAddr;

use bytes::Bytes;
use ipnet::IpNet;
use serde_json::{Value, json};

use super::instance::Instance;
use super::tree::{Folder, Node};
use crate::directory::Nic;

/// Versions that Nova lists. All answer alike.
pub(super) const VERSIONS: [&str; 10] = [
    "2012-08-10",
    "2013-04-04",
    "2013-10-17",
    "2015-10-15",
    "2016-06-30",
    "2016-10-06",
    "2017-02-22",
    "2018-08-27",
    "2020-10-14",
    "latest",
];

/// What stands below a version.
pub(super) fn tree(instance: &Instance) -> Node {
    let mut folder = Folder::default()
        .leaf("meta_data.json", meta_data(instance).to_string())
        .leaf("network_data.json", network_data(instance).to_string())
        .leaf("vendor_data.json", vendor_data(instance).to_string())
        .leaf("vendor_data2.json", "{}");
    if let Some(data) = &instance.user_data {
        folder = folder.leaf("user_data", data);
    }
    folder.done()
}

fn meta_data(instance: &Instance) -> Value {
    let keys: serde_json::Map<String, Value> =
        instance.public_keys.iter().map(|(name, key)| (name.clone(), Value::from(key.trim()))).collect();
    let listed: Vec<Value> = instance
        .public_keys
        .iter()
        .map(|(name, key)| json!({ "name": name, "type": "ssh", "data": key.trim() }))
        .collect();
    let hostname = instance.nics.first().map_or_else(|| instance.name.clone(), |facts| facts.nic.fqdn());
    let tags = if instance.options.shows_tags { json!(instance.tags) } else { json!({}) };
    json!({
        "uuid": instance.uid.as_str(),
        "name": instance.name,
        "hostname": hostname,
        "launch_index": instance.launch_index,
        "availability_zone": instance.zone,
        "project_id": instance.account_id,
        "public_keys": keys,
        "keys": listed,
        "meta": tags,
        "devices": [],
    })
}

/// Data that is JSON is given as it is; cloud-init takes anything else from a string.
fn vendor_data(instance: &Instance) -> Value {
    let Some(data) = &instance.vendor_data else {
        return json!({});
    };
    serde_json::from_slice(data).unwrap_or_else(|_| json!({ "cloud-init": text(data) }))
}

fn text(data: &Bytes) -> String {
    String::from_utf8_lossy(data).into_owned()
}

fn network_data(instance: &Instance) -> Value {
    let mut links = Vec::new();
    let mut networks = Vec::new();
    let mut services: Vec<Value> = Vec::new();
    for (i, facts) in instance.nics.iter().enumerate() {
        let nic = &facts.nic;
        let link = format!("nic{i}");
        links.push(json!({
            "id": link,
            "vif_id": facts.id,
            "type": "phy",
            "mtu": nic.mtu,
            "ethernet_mac_address": nic.mac_text(),
        }));
        let addresses = nic.addresses.iter().enumerate();
        networks.extend(addresses.map(|(n, net)| network(&link, n, &facts.subnet_id, nic, *net)));
        for address in &nic.dns {
            let service = json!({ "type": "dns", "address": address });
            if !services.contains(&service) {
                services.push(service);
            }
        }
    }
    json!({ "links": links, "networks": networks, "services": services })
}

fn network(link: &str, number: usize, subnet: &str, nic: &Nic, net: IpNet) -> Value {
    let kind = if net.addr().is_ipv4() { "ipv4" } else { "ipv6" };
    let is_first = nic.addresses.iter().find(|other| is_same_family(**other, net)) == Some(&net);
    json!({
        "id": format!("{link}-{number}"),
        "network_id": subnet,
        "link": link,
        "type": kind,
        "ip_address": net.addr(),
        "netmask": net.netmask(),
        // A gateway stands beside the primary address only, or a guest would set its routes twice.
        "routes": if is_first { routes(nic, net) } else { Vec::new() },
        "services": [],
    })
}

fn routes(nic: &Nic, net: IpNet) -> Vec<Value> {
    let (default, gateway) = match net {
        IpNet::V4(_) => (IpNet::V4(ipnet::Ipv4Net::default()), nic.router4().map(IpAddr::V4)),
        IpNet::V6(_) => (IpNet::V6(ipnet::Ipv6Net::default()), nic.router6().map(IpAddr::V6)),
    };
    let own = nic.routes.iter().filter(|route| is_same_family(route.to, net));
    let told = own.filter_map(|route| Some((route.to, route.via?)));
    let all = told.chain(gateway.map(|gateway| (default, gateway)));
    all.map(|(to, via)| json!({ "network": to.network(), "netmask": to.netmask(), "gateway": via })).collect()
}

fn is_same_family(a: IpNet, b: IpNet) -> bool {
    a.addr().is_ipv4() == b.addr().is_ipv4()
}
