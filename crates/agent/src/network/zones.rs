//! The names that guests of a VPC can find out: its instances', and those of the project's zones.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use guest_services::{RecordData, Zone};
use model::network::{DnsRecord, DnsZone, RecordValue, Vpc};

use super::plan::{View, addresses};

/// How long others may keep a name of an instance, in seconds.
pub(super) const NAME_TTL: u32 = 30;
/// How long they may keep a record that does not say so, in seconds.
const RECORD_TTL: u32 = 60;
const DNS: u16 = 53;

/// The domain of a VPC's instances.
pub(super) fn domain(vpc: &Vpc) -> String {
    let own = &vpc.spec.dns.domain;
    if own.is_empty() { format!("{}.internal", vpc.metadata.namespace) } else { own.clone() }
}

/// Who is asked for all other names: the VPC's own servers, or the host's.
pub(super) fn upstreams(vpc: &Vpc) -> Vec<SocketAddr> {
    let own = &vpc.spec.dns.servers;
    if !own.is_empty() {
        return own.iter().map(|server| SocketAddr::new(server.0, DNS)).collect();
    }
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers = text.lines().filter_map(|line| line.strip_prefix("nameserver ")?.trim().parse().ok());
    servers.map(|ip: IpAddr| SocketAddr::new(ip, DNS)).collect()
}

/// All zones that are known in the VPC, and the names of its addresses.
pub(super) fn zones(view: &View, vpc: &Vpc) -> (Vec<Zone>, HashMap<IpAddr, String>) {
    let domain = domain(vpc);
    let (instances, mut reverse) = instances(view, vpc, &domain);
    let mut zones: Vec<Zone> = instances.into_iter().collect();
    for known in view.zones.iter().filter(|zone| zone.spec.vpcs.contains(&vpc.metadata.name)) {
        // A zone of the instances' own domain adds to it.
        if let Some(zone) = zones.iter_mut().find(|zone| zone.name() == known.spec.domain) {
            fill(zone, view, known, &mut reverse);
        } else if let Ok(mut zone) = Zone::new(&known.spec.domain) {
            fill(&mut zone, view, known, &mut reverse);
            zones.push(zone);
        }
    }
    let taken: Vec<String> = zones.iter().map(|zone| zone.name().to_owned()).collect();
    zones.extend(view.endpoint_zones(vpc).into_iter().filter(|zone| !taken.iter().any(|t| t == zone.name())));
    (zones, reverse)
}

/// The names of the VPC's instances, forwards and backwards.
fn instances(view: &View, vpc: &Vpc, domain: &str) -> (Option<Zone>, HashMap<IpAddr, String>) {
    let subnets = view.subnets_of(&vpc.metadata.name);
    let mut reverse = HashMap::new();
    let Ok(mut zone) = Zone::new(domain) else { return (None, reverse) };
    for port in view.ports.iter().filter(|port| subnets.contains_key(port.spec.subnet.as_str())) {
        let owner = if port.spec.instance.is_empty() { &port.metadata.name } else { &port.spec.instance };
        let name = format!("{owner}.{domain}");
        for address in addresses(port) {
            // A name that DNS cannot have is left out; the instance is reached by its address.
            let record = match address {
                IpAddr::V4(address) => RecordData::A(address),
                IpAddr::V6(address) => RecordData::Aaaa(address),
            };
            if zone.insert(&name, NAME_TTL, record).is_ok() {
                reverse.entry(address).or_insert_with(|| name.clone());
            }
        }
    }
    (Some(zone), reverse)
}

fn fill(zone: &mut Zone, view: &View, known: &DnsZone, reverse: &mut HashMap<IpAddr, String>) {
    for record in view.records.iter().filter(|record| record.spec.zone == known.metadata.name) {
        let name = full_name(record, known);
        let ttl = if record.spec.ttl_seconds == 0 { RECORD_TTL } else { record.spec.ttl_seconds };
        for text in &record.spec.values {
            // What is stored was parsed when it came in.
            let Ok(value) = RecordValue::parse(record.spec.record_type, text) else { continue };
            let address = match value {
                RecordValue::A(address) => Some(IpAddr::V4(address)),
                RecordValue::Aaaa(address) => Some(IpAddr::V6(address)),
                _ => None,
            };
            if let Err(e) = zone.insert(&name, ttl, data(value)) {
                tracing::debug!(record = record.metadata.key(), error = %e, "a record is not served");
            } else if let Some(address) = address.filter(|_| !name.starts_with('*')) {
                reverse.entry(address).or_insert_with(|| name.clone());
            }
        }
    }
}

fn full_name(record: &DnsRecord, zone: &DnsZone) -> String {
    match record.spec.name.as_str() {
        "@" => zone.spec.domain.clone(),
        below => format!("{below}.{}", zone.spec.domain),
    }
}

fn data(value: RecordValue) -> RecordData {
    match value {
        RecordValue::A(address) => RecordData::A(address),
        RecordValue::Aaaa(address) => RecordData::Aaaa(address),
        RecordValue::Cname(name) => RecordData::Cname(name),
        RecordValue::Ptr(name) => RecordData::Ptr(name),
        RecordValue::Ns(name) => RecordData::Ns(name),
        RecordValue::Txt(pieces) => RecordData::Txt(pieces),
        RecordValue::Mx { preference, exchange } => RecordData::Mx { preference, exchange },
        RecordValue::Srv { priority, weight, port, target } => {
            RecordData::Srv { priority, weight, port, target }
        }
        RecordValue::Caa { flags, tag, value } => RecordData::Caa { flags, tag, value },
    }
}
