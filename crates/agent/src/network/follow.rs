//! The objects that networks are made of, followed. A change puts the project of the object in line, and those that
//! have a peering with it.

use std::sync::Arc;

use client::{Client, ListParams};
use model::Resource;
use model::compute::Instance;
use model::network::{
    DhcpOptions, DnsRecord, DnsZone, FloatingIp, FlowLog, Gateway, NetworkAcl, Peering, Port, PrefixList,
    RouteTable, SecurityGroup, Subnet, Vpc, VpcEndpoint,
};
use reconcile::{Cache, Change, Queue};

use super::peers::{neighbourhood, sides};
use super::plan::View;

pub(super) struct Objects {
    pub(super) vpcs: Cache<Vpc>,
    pub(super) subnets: Cache<Subnet>,
    pub(super) ports: Cache<Port>,
    groups: Cache<SecurityGroup>,
    lists: Cache<PrefixList>,
    acls: Cache<NetworkAcl>,
    pub(super) options: Cache<DhcpOptions>,
    flow_logs: Cache<FlowLog>,
    gateways: Cache<Gateway>,
    floating: Cache<FloatingIp>,
    zones: Cache<DnsZone>,
    records: Cache<DnsRecord>,
    tables: Cache<RouteTable>,
    pub(super) peerings: Cache<Peering>,
    endpoints: Cache<VpcEndpoint>,
}

impl Objects {
    pub(super) fn follow(client: &Client, queue: &Queue) -> Self {
        let peerings = wake_both(client, queue);
        Self {
            vpcs: wake(client, queue, &peerings),
            subnets: wake(client, queue, &peerings),
            ports: wake(client, queue, &peerings),
            groups: wake(client, queue, &peerings),
            lists: wake(client, queue, &peerings),
            acls: wake(client, queue, &peerings),
            options: wake(client, queue, &peerings),
            flow_logs: wake_when_wanted(client, queue),
            gateways: wake(client, queue, &peerings),
            floating: wake(client, queue, &peerings),
            zones: wake(client, queue, &peerings),
            records: wake(client, queue, &peerings),
            tables: wake(client, queue, &peerings),
            endpoints: wake(client, queue, &peerings),
            peerings,
        }
    }

    /// Waits until all that was there at the start is known.
    pub(super) async fn synced(&self) {
        tokio::join!(
            self.vpcs.synced(),
            self.subnets.synced(),
            self.ports.synced(),
            self.groups.synced(),
            self.lists.synced(),
            self.acls.synced(),
            self.options.synced(),
            self.flow_logs.synced(),
            self.gateways.synced(),
            self.floating.synced(),
            self.zones.synced(),
            self.records.synced(),
            self.tables.synced(),
            self.peerings.synced(),
            self.endpoints.synced(),
        );
    }

    /// Those of a project; of this host the view knows nothing yet.
    pub(super) fn of(&self, project: &str) -> View {
        View {
            vpcs: in_project(&self.vpcs, project),
            subnets: in_project(&self.subnets, project),
            ports: in_project(&self.ports, project),
            groups: in_project(&self.groups, project),
            lists: in_project(&self.lists, project),
            acls: in_project(&self.acls, project),
            options: in_project(&self.options, project),
            flow_logs: in_project(&self.flow_logs, project),
            gateways: in_project(&self.gateways, project),
            floating: in_project(&self.floating, project),
            zones: in_project(&self.zones, project),
            records: in_project(&self.records, project),
            tables: in_project(&self.tables, project),
            peerings: in_project(&self.peerings, project),
            endpoints: in_project(&self.endpoints, project),
            ..View::default()
        }
    }
}

fn in_project<R: Resource>(cache: &Cache<R>, project: &str) -> Vec<Arc<R>> {
    cache.filter(|object| object.metadata().namespace == project)
}

fn wake<R: Resource>(client: &Client, queue: &Queue, peerings: &Cache<Peering>) -> Cache<R> {
    let (queue, peerings) = (queue.clone(), peerings.clone());
    let listener = move |change: &Change<R>| {
        for project in neighbourhood(&peerings, &change.object().metadata().namespace) {
            queue.add(project);
        }
    };
    Cache::start(client.all::<R>(), ListParams::default(), vec![Box::new(listener)])
}

/// What is written of a flow log now and then changes nothing here; and what a port of a peer does is no matter of ours.
fn wake_when_wanted(client: &Client, queue: &Queue) -> Cache<FlowLog> {
    let queue = queue.clone();
    let listener = move |change: &Change<FlowLog>| {
        if change.is_of_spec() {
            queue.add(change.object().metadata.namespace.clone());
        }
    };
    Cache::start(client.all::<FlowLog>(), ListParams::default(), vec![Box::new(listener)])
}

/// A peering concerns both sides.
fn wake_both(client: &Client, queue: &Queue) -> Cache<Peering> {
    let queue = queue.clone();
    let listener = move |change: &Change<Peering>| {
        for project in sides(change.object()) {
            queue.add(project);
        }
    };
    Cache::start(client.all::<Peering>(), ListParams::default(), vec![Box::new(listener)])
}

/// What a guest here has let go of is taken away.
pub(super) fn wake_when_a_card_is_out(instances: &Cache<Instance>, queue: &Queue, host: &str) {
    let (queue, host) = (queue.clone(), host.to_owned());
    instances.listen(move |change| {
        let Change::Applied { old: Some(old), new } = change else { return };
        let is_out = |port: &String| !new.status.ports.contains(port);
        if new.status.host == host && old.status.ports.iter().any(is_out) {
            queue.add(new.metadata.namespace.clone());
        }
    });
}
