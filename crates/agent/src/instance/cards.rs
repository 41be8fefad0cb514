//! The network cards of an instance that runs: plugged and taken out as its spec says. What it has now stands in its
//! status: until a machine has let go of a card, the card's port is its own.

use driver::ComputeDriver;
use model::compute::{Instance, InstancePhase, Isolation, leaving_ports, port_names};
use model::{Condition, ConditionStatus, set_condition};

use super::plan::nic;
use super::{InstanceError, Instances};
use crate::network::Networks;

/// The condition that speaks of network cards.
const CONDITION: &str = "NetworksAttached";

impl Instances {
    /// Makes the cards those of the spec and notes how that went; false when it has to be tried again.
    pub(super) async fn sync_cards(
        &self,
        instance: &mut Instance,
        driver: &dyn ComputeDriver,
        phase: InstancePhase,
    ) -> bool {
        let (Some(networks), false) = (&self.networks, phase == InstancePhase::Unknown) else { return true };
        let wanted = port_names(instance);
        if instance.status.ports == wanted {
            return true;
        }
        let runs = matches!(phase, InstancePhase::Running | InstancePhase::Paused);
        let result = if runs { change(networks, instance, driver).await } else { Ok(()) };
        let known = instance.status.conditions.iter().any(|c| c.kind == CONDITION);
        if known || result.is_err() {
            let condition = match &result {
                Ok(()) => Condition::new(CONDITION, ConditionStatus::True, "Attached", String::new()),
                Err(e) => Condition::new(CONDITION, ConditionStatus::False, "Waits", e.to_string()),
            };
            set_condition(&mut instance.status.conditions, condition, (self.now)());
        }
        if result.is_ok() {
            instance.status.set_ports(wanted, (self.now)());
        }
        result.is_ok()
    }
}

/// First what goes: what comes may be meant for its place.
async fn change(
    networks: &Networks,
    instance: &Instance,
    driver: &dyn ComputeDriver,
) -> Result<(), InstanceError> {
    let leaving = leaving_ports(instance);
    let is_sandbox = instance.spec.isolation == Isolation::Namespace;
    if !is_sandbox {
        for mac in leaving.iter().filter_map(|port| networks.mac(instance, port)) {
            if let Some(access) = driver.cards() {
                access.unplug(&instance.metadata.uid, &mac.to_string()).await?;
            }
        }
    } else if !leaving.is_empty() {
        networks.reprogram(&instance.metadata.namespace).await?;
    }
    let cards = networks.cards(instance).await?;
    let new = cards.iter().filter(|card| !instance.status.ports.contains(&card.port.metadata.name));
    for card in new.filter(|_| !is_sandbox) {
        if let Some(access) = driver.cards() {
            access.plug(&instance.metadata.uid, &nic(card)).await?;
        }
    }
    Ok(())
}
