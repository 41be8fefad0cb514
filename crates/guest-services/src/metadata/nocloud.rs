//! NoCloud's layout over HTTP (cloud-init's `seedfrom`). Written as JSON, which is YAML too, so that no value can
//! break out of its place.

use std::net::IpAddr;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::instance::Instance;
use super::tree::{Folder, Node};
use crate::directory::Nic;

pub(super) fn tree(instance: &Instance) -> Node {
    let empty = Bytes::new();
    Folder::default()
        .leaf("meta-data", meta_data(instance).to_string())
        .leaf("network-config", network_config(instance).to_string())
        // The reader wants these to be there, with or without something in them.
        .leaf("user-data", instance.user_data.as_ref().unwrap_or(&empty))
        .leaf("vendor-data", instance.vendor_data.as_ref().unwrap_or(&empty))
        .done()
}

fn meta_data(instance: &Instance) -> Value {
    let keys: Vec<&str> = instance.public_keys.iter().map(|(_, key)| key.trim()).collect();
    let hostname = instance.nics.first().map_or_else(|| instance.name.clone(), |facts| facts.nic.fqdn());
    json!({
        "instance-id": instance.id,
        "local-hostname": hostname,
        "availability-zone": instance.zone,
        "public-keys": keys,
    })
}

fn network_config(instance: &Instance) -> Value {
    let cards: Map<String, Value> =
        instance.nics.iter().enumerate().map(|(i, facts)| (format!("nic{i}"), card(&facts.nic))).collect();
    json!({ "version": 2, "ethernets": cards })
}

fn card(nic: &Nic) -> Value {
    let mut card = json!({
        "match": { "macaddress": nic.mac_text() },
        "addresses": nic.addresses,
        "routes": routes(nic),
        "nameservers": { "addresses": nic.dns, "search": [nic.domain] },
    });
    if nic.mtu > 0 {
        card["mtu"] = nic.mtu.into();
    }
    if nic.domain.is_empty() {
        card["nameservers"]["search"] = json!([]);
    }
    card
}

/// Gateways outside of the card's own prefixes are on its link all the same.
fn routes(nic: &Nic) -> Vec<Value> {
    let is_near = |via: IpAddr| nic.addresses.iter().any(|net| net.contains(&via));
    let route = |to: String, via: IpAddr| {
        if is_near(via) {
            json!({ "to": to, "via": via })
        } else {
            json!({ "to": to, "via": via, "on-link": true })
        }
    };
    let told = nic.routes.iter().map(|r| match r.via {
        Some(via) => route(r.to.to_string(), via),
        None => json!({ "to": r.to.to_string(), "scope": "link" }),
    });
    let default4 = nic.router4().map(|via| route("0.0.0.0/0".to_owned(), via.into()));
    let default6 = nic.router6().map(|via| route("::/0".to_owned(), via.into()));
    told.chain(default4).chain(default6).collect()
}
