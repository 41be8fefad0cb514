//! A VPC's life on this host. All of it blocks; `network` moves it off the runtime's threads. Every step may be
//! repeated after a crash at any line, for each begins by looking.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

use driver::{Drift, PortCounters, PortLink, PortPlan, SegmentPlan, VpcPlan};
use model::Uid;
use nft::{Actual, Chain, Connection, Difference, Family, Hook, Policy};
use parking_lot::Mutex;
use sys::namespace::within_network;

use crate::VpcOptions;
use crate::error::VpcError;
use crate::flows::Watch;
use crate::layout;
use crate::links::{self, Found};
use crate::memory::Memory;
use crate::names::UplinkAddresses;
use crate::paths::RunDir;
use crate::rtnl::Rtnl;
use crate::tables::Tables;
use crate::uplink::{self, HostSide};
use crate::{connections, filter, inside, namespace, peers, rules, sandbox, segment, sysctl, tunnels};

/// Each VPC that is remembered holds two sockets, and a process may have 1,024 files by default.
const MEMORIES_MAX: usize = 256;

/// Everything the blocking half needs to know.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) options: VpcOptions,
    pub(crate) run: RunDir,
    /// Who reads the host's namespace to write it, and who fills the pool, is alone.
    alone: Mutex<()>,
    /// Of VPCs that nobody works on just now.
    memories: Mutex<HashMap<Uid, Memory>>,
}

impl Host {
    pub(crate) fn new(options: VpcOptions) -> Self {
        let run = RunDir::new(options.run_dir.clone());
        Self { options, run, alone: Mutex::new(()), memories: Mutex::default() }
    }

    pub(crate) fn ensure(&self, plan: &Arc<VpcPlan>) -> Result<Vec<PortLink>, VpcError> {
        layout::check(plan)?;
        // Out of the table: a failure on the way forgets it.
        let known = self.memories.lock().remove(&plan.uid);
        let present = namespace::open(&self.run, &plan.uid)?;
        let known = known.zip(present).filter(|(memory, vpc)| memory.is_good_for(vpc).unwrap_or(false));
        let (known, vpc) = if let Some((memory, vpc)) = known {
            (Some(memory), vpc)
        } else {
            let _alone = self.alone.lock();
            (None, namespace::hold(&self.run, &plan.uid)?)
        };
        if let Some(segment) = &plan.segment {
            return self.ensure_segment(plan, segment, &vpc);
        }
        let mut memory = recall(known, &vpc)?;
        let found = self.make_overlay(plan, &vpc, &mut memory)?;
        let revision = memory.mirror.revision();
        self.make_peer_links(plan, &vpc)?;
        let addresses = self.ensure_uplink(plan, &vpc)?;
        let mut failures = Vec::new();
        let unsettled: Vec<&PortPlan> =
            plan.ports.iter().filter(|port| !memory.ends.is_settled(port, plan.mtu, &found)).collect();
        let detached = detached(unsettled.iter().copied(), &mut failures);
        let found = within_network(Some(&vpc), || {
            inside::ensure(plan, (found, revision), &detached, addresses, &mut memory, &mut failures)
        })?;
        for port in unsettled {
            let Some(link) = found.ports.get(&port.uid) else { continue };
            match sandbox::configure(port, plan.mtu, &[]) {
                Ok(Some(sandbox)) => memory.ends.settle(port, plan.mtu, sandbox, link.other_namespace),
                Ok(None) => {}
                Err(e) => failures.push(e),
            }
        }
        memory.ends.keep(&plan.ports);
        if plan.uplink.is_some() {
            let _alone = self.alone.lock();
            self.on_host(|rtnl| uplink::ensure_ways(rtnl, &self.options, plan))?;
        }
        // One port that cannot be made does not keep the others from their network.
        if let Some(failure) = failures.into_iter().next() {
            return Err(failure);
        }
        self.remember(&plan.uid, memory);
        Ok(inside::port_links(plan, &found, &self.run.namespace(&plan.uid)))
    }

    fn remember(&self, uid: &Uid, memory: Memory) {
        let mut memories = self.memories.lock();
        // Each holds sockets. Who is out of it has his network read anew.
        if memories.len() >= MEMORIES_MAX
            && let Some(some) = memories.keys().next().cloned()
        {
            memories.remove(&some);
        }
        memories.insert(uid.clone(), memory);
    }

