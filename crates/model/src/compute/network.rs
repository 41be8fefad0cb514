//! What an instance says of its network cards.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Instance, Isolation};
use crate::network::{Address, PortSpec};
use crate::{Claim, FieldErrors, Name, ObjectMeta, Reference, Spec};

/// Most network cards of one instance.
pub const NETWORKS_MAX: usize = 15;
/// So much of an instance's name is kept where the name of its port would become too long.
const PREFIX_MAX: usize = 40;

/// One network card: in a subnet, at a port that is made for it; or at a port that is there already.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct InstanceNetwork {
    /// The subnet in which a port is made.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subnet: String,
    /// A Port of the project that no other instance has.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub port: String,
    /// An address in the subnet; any when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// SecurityGroups of the port that is made; the Vpc's default one when left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<String>,
    /// Give the port that is made a floating address, which goes with the instance; as the subnet says when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_address: Option<bool>,
    /// The card with the default route; the first when no card says so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub primary: bool,
}

pub(super) fn validate(networks: &[InstanceNetwork], isolation: Isolation, errors: &mut FieldErrors) {
    let has_cards = matches!(isolation, Isolation::Vm | Isolation::MicroVm | Isolation::Namespace);
    errors.require(
        networks.is_empty() || has_cards,
        "spec.networks",
        "is only for isolation vm, microvm and namespace; leave it out",
    );
    if networks.len() > NETWORKS_MAX {
        let message = format!("has {} entries, at most {NETWORKS_MAX} are allowed", networks.len());
        errors.push("spec.networks", message);
    }
    let primaries = networks.iter().filter(|network| network.primary).count();
    errors.require(primaries <= 1, "spec.networks", "must have at most one that is primary");
    for (i, network) in networks.iter().enumerate() {
        let field = format!("spec.networks[{i}]");
        errors.require(
            network.subnet.is_empty() != network.port.is_empty(),
            &field,
            "must be exactly one of subnet and port",
        );
        for (what, name) in [("subnet", &network.subnet), ("port", &network.port)] {
            if let (false, Err(e)) = (name.is_empty(), Name::new(name)) {
                errors.push(format!("{field}.{what}"), e.to_string());
            }
        }
        errors.require(
            network.port.is_empty() || network.address.is_none(),
            &format!("{field}.address"),
            "is the port's own; leave it out",
        );
        errors.require(
            network.port.is_empty() || network.security_groups.is_empty(),
            &format!("{field}.securityGroups"),
            "are the port's own; leave them out",
        );
        let again = !network.port.is_empty() && networks[..i].iter().any(|n| n.port == network.port);
        errors.require(!again, &format!("{field}.port"), "is named twice; once is enough");
    }
}

/// The ports of an instance, one per network card: those it names, and those made for it.
pub fn port_names(instance: &Instance) -> Vec<String> {
    let networks = instance.spec.networks.iter().enumerate();
    networks.map(|(i, n)| if n.port.is_empty() { made_port(instance, i) } else { n.port.clone() }).collect()
}

/// `INSTANCE-N`.
fn made_port(instance: &Instance, index: usize) -> String {
    name_of_own(&instance.metadata, &index.to_string())
}

/// `INSTANCE-SUFFIX`, for what is made with it; a name that would become too long is cut, and told apart by the uid.
pub(super) fn name_of_own(meta: &ObjectMeta, suffix: &str) -> String {
    let name = format!("{}-{suffix}", meta.name);
    if Name::new(&name).is_ok() {
        return name;
    }
    let cut: String = meta.name.chars().take(PREFIX_MAX).collect();
    let uid: String = meta.uid.as_str().chars().take(8).collect();
    format!("{}-{uid}-{suffix}", cut.trim_end_matches(['-', '.']))
}

/// A port that an instance names is its alone.
pub(super) fn claims(instance: &Instance) -> Vec<Claim> {
    let project = &instance.metadata.namespace;
    let named = instance.spec.networks.iter().enumerate().filter(|(_, n)| !n.port.is_empty());
    named
        .map(|(i, n)| {
            let field = format!("spec.networks[{i}].port");
            Claim::new(format!("attached/{project}/{}", n.port), field, format!("port {:?}", n.port))
        })
        .collect()
}

/// Its ports stay as long as the instance does.
pub(super) fn references(instance: &Instance) -> Vec<Reference> {
    let names = port_names(instance);
    names
        .iter()
        .enumerate()
        .filter_map(|(i, name)| {
            let field = format!("spec.networks[{i}].port");
            Reference::kept(PortSpec::KIND, &instance.metadata, name, field)
        })
        .collect()
}
