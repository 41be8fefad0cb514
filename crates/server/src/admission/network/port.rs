//! Ports: addresses of their subnet, a network card's address, and groups of their Vpc.

use model::network::{Address, Cidr, Mac, Port, PortSpec, SecurityGroupSpec, Subnet, SubnetMode};
use model::{ApiError, Claim, FieldErrors};

use crate::allocation::Choice;
use crate::claims::{Draft, key_of};
use crate::server::Server;

/// Random addresses of network cards have 40 bits: the second time is for a broken source of randomness.
const MAC_TRIES: usize = 8;

impl Server {
    pub(super) async fn complete_port(
        &self,
        port: &mut Port,
        old: Option<&Port>,
        draft: &mut Draft,
        errors: &mut FieldErrors,
    ) -> Result<(), ApiError> {
        let project = port.metadata.namespace.clone();
        // That there is none is said where references are checked.
        let Some(subnet) = self.read::<Subnet>(&project, &port.spec.subnet).await? else { return Ok(()) };
        if let Some(old) = old {
            if port.spec.addresses.is_empty() {
                port.spec.addresses.clone_from(&old.spec.addresses);
            }
            port.spec.mac = port.spec.mac.or(old.spec.mac);
        }
        self.check_addresses(port, old, &subnet, draft, errors).await?;
        if old.is_none() {
            self.give_addresses(port, &subnet, draft, errors).await?;
        }
        if port.spec.mac.is_none() {
            port.spec.mac = Some(self.choose_mac(&project, &port.spec.subnet, draft).await?);
        }
        if subnet.spec.mode == SubnetMode::Bridge {
            refuse_on_a_wire(port, old, errors);
            return Ok(());
        }
        if port.spec.security_groups.is_empty() {
            let claim = SecurityGroupSpec::default_claim(&project, &subnet.spec.vpc);
            port.spec.security_groups.extend(self.holder(&claim.key).await?);
        }
        self.check_groups_of(&project, &subnet.spec.vpc, &port.spec.security_groups, errors).await
    }

    /// Addresses that the user chose.
    async fn check_addresses(
        &self,
        port: &Port,
        old: Option<&Port>,
        subnet: &Subnet,
        draft: &mut Draft,
        errors: &mut FieldErrors,
    ) -> Result<(), ApiError> {
        let (project, name) = (&port.metadata.namespace, &port.spec.subnet);
        for (i, address) in port.spec.addresses.iter().enumerate() {
            if old.is_some_and(|old| old.spec.addresses.contains(address)) {
                continue;
            }
            let field = format!("spec.addresses[{i}]");
            match subnet.spec.cidrs().find(|cidr| cidr.contains(address.0)) {
                None => errors.push(field, outside(*address, subnet)),
                Some(cidr) if !cidr.for_ports().is_some_and(|pool| pool.contains(address.0)) => {
                    errors.push(field, reserved(*address, cidr));
                }
                Some(_) => {
                    let claim = PortSpec::address_claim(project, name, *address, &field);
                    self.require_free(&claim, &key_of(port), errors).await?;
                    if !draft.choose(&claim.key) {
                        errors.push(field, format!("{} is asked for twice; once is enough", claim.what));
                    }
                }
            }
        }
        Ok(())
    }

    /// An address of each family that the subnet has and the port has not.
    async fn give_addresses(
        &self,
        port: &mut Port,
        subnet: &Subnet,
        draft: &mut Draft,
        errors: &mut FieldErrors,
    ) -> Result<(), ApiError> {
        let (project, name) = (port.metadata.namespace.clone(), port.spec.subnet.clone());
        for cidr in subnet.spec.cidrs() {
            if port.spec.addresses.iter().any(|address| address.0.is_ipv4() == cidr.is_v4()) {
                continue;
            }
            let Some(pool) = cidr.for_ports() else { continue };
            let address = |n: u128| pool.nth(n).map(Address);
            let claim = |n: u128| {
                let claim = |a| PortSpec::address_claim(&project, &name, a, "spec.addresses");
                address(n).map(claim).map(|claim: Claim| claim.key).unwrap_or_default()
            };
            let prefix = PortSpec::addresses_in(&project, &name);
            let choice = Choice { prefix: &prefix, total: pool.count(), claim: &claim };
            match self.choose(&choice, draft).await?.and_then(address) {
                Some(address) => port.spec.addresses.push(address),
                None => errors.push("spec.addresses", exhausted(&name, cidr, pool.count())),
            }
        }
        Ok(())
    }

    async fn choose_mac(&self, project: &str, subnet: &str, draft: &mut Draft) -> Result<Mac, ApiError> {
        for _ in 0..MAC_TRIES {
            let random = self.inner.environment.random();
            let mac = Mac::from_random([random[0], random[1], random[2], random[3], random[4]]);
            let claim = PortSpec::mac_claim(project, subnet, mac);
            let free = self.look(&crate::claims::claim_key(&claim.key)).await?.is_none();
            if free && draft.choose(&claim.key) {
                return Ok(mac);
            }
        }
        Err(ApiError::internal("no free address of a network card was found; try again"))
    }
}

/// A physical segment carries what its ports say, to whoever is on it: what would be decided on the way there is refused
/// where it is new, rather than kept and never done.
fn refuse_on_a_wire(port: &Port, old: Option<&Port>, errors: &mut FieldErrors) {
    let (spec, name) = (&port.spec, &port.spec.subnet);
    let remedy = "leave it out, or use a subnet of spec.mode routed";
    let had = |of: fn(&PortSpec) -> bool| old.is_some_and(|old| of(&old.spec));
    let mut refuse = |asks: bool, had: bool, field: &str, what: &str| {
        errors.require(
            !asks || had,
            field,
            &format!("subnet {name:?} is a physical wire, which {what}; {remedy}"),
        );
    };
    let same_groups = old.is_some_and(|old| old.spec.security_groups == spec.security_groups);
    refuse(!spec.security_groups.is_empty(), same_groups, "spec.securityGroups", "nobody filters");
    let limited = had(|spec| spec.rate_bits.is_some());
    refuse(spec.rate_bits.is_some(), limited, "spec.rateBits", "nobody limits");
    let logged = had(|spec| spec.flow_logs);
    refuse(spec.flow_logs, logged, "spec.flowLogs", "nobody watches");
}

fn outside(address: Address, subnet: &Subnet) -> String {
    let cidrs: Vec<String> = subnet.spec.cidrs().map(ToString::to_string).collect();
    format!("{address} is not in subnet {:?}, which has {}", subnet.metadata.name, cidrs.join(" and "))
}

fn reserved(address: Address, cidr: &Cidr) -> String {
    let free = cidr.for_ports().map_or_else(|| "none".into(), |pool| pool.to_string());
    format!("{address} is the subnet's own (its first four addresses and the last are); ports have {free}")
}

fn exhausted(subnet: &str, cidr: &Cidr, count: u128) -> String {
    format!(
        "all {count} addresses for ports of subnet {subnet:?} ({cidr}) are in use; delete ports that are no \
         longer needed, or use another subnet"
    )
}