    pub(crate) fn check(&self, plan: &VpcPlan) -> Result<Vec<Drift>, VpcError> {
        layout::check(plan)?;
        let Some(vpc) = namespace::open(&self.run, &plan.uid)? else {
            return Ok(vec![Drift { kind: "link", what: "the network namespace".into(), missing: true }]);
        };
        if let Some(segment) = &plan.segment {
            let mut all = within_network(Some(&vpc), || segment::drift(plan))?;
            for port in &plan.ports {
                all.extend(sandbox::drift(port, &segment.networks)?);
            }
            return Ok(all);
        }
        let (host, addresses) = self.on_host(|rtnl| self.check_host(rtnl, plan))?;
        let mut all = within_network(Some(&vpc), || check_inside(plan, addresses))?;
        all.extend(host);
        for port in &plan.ports {
            all.extend(sandbox::drift(port, &[])?);
        }
        Ok(all)
    }

    pub(crate) fn list(&self) -> Result<Vec<Uid>, VpcError> {
        let mut all = namespace::list(&self.run)?;
        all.extend(self.on_host(|rtnl| Ok(HostSide::read(rtnl)?.vpcs(&self.options.tag)))?);
        all.sort();
        all.dedup();
        Ok(all)
    }

    /// Devices go one by one before the namespace does, for the kernel takes its time over a namespace: this way
    /// the tunnel's number and the ports' other ends are free when we return.
    pub(crate) fn delete(&self, vpc: &Uid) -> Result<(), VpcError> {
        // Its sockets would keep the namespace alive.
        self.memories.lock().remove(vpc);
        let mut overlay = None;
        if let Some(namespace) = namespace::open(&self.run, vpc)? {
            overlay = within_network(Some(&namespace), || {
                let mut rtnl = Rtnl::open()?;
                let none = VpcPlan { uid: vpc.clone(), ..VpcPlan::default() };
                let mut found = Found::sort(&none, list_links(&mut rtnl)?);
                let overlay = found.stale.iter().find_map(|link| link.vxlan);
                links::remove_stale(&mut rtnl, &mut found).map(|()| overlay)
            })?;
        }
        let _alone = self.alone.lock();
        self.on_host(|rtnl| {
            if let Some((vni, _)) = overlay {
                tunnels::remove(&self.options, vni)?;
            }
            uplink::remove(rtnl, &self.options, vpc)?;
            segment::remove_unused(rtnl, &self.options)
        })?;
        namespace::release(&self.run, vpc)?;
        if namespace::list(&self.run)?.is_empty() {
            self.on_host(|_| tunnels::clear(&self.options))?;
        }
        Ok(())
    }

    pub(crate) fn counters(&self, vpc: &Uid) -> Result<Vec<(Uid, PortCounters)>, VpcError> {
        let Some(namespace) = namespace::open(&self.run, vpc)? else { return Ok(Vec::new()) };
        let (links, spoofed) = within_network(Some(&namespace), || {
            Ok::<_, VpcError>((list_links(&mut Rtnl::open()?)?, filter::spoofed()?))
        })?;
        let counters = links.into_iter().filter_map(|link| {
            // What the host sent is what the guest received.
            let counts = link.counts;
            let seen = PortCounters {
                received_bytes: counts.sent_bytes,
                received_packets: counts.sent_packets,
                sent_bytes: counts.received_bytes,
                sent_packets: counts.received_packets,
                dropped_packets: counts.dropped,
                spoofed_packets: spoofed.get(&link.index).copied().unwrap_or(0),
            };
            Uid::parse(&link.alias).map(|uid| (uid, seen))
        });
        Ok(counters.collect())
    }

    pub(crate) fn watch_flows(&self, vpc: &Uid) -> Result<Watch, VpcError> {
        let namespace = namespace::open(&self.run, vpc)?;
        let namespace =
            namespace.ok_or_else(|| VpcError::Invalid(format!("network {vpc} is not on this host")))?;
        within_network(Some(&namespace), || {
            sysctl::count_flows()?;
            Watch::open(vpc.as_str())
        })
    }

