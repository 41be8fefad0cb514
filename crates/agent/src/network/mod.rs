//! Networks on this host: programs its part of every VPC that has a guest here, answers the guests' questions
//! inside of it, and tells the cloud where ports are.
//!
//! Level-triggered like all else: a VPC is looked at when something of its project changes, or of one that it has a
//! peering with; its whole plan is made anew, and the driver programs what differs.

mod acls;
mod ask;
pub(crate) mod balancer;
mod closed;
mod directory;
mod endpoints;
mod flows;
mod follow;
#[cfg(test)]
mod matrix;
mod peers;
mod plan;
mod programmed;
mod report;
mod resolver;
mod roles;
mod routes;
mod zones;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use client::Client;
use driver::{DriverError, Link, NetworkDriver, PortLink, VpcPlan};
use guest_services::{Directory, Handle};
use model::compute::{Instance, Isolation, interfaces, leaving_ports, port_names};
use model::network::{Port, SubnetMode, Vpc};
use model::{ApiError, Uid};
use parking_lot::Mutex;
use reconcile::{Cache, Outcome, Queue};
use tokio::sync::watch;

use crate::agent::NetworkOptions;
use crate::instance::{Homes, Serving, driver_for};
pub use ask::AskError;
use balancer::Assigned;
use closed::Closed;
use flows::Flows;
use follow::{Objects, wake_when_a_card_is_out};
use peers::neighbourhood;
use plan::View;
use programmed::Programmed;
pub(crate) use resolver::Resolver;

/// VPCs worked on at the same time.
const WORKERS: usize = 8;

/// Why a network is not as wanted yet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetworkError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Driver(#[from] DriverError),
    #[error(transparent)]
    Services(#[from] guest_services::ServeError),
    #[error("port {0:?} is not there yet; `corten get ports` lists them")]
    NoPort(String),
}

/// A network card as the one who starts the guest needs it.
#[derive(Debug, Clone)]
pub(crate) struct Card {
    pub(crate) port: Arc<Port>,
    pub(crate) link: PortLink,
}

/// Who the host is.
pub(crate) struct Own<'a> {
    pub(crate) host: &'a str,
    pub(crate) client: &'a Client,
    pub(crate) now: flows::Clock,
}

/// Follows networks and makes them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Networks {
    inner: Arc<Inner>,
}

