//! Port: a network card's place in a subnet: its addresses, and what may pass.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::rules::{at_most, check_address, check_name, check_names, is_default, require_name};
use super::{Address, GROUP, Mac, SecurityGroupSpec, SubnetSpec};
use crate::{Claim, Column, Condition, FieldErrors, KindInfo, Object, Reference, Scope, Spec};

pub type Port = Object<PortSpec>;

const ADDRESSES_MAX: usize = 32;
const GROUPS_MAX: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PortSpec {
    pub subnet: String,
    /// Its addresses, the primary of each family first. What is left out is given by the server, one of each
    /// family that the subnet has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Address>,
    /// The network card's own address; given by the server when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// The SecurityGroups that it is in; the Vpc's default one when left out. A port in none sends and receives
    /// nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<String>,
    /// Drop packets that are neither from nor to one of its addresses. Off for guests that route for others.
    pub source_destination_check: bool,
    /// Most bits per second in either direction; no limit when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_bits: Option<u64>,
    /// Record what flows through it, and what its rules refuse; `corten net flows` shows it.
    #[serde(skip_serializing_if = "is_default")]
    pub flow_logs: bool,
    /// The instance that it was made for. Set by the server; for a port that an instance names itself, it is the
    /// instance that says so.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub instance: String,
    /// The load balancer that it was made for. Set by the server.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub load_balancer: String,
    /// The Vpc endpoint that it was made for. Set by the server.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub vpc_endpoint: String,
    /// Which of that instance's network cards it is, from 0.
    #[serde(skip_serializing_if = "is_default")]
    pub interface: u32,
}

impl Default for PortSpec {
    fn default() -> Self {
        Self {
            subnet: String::new(),
            addresses: Vec::new(),
            mac: None,
            security_groups: Vec::new(),
            source_destination_check: true,
            rate_bits: None,
            flow_logs: false,
            instance: String::new(),
            load_balancer: String::new(),
            vpc_endpoint: String::new(),
            interface: 0,
        }
    }
}

/// Whether a port's device carries packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum PortState {
    /// No host has it.
    #[default]
    Down,
    /// Its host makes its device.
    Building,
    Up,
    /// It could not be made; see the conditions.
    Failed,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PortStatus {
    /// The host on which it is. Peers on other hosts reach it there.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// That host's address between hosts, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_address: Option<Address>,
    #[serde(skip_serializing_if = "is_default")]
    pub state: PortState,
    /// Its device on that host.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub device: String,
    /// The generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "is_default")]
    pub observed_generation: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

impl PortSpec {
    /// Below this lie the claims of all addresses in a subnet.
    pub fn addresses_in(project: &str, subnet: &str) -> String {
        format!("address/{project}/{subnet}/")
    }

    /// What a port that has the address holds.
    pub fn address_claim(project: &str, subnet: &str, address: Address, field: &str) -> Claim {
        let key = format!("{}{address}", Self::addresses_in(project, subnet));
        Claim::new(key, field, format!("address {address} of subnet {subnet:?}"))
    }

    /// What a port whose card has the address holds.
    pub fn mac_claim(project: &str, subnet: &str, mac: Mac) -> Claim {
        Claim::new(format!("mac/{project}/{subnet}/{mac}"), "spec.mac", format!("network card address {mac}"))
    }
}

impl Spec for PortSpec {
    type Status = PortStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "Port",
        plural: "ports",
        singular: "port",
        short_names: &["nic", "nics"],
        scope: Scope::Project,
        summary: "A network card's place in a subnet: its addresses, and what may pass.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        require_name("spec.subnet", &self.subnet, "the subnet that it is in", errors);
        at_most("spec.addresses", &self.addresses, ADDRESSES_MAX, errors);
        for (i, address) in self.addresses.iter().enumerate() {
            let field = format!("spec.addresses[{i}]");
            check_address(&field, *address, errors);
            if self.addresses[..i].contains(address) {
                errors.push(field, format!("{address} is named twice; once is enough"));
            }
        }
        check_names("spec.securityGroups", &self.security_groups, GROUPS_MAX, errors);
        errors.require(
            self.rate_bits.is_none_or(|rate| rate >= 8_000),
            "spec.rateBits",
            "must be at least 8000 bits per second; leave it out for no limit",
        );
        check_name("spec.instance", &self.instance, errors);
        check_name("spec.loadBalancer", &self.load_balancer, errors);
        check_name("spec.vpcEndpoint", &self.vpc_endpoint, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        errors.require(self.subnet == old.subnet, "spec.subnet", "cannot be changed; make a new port");
        errors.require(self.mac == old.mac, "spec.mac", "cannot be changed; make a new port");
        let made = "is set by the server and cannot be changed";
        let leaves = self.instance.is_empty();
        errors.require(self.instance == old.instance || leaves, "spec.instance", made);
        errors.require(self.load_balancer == old.load_balancer, "spec.loadBalancer", made);
        errors.require(self.vpc_endpoint == old.vpc_endpoint, "spec.vpcEndpoint", made);
        errors.require(self.interface == old.interface, "spec.interface", made);
    }

    fn columns() -> &'static [Column<Port>] {
        const COLUMNS: &[Column<Port>] = &[
            Column::text("Subnet", |p, _| json!(p.spec.subnet)),
            Column::text("Addresses", |p, _| {
                json!(p.spec.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
            }),
            Column::text("Instance", |p, _| json!(p.spec.instance)),
            Column::text("State", |p, _| json!(p.status.state)),
            Column::text("Host", |p, _| json!(p.status.host)),
            Column::wide_text("Mac", |p, _| json!(p.spec.mac)),
            Column::wide_text("Groups", |p, _| json!(p.spec.security_groups.join(","))),
        ];
        COLUMNS
    }

    fn field(p: &Port, path: &str) -> Option<String> {
        Some(match path {
            "spec.subnet" => p.spec.subnet.clone(),
            "spec.instance" => p.spec.instance.clone(),
            "spec.loadBalancer" => p.spec.load_balancer.clone(),
            "spec.vpcEndpoint" => p.spec.vpc_endpoint.clone(),
            "status.host" => p.status.host.clone(),
            _ => return None,
        })
    }

    fn claims(p: &Port) -> Vec<Claim> {
        let (project, subnet) = (&p.metadata.namespace, &p.spec.subnet);
        let addresses = p.spec.addresses.iter().enumerate();
        addresses
            .map(|(i, a)| Self::address_claim(project, subnet, *a, &format!("spec.addresses[{i}]")))
            .chain(p.spec.mac.map(|mac| Self::mac_claim(project, subnet, mac)))
            .collect()
    }

    fn references(p: &Port) -> Vec<Reference> {
        let meta = &p.metadata;
        let groups = p.spec.security_groups.iter().enumerate().filter_map(|(i, group)| {
            Reference::kept(SecurityGroupSpec::KIND, meta, group, format!("spec.securityGroups[{i}]"))
        });
        Reference::kept(SubnetSpec::KIND, meta, &p.spec.subnet, "spec.subnet")
            .into_iter()
            .chain(groups)
            .collect()
    }
}