    pub(crate) fn fill_pool(&self) -> Result<(), VpcError> {
        let _alone = self.alone.lock();
        namespace::fill_pool(&self.run, self.options.pool_size)
    }

    pub(crate) fn drain_pool(&self) -> Result<(), VpcError> {
        let _alone = self.alone.lock();
        namespace::drain_pool(&self.run)
    }

    /// Says what this host lacks.
    pub(crate) fn probe(&self) -> Result<(), VpcError> {
        if std::fs::read_dir("/proc/sys/net/ipv6").is_err() {
            let why = "this kernel has no IPv6, which tunnels between hosts use; remove ipv6.disable=1 from its command line";
            return Err(VpcError::Invalid(why.into()));
        }
        let folder = self.run.vpcs();
        std::fs::create_dir_all(&folder).map_err(VpcError::system(format!("make {}", folder.display())))?;
        self.on_host(|_| connections::probe().and_then(|()| foreign_policy())).map(|chains| {
            for chain in chains {
                tracing::warn!(
                    chain,
                    "another packet filter drops what is forwarded, and with it what leaves VPCs: let it accept \
                     devices cu*, such as with `iptables -I DOCKER-USER -i cu+ -j ACCEPT` and `-o cu+` beside Docker"
                );
            }
        })
    }

    fn on_host<T: Send>(
        &self,
        work: impl FnOnce(&mut Rtnl) -> Result<T, VpcError> + Send,
    ) -> Result<T, VpcError> {
        let namespace = match &self.options.host_namespace {
            None => None,
            Some(path) => {
                Some(File::open(path).map_err(VpcError::system(format!("open {}", path.display())))?)
            }
        };
        within_network(namespace.as_ref(), || work(&mut Rtnl::open()?))
    }

    /// The tunnel is made from the host's namespace; one that no longer fits goes first, or its number is taken. Who may
    /// send into it is said before it is there. Tells what there was.
    fn make_overlay(&self, plan: &VpcPlan, vpc: &File, memory: &mut Memory) -> Result<Found, VpcError> {
        let mut found = memory.found(plan);
        if !found.stale.is_empty() {
            within_network(Some(vpc), || {
                let mut rtnl = Rtnl::open()?;
                links::remove_stale(&mut rtnl, &mut found)?;
                memory.mirror.listen(&mut rtnl)
            })?;
        }
        {
            let _alone = self.alone.lock();
            self.on_host(|_| tunnels::ensure(&self.options, plan))?;
        }
        if let Some(own) = plan.underlay.filter(|_| found.overlay.is_none()) {
            self.on_host(|rtnl| links::add_overlay(rtnl, vpc, plan, own, self.options.vxlan_port))?;
        }
        Ok(found)
    }

    /// The peer's namespace is made as well where its turn has not come yet: it will be.
    fn make_peer_links(&self, plan: &VpcPlan, vpc: &File) -> Result<(), VpcError> {
        for peer in plan.peers.iter().filter(|peer| peer.is_linked()) {
            let _alone = self.alone.lock();
            peers::ensure_link(vpc, &namespace::hold(&self.run, &peer.uid)?, plan, peer)?;
        }
        Ok(())
    }

    fn ensure_uplink(&self, plan: &VpcPlan, vpc: &File) -> Result<Option<UplinkAddresses>, VpcError> {
        let _alone = self.alone.lock();
        self.on_host(|rtnl| {
            if plan.uplink.is_some() {
                return uplink::ensure_link(rtnl, &self.options, plan, vpc).map(Some);
            }
            let has_one = HostSide::read(rtnl)?.link(&self.options.tag, &plan.uid).is_some();
            if has_one { uplink::remove(rtnl, &self.options, &plan.uid).map(|()| None) } else { Ok(None) }
        })
    }

    fn ensure_segment(
        &self,
        plan: &VpcPlan,
        segment: &SegmentPlan,
        namespace: &File,
    ) -> Result<Vec<PortLink>, VpcError> {
        let mut failures = Vec::new();
        let detached = detached(&plan.ports, &mut failures);
        let on_host = || {
            let _alone = self.alone.lock();
            self.on_host(|rtnl| segment::ensure_on_host(rtnl, &self.options, plan, segment, namespace))
        };
        let links = segment::ensure(on_host, plan, segment, namespace, &detached, &mut failures)?;
        let ports = segment::port_links(plan, &links, &self.run.namespace(&plan.uid));
        failures.into_iter().next().map_or(Ok(ports), Err)
    }

