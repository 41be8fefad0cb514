//! What an instance says of its network cards.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Instance, InstanceSpec, InstanceStatus, Isolation, Machine, Power};
use crate::network::{Address, PortSpec};
use crate::{Claim, FieldErrors, Name, ObjectMeta, Reference, Spec, Timestamp};

/// Most network cards of one instance.
pub const NETWORKS_MAX: usize = 15;
/// So much of an instance's name is kept where the name of its port would become too long.
const PREFIX_MAX: usize = 40;

const LEAVING_FIELD: &str = "status.ports";

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
    /// Which of the instance's cards it is, from 0; its place in the list when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<u32>,
}

impl InstanceNetwork {
    /// Its number, at this place of the list.
    pub fn number(&self, place: usize) -> u32 {
        self.interface.unwrap_or_else(|| u32::try_from(place).unwrap_or(u32::MAX))
    }

    /// The same card, whatever its number.
    fn is_like(&self, other: &Self) -> bool {
        Self { interface: None, ..self.clone() } == Self { interface: None, ..other.clone() }
    }
}

/// A port that an instance has let go of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ReleasedPort {
    pub port: String,
    pub at: Timestamp,
}

impl InstanceStatus {
    /// Notes at which ports its cards are now, and of which it has let go with that. Of those the latest are kept.
    pub fn set_ports(&mut self, ports: Vec<String>, at: Timestamp) {
        let before = std::mem::replace(&mut self.ports, ports);
        let gone = before.into_iter().filter(|port| !self.ports.contains(port));
        let gone: Vec<ReleasedPort> = gone.map(|port| ReleasedPort { port, at }).collect();
        let is_new = |port: &String| gone.iter().any(|new| new.port == *port);
        self.released_ports.retain(|old| !self.ports.contains(&old.port) && !is_new(&old.port));
        self.released_ports.extend(gone);
        let too_many = self.released_ports.len().saturating_sub(NETWORKS_MAX);
        self.released_ports.drain(..too_many);
    }
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
        let number = network.number(i);
        let known = networks[..i].iter().enumerate().any(|(place, other)| other.number(place) == number);
        errors.require(!known, &format!("{field}.interface"), "is another card's number; choose a free one");
        errors.require(
            (number as usize) < NETWORKS_MAX,
            &format!("{field}.interface"),
            "must be less than 15: an instance has at most so many cards",
        );
    }
}

/// Cards come and go, all but the first and the one with the default route. One that comes has a port already.
pub(super) fn validate_update(new: &InstanceSpec, old: &InstanceSpec, errors: &mut FieldErrors) {
    if new.networks == old.networks {
        return;
    }
    let numbered = |spec: &InstanceSpec| -> Vec<(u32, InstanceNetwork)> {
        spec.networks.iter().enumerate().map(|(i, n)| (n.number(i), n.clone())).collect()
    };
    let (before, after) = (numbered(old), numbered(new));
    let stays = |(number, card): &(u32, InstanceNetwork)| {
        after.iter().any(|(other, found)| other == number && found.is_like(card))
    };
    for (place, card) in before.iter().enumerate().filter(|(place, (_, card))| *place == 0 || card.primary) {
        let message = "has the card that the instance stands on, which stays; make a new instance";
        errors.require(stays(card), &format!("spec.networks[{place}]"), message);
    }
    for (place, (number, card)) in after.iter().enumerate() {
        if before.iter().any(|(other, known)| other == number && known.is_like(card)) {
            continue;
        }
        let field = format!("spec.networks[{place}]");
        let message = "comes later, so it must name a port that is there: make one, and name it in `port`";
        errors.require(!card.port.is_empty(), &field, message);
        errors.require(!card.primary, &format!("{field}.primary"), "is said when the instance is made");
    }
    let is_fixed = new.isolation == Isolation::MicroVm || new.machine == Some(Machine::MicroVm);
    let message = "of a microvm change only while spec.power is stopped; stop the instance first";
    errors.require(!is_fixed || old.power == Power::Stopped, "spec.networks", message);
}

/// Gives cards without a number the one they had before, and new ones the next that is free.
pub fn keep_numbers(new: &mut [InstanceNetwork], old: &[InstanceNetwork]) {
    let mut before: Vec<Option<(u32, &InstanceNetwork)>> =
        old.iter().enumerate().map(|(i, card)| Some((card.number(i), card))).collect();
    // Each card of before is one of now, though several may look alike.
    let mut taken_over = |card: &InstanceNetwork| {
        let is_it = |known: &Option<(u32, &InstanceNetwork)>| {
            let wanted = |number| card.interface.is_none_or(|own| own == number);
            known.is_some_and(|(number, known)| known.is_like(card) && wanted(number))
        };
        let at = before.iter().position(is_it)?;
        before[at].take().map(|(number, _)| number)
    };
    let known: Vec<Option<u32>> = new.iter().map(&mut taken_over).collect();
    let mut taken: Vec<u32> = new.iter().filter_map(|card| card.interface).collect();
    taken.extend(known.iter().flatten());
    for (i, card) in new.iter_mut().enumerate().filter(|(_, card)| card.interface.is_none()) {
        // Of one more than there are, one is free.
        let free = || (0..=taken.len()).filter_map(|n| u32::try_from(n).ok()).find(|n| !taken.contains(n));
        let number = known[i].or_else(free).unwrap_or(u32::MAX);
        taken.push(number);
        card.interface = (card.number(i) != number).then_some(number);
    }
}

/// The ports of an instance, one per network card: those it names, and those made for it.
pub fn port_names(instance: &Instance) -> Vec<String> {
    interfaces(instance).into_iter().map(|(_, port)| port).collect()
}

/// The network cards of an instance: the number of each, and its port.
pub fn interfaces(instance: &Instance) -> Vec<(u32, String)> {
    let networks = instance.spec.networks.iter().enumerate();
    networks
        .map(|(i, n)| {
            (n.number(i), if n.port.is_empty() { made_port(instance, n.number(i)) } else { n.port.clone() })
        })
        .collect()
}

/// Ports that its host has not taken out yet, though it names them no more.
pub fn leaving_ports(instance: &Instance) -> Vec<String> {
    let named = port_names(instance);
    instance.status.ports.iter().filter(|port| !named.contains(port)).cloned().collect()
}

/// `INSTANCE-N`.
fn made_port(instance: &Instance, index: u32) -> String {
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

/// A port that an instance names is its alone, until its host has taken it out.
pub(super) fn claims(instance: &Instance) -> Vec<Claim> {
    let project = &instance.metadata.namespace;
    let claim = |field: String, port: &String| {
        Claim::new(format!("attached/{project}/{port}"), field, format!("port {port:?}"))
    };
    let named = instance.spec.networks.iter().enumerate().filter(|(_, n)| !n.port.is_empty());
    let named = named.map(|(i, n)| claim(format!("spec.networks[{i}].port"), &n.port));
    named.chain(leaving_ports(instance).iter().map(|port| claim(LEAVING_FIELD.into(), port))).collect()
}

/// Its ports stay as long as the instance does.
pub(super) fn references(instance: &Instance) -> Vec<Reference> {
    let names = port_names(instance);
    let named = names.iter().enumerate().map(|(i, name)| (format!("spec.networks[{i}].port"), name));
    let leaving = leaving_ports(instance);
    let leaving = leaving.iter().map(|name| (LEAVING_FIELD.to_owned(), name));
    named
        .chain(leaving)
        .filter_map(|(field, name)| Reference::kept(PortSpec::KIND, &instance.metadata, name, field))
        .collect()
}