struct Inner {
    host: String,
    client: Client,
    driver: Arc<dyn NetworkDriver>,
    underlay: Option<IpAddr>,
    closed: Closed,
    homes: Homes,
    computes: Vec<Serving>,
    balancers: Assigned,
    instances: Cache<Instance>,
    queue: Queue,
    objects: Objects,
    programmed: Programmed,
    served: Mutex<HashMap<Uid, Served>>,
    roles: Arc<roles::Roles>,
    answers_guests: bool,
    upstream: Arc<dyn guest_services::Upstream>,
    authority: Arc<str>,
    flows: Flows,
    /// One at a time looks at a project and makes its networks: an older look must not undo a newer one.
    turns: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// What answers the guests of one VPC here.
struct Served {
    directory: watch::Sender<Arc<Directory>>,
    _services: Handle,
}

impl Networks {
    /// Begins to follow; nothing is made before [`Self::run`].
    pub(crate) fn follow(
        own: Own<'_>,
        options: NetworkOptions,
        homes: Homes,
        computes: Vec<Serving>,
        instances: Cache<Instance>,
        balancers: Assigned,
    ) -> Self {
        let Own { host, client, now } = own;
        let queue = Queue::new();
        let closed = Closed::new(options.closed);
        let objects = Objects::follow(client, &queue);
        wake_when_a_card_is_out(&instances, &queue, host);
        let known = closed.clone();
        objects.ports.listen(move |change| known.note(change.object()));
        let inner = Inner {
            host: host.to_owned(),
            driver: options.driver,
            underlay: options.underlay,
            closed,
            homes,
            computes,
            balancers,
            objects,
            client: client.clone(),
            roles: Arc::new(roles::Roles::new(client.clone(), instances.clone())),
            upstream: options.upstream,
            authority: options.authority,
            instances,
            queue,
            programmed: Programmed::default(),
            answers_guests: options.answers_guests,
            served: Mutex::default(),
            flows: Flows::new(options.flows_dir, now),
            turns: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Keeps networks as they should be, for ever.
    pub(crate) async fn run(self) {
        self.synced().await;
        if let Err(e) = self.remove_all_orphans().await {
            tracing::warn!(error = %e, "networks that no VPC stands for could not be removed");
        }
        let networks = &self;
        tokio::join!(
            reconcile::run("network", self.inner.queue.clone(), WORKERS, |project| networks
                .reconcile(project)),
            self.close_more(),
        );
    }

    /// What belongs to the cloud is closed in every network.
    async fn close_more(&self) {
        loop {
            self.inner.closed.grown().await;
            let projects: Vec<String> = self.inner.turns.lock().keys().cloned().collect();
            for project in projects {
                self.inner.queue.add(project);
            }
        }
    }

    /// The cards of an instance that is about to start, in order, with their devices made.
    pub(crate) async fn cards(&self, instance: &Instance) -> Result<Vec<Card>, NetworkError> {
        if instance.spec.networks.is_empty() {
            return Ok(Vec::new());
        }
        self.synced().await;
        let project = &instance.metadata.namespace;
        let names = port_names(instance);
        // The ports were made in the instance's own transaction; the cache may be a moment behind.
        for name in &names {
            if self.inner.objects.ports.get(&format!("{project}/{name}")).is_none() {
                return Err(NetworkError::NoPort(name.clone()));
            }
        }
        let _turns = self.turns(project).await;
        let view = self.view(project);
        let mut cards = Vec::new();
        for vpc in self.inner.objects.vpcs.filter(|vpc| vpc.metadata.namespace == *project) {
            let subnets = view.subnets_of(&vpc.metadata.name);
            let in_vpc = |name: &String| {
                let port = view.ports.iter().find(|port| port.metadata.name == *name);
                port.is_some_and(|port| subnets.contains_key(port.spec.subnet.as_str()))
            };
            if names.iter().any(in_vpc) {
                for plan in view.plans(&vpc).into_iter().filter(|plan| !plan.is_empty()) {
                    cards.extend(self.ensure(&view, &vpc, plan).await?);
                }
            }
        }
        self.wake_others(project);
        let order = |card: &Card| names.iter().position(|name| *name == card.port.metadata.name);
        cards.retain(|card| order(card).is_some());
        cards.sort_by_key(order);
        Ok(cards)
    }

    /// The address of the network card at a port of the instance's project, as the cloud has it.
    pub(crate) fn mac(&self, instance: &Instance, port: &str) -> Option<model::network::Mac> {
        self.inner.objects.ports.get(&format!("{}/{port}", instance.metadata.namespace))?.spec.mac
    }

    /// Takes the ports away of an instance whose home is gone.
    pub(crate) async fn forget(&self, instance: &Instance) -> Result<(), NetworkError> {
        if !instance.spec.networks.is_empty() {
            self.reprogram(&instance.metadata.namespace).await?;
            self.wake_others(&instance.metadata.namespace);
        }
        Ok(())
    }

    /// The addresses of an instance's ports, as the cloud has them.
    pub(crate) fn addresses(&self, instance: &Instance) -> Vec<String> {
        let project = &instance.metadata.namespace;
        let ports = port_names(instance).into_iter();
        let ports = ports.filter_map(|name| self.inner.objects.ports.get(&format!("{project}/{name}")));
        ports.flat_map(|port| plan::addresses(&port)).map(|address| address.to_string()).collect()
    }

    pub(crate) async fn synced(&self) {
        let inner = &self.inner;
        tokio::join!(inner.objects.synced(), inner.instances.synced(), inner.balancers.synced(),);
    }

    /// The key is a project: its VPCs share groups, lists and instances.
    async fn reconcile(&self, project: String) -> Result<Outcome, NetworkError> {
        self.look_at(&project, Programmed::links).await?;
        Ok(Outcome::Done)
    }

    /// Makes the networks of a project whatever was programmed before: a guest's namespace was made or has gone.
    pub(crate) async fn reprogram(&self, project: &str) -> Result<(), NetworkError> {
        self.look_at(project, |_, _| None).await
    }

    /// `known_links` says which networks need not be programmed.
    async fn look_at(
        &self,
        project: &str,
        known_links: impl Fn(&Programmed, &VpcPlan) -> Option<Vec<PortLink>> + Send,
    ) -> Result<(), NetworkError> {
        let _turns = self.turns(project).await;
        let view = self.view(project);
        let known = self.inner.driver.list().await?;
        for vpc in self.inner.objects.vpcs.filter(|vpc| vpc.metadata.namespace == *project) {
            for plan in view.plans(&vpc) {
                if !plan.is_empty() {
                    match known_links(&self.inner.programmed, &plan) {
                        Some(links) => self.tell(&view, &vpc, &plan, links).await?,
                        None => self.ensure(&view, &vpc, plan).await?,
                    };
                } else if known.contains(&plan.uid) {
                    self.remove(&plan.uid).await?;
                }
            }
        }
        self.remove_orphans(&known).await
    }

    async fn ensure(&self, view: &View, vpc: &Vpc, plan: VpcPlan) -> Result<Vec<Card>, NetworkError> {
        self.inner.programmed.forget(&plan.uid);
        let links = self.inner.driver.ensure(&plan).await?;
        self.inner.programmed.note(&plan, &links);
        self.tell(view, vpc, &plan, links).await
    }

    /// Tells guests and the cloud of a network that is programmed.
    async fn tell(
        &self,
        view: &View,
        vpc: &Vpc,
        plan: &VpcPlan,
        links: Vec<PortLink>,
    ) -> Result<Vec<Card>, NetworkError> {
        // Who is on a physical segment asks whoever is there.
        if plan.segment.is_none() {
            self.serve(view, vpc, plan, &links).await?;
        }
        let ports = plan::names(&view.ports);
        self.inner.flows.follow(vpc, plan, &ports);
        let mut cards = Vec::new();
        for link in links {
            let Some(port) = ports.get(&link.uid) else { continue };
            self.report(port, &link).await?;
            for (floating, ..) in view.floating_of(port) {
                self.report_floating(floating).await?;
            }
            cards.push(Card { port: Arc::clone(port), link });
        }
        if plan.segment.is_none() {
            for (gateway, _) in view.shared_here(vpc) {
                self.report_gateway(gateway).await?;
                if let Some(floating) = view.address_of(gateway) {
                    self.report_floating(floating).await?;
                }
            }
        }
        Ok(cards)
    }

    /// Answers guests from what is known now.
    async fn serve(
        &self,
        view: &View,
        vpc: &Vpc,
        plan: &VpcPlan,
        links: &[PortLink],
    ) -> Result<(), NetworkError> {
        let Some(first) = links.first() else {
            self.inner.served.lock().remove(&plan.uid);
            return Ok(());
        };
        let keys = directory::keys(&self.inner.client, &view.owners).await?;
        let owners = view.owners.values().map(|instance| &**instance);
        let roles = roles::of_instances(&self.inner.client, owners).await?;
        let next = Arc::new(directory::directory(view, vpc, plan, links, &keys, &roles));
        let mut served = self.inner.served.lock();
        if !self.inner.answers_guests {
            return Ok(());
        }
        if let Some(known) = served.get(&plan.uid) {
            known.directory.send_replace(next);
            return Ok(());
        }
        let (sender, receiver) = watch::channel(next);
        let options = guest_services::Options {
            credentials: Arc::clone(&self.inner.roles) as Arc<dyn guest_services::Credentials>,
            upstream: Arc::clone(&self.inner.upstream),
            ..guest_services::Options::default()
        };
        let services = guest_services::serve(&first.namespace, receiver, options)?;
        served.insert(plan.uid.clone(), Served { directory: sender, _services: services });
        Ok(())
    }

    async fn remove(&self, vpc: &Uid) -> Result<(), NetworkError> {
        self.inner.programmed.forget(vpc);
        self.inner.served.lock().remove(vpc);
        self.inner.flows.finish(&*self.inner.driver, vpc).await;
        Ok(self.inner.driver.delete(vpc).await?)
    }

    async fn remove_all_orphans(&self) -> Result<(), NetworkError> {
        self.remove_orphans(&self.inner.driver.list().await?).await
    }

    /// Takes away what is left of VPCs that are gone, of those that the host has.
    async fn remove_orphans(&self, present: &[Uid]) -> Result<(), NetworkError> {
        let objects = &self.inner.objects;
        let vpcs = objects.vpcs.all().into_iter().map(|vpc| vpc.metadata.uid.clone());
        let subnets = objects.subnets.filter(|subnet| subnet.spec.mode == SubnetMode::Bridge).into_iter();
        let known: BTreeSet<Uid> = vpcs.chain(subnets.map(|subnet| subnet.metadata.uid.clone())).collect();
        for uid in present.iter().filter(|uid| !known.contains(*uid)) {
            self.remove(uid).await?;
            self.inner.flows.forget(uid);
        }
        Ok(())
    }

    /// The ports of the VPC that a subnet is of.
    pub(crate) fn ports_beside(&self, project: &str, subnet: &str) -> Vec<Arc<Port>> {
        let inner = &self.inner;
        let Some(subnet) = inner.objects.subnets.get(&format!("{project}/{subnet}")) else {
            return Vec::new();
        };
        let beside = |name: &str| {
            let other = inner.objects.subnets.get(&format!("{project}/{name}"));
            other.is_some_and(|other| other.spec.vpc == subnet.spec.vpc)
        };
        inner.objects.ports.filter(|port| port.metadata.namespace == project && beside(&port.spec.subnet))
    }

    /// The addresses of a port, as the cloud has them.
    pub(crate) fn addresses_of(&self, project: &str, port: &str) -> Vec<IpAddr> {
        let port = self.inner.objects.ports.get(&format!("{project}/{port}"));
        port.map(|port| plan::addresses(&port)).unwrap_or_default()
    }

    /// The turns of all projects that this one's networks are made of, in their order.
    async fn turns(&self, project: &str) -> Vec<tokio::sync::OwnedMutexGuard<()>> {
        loop {
            let projects = neighbourhood(&self.inner.objects.peerings, project);
            let mut turns = Vec::new();
            for project in &projects {
                let turn = Arc::clone(self.inner.turns.lock().entry(project.clone()).or_default());
                turns.push(turn.lock_owned().await);
            }
            // A peering may have come while we waited.
            if neighbourhood(&self.inner.objects.peerings, project).is_subset(&projects) {
                return turns;
            }
        }
    }

    /// Guests that came or went here change what this host carries between their VPCs and peers.
    fn wake_others(&self, project: &str) {
        let peerings = &self.inner.objects.peerings;
        if peerings.all().iter().any(|peering| peers::sides(peering).contains(&project)) {
            for project in neighbourhood(peerings, project) {
                self.inner.queue.add(project);
            }
        }
    }

    /// The objects of a project, and of those that it has peerings with.
    fn view(&self, project: &str) -> View {
        let mut others = neighbourhood(&self.inner.objects.peerings, project);
        others.remove(project);
        let others = others.into_iter().map(|other| (other.clone(), self.view_alone(&other))).collect();
        View { others, ..self.view_alone(project) }
    }

    /// The objects of a project, and the links of its guests that have a home here.
    fn view_alone(&self, project: &str) -> View {
        let inner = &self.inner;
        let (mut links, mut owners) = (BTreeMap::new(), BTreeMap::new());
        for (instance, user_id) in self.guests(project) {
            let of_instance = self.links(&instance, user_id);
            owners.extend(of_instance.iter().map(|(name, _)| (name.clone(), Arc::clone(&instance))));
            links.extend(of_instance);
        }
        links.extend(inner.balancers.links(project));
        View {
            links,
            owners,
            host: inner.host.clone(),
            underlay: inner.underlay,
            closed: inner.closed.all(),
            authority: Arc::clone(&inner.authority),
            ..inner.objects.of(project)
        }
    }

    /// Instances of a project with a home on this host, and whose user they run as.
    fn guests(&self, project: &str) -> Vec<(Arc<Instance>, u32)> {
        let here = |i: &Instance| {
            i.metadata.namespace == project && i.status.host == self.inner.host && !i.spec.networks.is_empty()
        };
        let guests = self.inner.instances.filter(here).into_iter();
        guests.filter_map(|i| self.inner.homes.user_id(&i.metadata.uid).map(|user| (i, user))).collect()
    }

    /// The guest's ends of an instance's ports, by the port's name.
    fn links(&self, instance: &Instance, user_id: u32) -> Vec<(String, Link)> {
        let is_vm = matches!(instance.spec.isolation, Isolation::Vm | Isolation::MicroVm);
        let sandbox = driver_for(&self.inner.computes, instance.spec.cell())
            .and_then(|driver| driver.network_namespace(&instance.metadata.uid));
        if is_vm {
            // A machine has to let go of a card before its device may go.
            let ports = port_names(instance).into_iter().chain(leaving_ports(instance));
            return ports.map(|name| (name, Link::Tap { user_id })).collect();
        }
        let link =
            |number: u32| Some(Link::Veth { namespace: sandbox.clone()?, name: format!("eth{number}") });
        let names = interfaces(instance).into_iter();
        names.filter_map(|(number, name)| Some((name, link(number)?))).collect()
    }
}