    fn check_host(
        &self,
        rtnl: &mut Rtnl,
        plan: &VpcPlan,
    ) -> Result<(Vec<Drift>, Option<UplinkAddresses>), VpcError> {
        let mut all = filter_drift(&tunnels::difference(&self.options, plan)?);
        let side = HostSide::read(rtnl)?;
        let link = side.link(&self.options.tag, &plan.uid).cloned();
        let Some(link) = link else { return Ok((all, None)) };
        let addresses = side.addresses_of(&link);
        if plan.uplink.is_none() {
            all.push(Drift { kind: "link", what: link.name, missing: false });
            return Ok((all, addresses));
        }
        let (wanted, actual) = uplink::tables(rtnl, &side, &link, plan)?;
        all.extend(wanted.drift(&actual));
        all.extend(filter_drift(&uplink::filter(&side, &self.options, plan)?.difference));
        Ok((all, addresses))
    }
}

/// What is known of a VPC, as of now; all of it is read where nothing is.
fn recall(known: Option<Memory>, vpc: &File) -> Result<Memory, VpcError> {
    within_network(Some(vpc), || {
        let mut rtnl = Rtnl::open()?;
        match known {
            Some(mut memory) => memory.look(&mut rtnl).map(|()| memory),
            None => Memory::begin(vpc, &mut rtnl),
        }
    })
}

/// Ports whose other end is not where it should be, of those that somebody has to look at.
fn detached<'a>(ports: impl IntoIterator<Item = &'a PortPlan>, failures: &mut Vec<VpcError>) -> Vec<&'a Uid> {
    let mut all = Vec::new();
    for port in ports {
        match sandbox::is_detached(port) {
            Ok(true) => all.push(&port.uid),
            Ok(false) => {}
            Err(e) => failures.push(e),
        }
    }
    all
}

fn check_inside(plan: &VpcPlan, addresses: Option<UplinkAddresses>) -> Result<Vec<Drift>, VpcError> {
    let mut rtnl = Rtnl::open()?;
    let found = Found::sort(plan, list_links(&mut rtnl)?);
    let mut all = found.drift(plan);
    let devices = found.devices();
    let actual = Tables::read(&mut rtnl, devices.overlay)?;
    all.extend(layout::tables(plan, &devices, addresses).drift(&actual));
    let mut connection = Connection::open()?;
    for table in rules::tables(plan, &devices) {
        let actual = Actual::read(&mut connection, table.family, &table.name)
            .map_err(VpcError::filter("read the packet filter"))?;
        all.extend(filter_drift(&table.difference(&actual)));
    }
    Ok(all)
}

pub(crate) fn filter_drift(difference: &Difference) -> Vec<Drift> {
    let drift = |kind: &'static str, (name, missing): &(String, bool)| Drift {
        kind,
        what: name.clone(),
        missing: *missing,
    };
    let chains = difference.chains.iter().map(|chain| drift("rule", chain));
    chains.chain(difference.sets.iter().map(|set| drift("set", set))).collect()
}

fn list_links(rtnl: &mut Rtnl) -> Result<Vec<crate::rtnl::Link>, VpcError> {
    rtnl.links().map_err(VpcError::network("list links"))
}

/// Base chains of others that drop what they do not know of forwarded packets. No rule of ours could overrule one:
/// a packet has to pass every chain of its hook.
fn foreign_policy() -> Result<Vec<String>, VpcError> {
    let chains = Connection::open()?.chains().map_err(VpcError::filter("read the packet filter"))?;
    let drops = |chain: &Chain| {
        chain.base.is_some_and(|base| base.hook == Hook::Forward && base.policy == Policy::Drop)
    };
    let told = |(family, table, chain): (Family, String, Chain)| {
        format!("{} {table} {}", family.as_str(), chain.name)
    };
    Ok(chains.into_iter().filter(|(_, _, chain)| drops(chain)).map(told).collect())
}
