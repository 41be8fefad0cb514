//! What is known of a VPC from its last turn, for as long as it is certain. Each part notices by itself when somebody else
//! has changed something; all of it goes after a failure, and now and then without a reason.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use driver::VpcPlan;

use crate::ends::{Ends, Identity, identity};
use crate::error::VpcError;
use crate::filter::Written;
use crate::layout::Devices;
use crate::links::Found;
use crate::mirror::Mirror;
use crate::names::UplinkAddresses;
use crate::rtnl::Rtnl;

/// After this everything is read anew.
const TRUSTED_FOR: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(crate) struct Memory {
    namespace: Identity,
    since: Instant,
    pub(crate) mirror: Mirror,
    pub(crate) ends: Ends,
    pub(crate) filter: Option<Written>,
    /// The last turn, where all was as wanted after it.
    pub(crate) last: Option<Last>,
}

#[derive(Debug)]
pub(crate) struct Last {
    pub(crate) plan: Arc<VpcPlan>,
    pub(crate) devices: Devices,
    pub(crate) uplink: Option<UplinkAddresses>,
    /// Of the mirror.
    pub(crate) revision: u64,
    /// Addresses of the namespace's own.
    pub(crate) own: BTreeSet<IpAddr>,
    /// Something was no longer allowed. Connections are looked at in the next turn as well: a packet may have been under
    /// way.
    pub(crate) had_less: bool,
}

impl Memory {
    /// Reads all that the namespace of the calling thread has, which is `vpc`.
    pub(crate) fn begin(vpc: &File, rtnl: &mut Rtnl) -> Result<Self, VpcError> {
        let ends = Ends::open()?;
        let mirror = Mirror::open(rtnl)?;
        let since = Instant::now();
        Ok(Self { namespace: identity(vpc)?, since, mirror, ends, filter: None, last: None })
    }

    /// Whether it is of this namespace, and young enough.
    pub(crate) fn is_good_for(&self, vpc: &File) -> Result<bool, VpcError> {
        Ok(self.namespace == identity(vpc)? && self.since.elapsed() < TRUSTED_FOR)
    }

    /// Takes over what has happened since. In the VPC's namespace.
    pub(crate) fn look(&mut self, rtnl: &mut Rtnl) -> Result<(), VpcError> {
        self.ends.look();
        self.mirror.look(rtnl)
    }

    pub(crate) fn found(&self, plan: &VpcPlan) -> Found {
        Found::sort(plan, self.mirror.links().cloned())
    }
}

impl Last {
    /// Whether all but the filter of another plan is what it was.
    pub(crate) fn has_the_ways_of(&self, plan: &VpcPlan) -> bool {
        let VpcPlan {
            uid,
            label: _,
            vni,
            mtu,
            underlay,
            ports,
            remotes,
            groups: _,
            acls: _,
            uplink,
            ranges,
            tables,
            peers,
            endpoints,
            segment,
        } = plan;
        let known = &self.plan;
        (&known.uid, known.vni, known.mtu, &known.underlay) == (uid, *vni, *mtu, underlay)
            && (&known.uplink, &known.ranges, &known.tables) == (uplink, ranges, tables)
            && (&known.peers, &known.endpoints, &known.segment) == (peers, endpoints, segment)
            && known.remotes == *remotes
            && known.ports == *ports
    }

    /// Whether everybody who had an address then has it in another plan too, which differs in nothing else that decides
    /// who is somebody. `own` are the namespace's addresses now.
    pub(crate) fn is_within(&self, plan: &VpcPlan, own: &BTreeSet<IpAddr>) -> bool {
        let known = &self.plan;
        if (&known.ranges, &known.peers) != (&plan.ranges, &plan.peers) || !self.own.is_subset(own) {
            return false;
        }
        if known.ports == plan.ports && known.remotes == plan.remotes {
            return true;
        }
        let addresses = |plan: &VpcPlan| -> HashSet<IpAddr> {
            let ports = plan.ports.iter().flat_map(|port| port.addresses.iter().copied());
            ports.chain(plan.remotes.iter().map(|remote| remote.address)).collect()
        };
        let checks = |plan: &VpcPlan| plan.ports.iter().any(|port| !port.source_check);
        checks(known) <= checks(plan) && addresses(known).is_subset(&addresses(plan))
    }
}
