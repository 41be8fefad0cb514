//! Connections that are no longer allowed end. The filter lets through whatever belongs to a connection that it let
//! through once; so when it has changed, the kernel's list of connections is gone through, and it forgets those that
//! it would not let through today. Their next packet is looked at like a first one.

mod judge;
mod kernel;

use std::net::IpAddr;

use driver::VpcPlan;

use crate::error::VpcError;
use judge::Judge;
pub(crate) use kernel::{Connection, Tracker};

/// Says what this host lacks.
pub(crate) fn probe() -> Result<(), VpcError> {
    let what = "list connections (if the kernel does not know how, load nf_conntrack_netlink)";
    Tracker::open()?.connections().map(drop).map_err(VpcError::network(what))
}

/// Ends what the plan no longer allows in the namespace of the calling thread. `own` are the namespace's own
/// addresses; `gone` are floating addresses that were taken away. Tells how many connections that were.
pub(crate) fn end_disallowed(plan: &VpcPlan, own: &[IpAddr], gone: &[IpAddr]) -> Result<usize, VpcError> {
    let judge = Judge::new(plan, own, gone);
    let mut tracker = Tracker::open()?;
    let all = tracker.connections().map_err(VpcError::network("list connections"))?;
    let mut ended = 0;
    for connection in all.iter().filter(|connection| !judge.allows(connection)) {
        tracker.forget(connection).map_err(VpcError::network("end a connection"))?;
        ended += 1;
    }
    Ok(ended)
}
