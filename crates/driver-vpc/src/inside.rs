//! What a turn does in the namespace of a VPC: devices, then the filter, then what leads to them. Works in the namespace
//! that the calling thread is in.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use driver::{PortLink, VpcPlan};
use model::Uid;

use crate::error::VpcError;
use crate::filter::{self, Outcome};
use crate::layout::{self, Devices};
use crate::links::{self, Found};
use crate::memory::{Last, Memory};
use crate::names::UplinkAddresses;
use crate::rtnl::Rtnl;
use crate::{connections, rules};

/// Makes the plan true. `found` is what there was when the mirror had that revision; `detached` are ports whose other end
/// is not where it should be. A port that cannot be made is a failure of its own.
pub(crate) fn ensure(
    plan: &Arc<VpcPlan>,
    (found, revision): (Found, u64),
    detached: &[&Uid],
    uplink: Option<UplinkAddresses>,
    memory: &mut Memory,
    failures: &mut Vec<VpcError>,
) -> Result<Found, VpcError> {
    let mut rtnl = Rtnl::open()?;
    memory.mirror.listen(&mut rtnl)?;
    let mut found = if memory.mirror.revision() == revision { found } else { memory.found(plan) };
    // A pair has both ends or none: the one here goes, and both are made again.
    found.stale.extend(detached.iter().filter_map(|uid| found.ports.remove(*uid)));
    links::remove_stale(&mut rtnl, &mut found)?;
    for port in &plan.ports {
        if found.ports.contains_key(&port.uid) {
            continue;
        }
        match links::add_port(&mut rtnl, port, plan.mtu) {
            Ok(link) => {
                found.ports.insert(port.uid.clone(), link);
            }
            Err(e) => failures.push(e),
        }
    }
    found.set_mtu(&mut rtnl, plan.mtu)?;
    let devices = found.devices();
    let last = memory.last.take();
    let same_plan = last.as_ref().is_some_and(|last| last.plan == *plan && last.devices == devices);
    let outcome = write_filter(plan, &devices, memory, same_plan)?;
    found.raise(&mut rtnl)?;
    memory.mirror.listen(&mut rtnl)?;
    let stays = |last: &&Last| {
        let same_place = last.devices == devices && last.uplink == uplink;
        same_place && last.revision == memory.mirror.revision() && last.has_the_ways_of(plan)
    };
    let (own, as_wanted) = match last.as_ref().filter(stays) {
        Some(last) => (last.own.clone(), true),
        None => make_ways(plan, &devices, uplink, memory, &mut rtnl)?,
    };
    let has_less = !outcome.only_more || !last.as_ref().is_some_and(|last| last.is_within(plan, &own));
    if has_less || last.as_ref().is_some_and(|last| last.had_less) {
        let own: Vec<IpAddr> = own.iter().copied().collect();
        connections::end_disallowed(plan, &own, &outcome.gone)?;
    }
    memory.filter = outcome.written;
    let revision = memory.mirror.revision();
    memory.last = as_wanted.then(|| Last {
        plan: Arc::clone(plan),
        devices,
        uplink,
        revision,
        own,
        had_less: has_less,
    });
    Ok(found)
}

/// A plan that has not changed is not even compared while nobody has touched the filter.
fn write_filter(
    plan: &VpcPlan,
    devices: &Devices,
    memory: &mut Memory,
    same_plan: bool,
) -> Result<Outcome, VpcError> {
    let known = memory.filter.take();
    if same_plan
        && let Some(written) = &known
        && filter::is_untouched(written)?
    {
        return Ok(Outcome { gone: Vec::new(), only_more: true, written: known });
    }
    filter::write(rules::tables(plan, devices), known)
}

/// Addresses, routes and what they need. Tells the namespace's own addresses, and whether all was as wanted afterwards:
/// somebody else may have changed something in the same moment.
fn make_ways(
    plan: &VpcPlan,
    devices: &Devices,
    uplink: Option<UplinkAddresses>,
    memory: &mut Memory,
    rtnl: &mut Rtnl,
) -> Result<(BTreeSet<IpAddr>, bool), VpcError> {
    let wanted = layout::tables(plan, devices, uplink);
    wanted.apply(memory.mirror.tables(), rtnl)?;
    memory.mirror.look(rtnl)?;
    let as_wanted = wanted == *memory.mirror.tables();
    Ok((wanted.addresses.iter().map(|address| address.address).collect(), as_wanted))
}

/// Where the links of the plan's ports are.
pub(crate) fn port_links(plan: &VpcPlan, found: &Found, namespace: &Path) -> Vec<PortLink> {
    let link = |uid: &Uid| {
        let link = found.ports.get(uid)?;
        let (device, index) = (link.name.clone(), link.index);
        Some(PortLink { uid: uid.clone(), device, index, namespace: namespace.to_owned() })
    };
    plan.ports.iter().filter_map(|port| link(&port.uid)).collect()
}
