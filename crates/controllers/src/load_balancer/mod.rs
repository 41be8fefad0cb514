//! Load balancers: a host for each, the secrets that count, its port as its spec says, and the floating address that
//! ends there. What it does is its host's affair.
//!
//! One whose host is lost moves. For a while two hosts may answer then: guests of the lost one still reach the old
//! balancer there, everyone else the new one, for packets go to the host that reports the port. Both do the same work.

mod floating;

use client::{ListParams, Recorder, Severity};
use model::network::{Address, CertificateStatus, FloatingIp, LoadBalancer, Port};
use model::secret::Secret;
use model::topology::Host;
use model::{ApiError, Condition, ConditionStatus, Resource, set_condition};
use reconcile::{Cache, Change, Outcome, Queue};

use crate::Context;
use crate::caches::Caches;
use crate::place::{LOOK_AGAIN, Silence, choose};

/// What hosts call the driver that balances.
const DRIVER: &str = "haproxy";

struct Balancers {
    context: Context,
    recorder: Recorder,
    hosts: Cache<Host>,
    balancers: Cache<LoadBalancer>,
    ports: Cache<Port>,
    floating: Cache<FloatingIp>,
    secrets: Cache<Secret>,
    silence: Silence,
}

pub(crate) async fn run(context: Context, caches: Caches) {
    let queue = Queue::new();
    let balancers: Cache<LoadBalancer> = {
        let queue = queue.clone();
        let listener = move |change: &Change<LoadBalancer>| queue.add(change.object().metadata.key());
        Cache::start(context.client.all(), ListParams::default(), vec![Box::new(listener)])
    };
    let hosts = caches.hosts;
    {
        let (queue, balancers) = (queue.clone(), balancers.clone());
        hosts.listen(move |_| stir(&queue, &balancers, |_| true));
    }
    let ports: Cache<Port> = wake(&context, &queue, |port: &Port| {
        let owner = &port.spec.load_balancer;
        (!owner.is_empty()).then(|| format!("{}/{owner}", port.metadata.namespace)).into_iter().collect()
    });
    let floating: Cache<FloatingIp> = {
        let balancers = balancers.clone();
        wake(&context, &queue, move |floating: &FloatingIp| {
            let meta = &floating.metadata;
            let names = balancers
                .filter(|b| b.metadata.namespace == meta.namespace && b.spec.floating_ip == meta.name)
                .into_iter()
                .map(|b| b.metadata.name.clone());
            let marked = meta.annotations.get(floating::OWNER).cloned();
            names.chain(marked).map(|name| format!("{}/{name}", meta.namespace)).collect()
        })
    };
    let secrets: Cache<Secret> = {
        let balancers = balancers.clone();
        wake(&context, &queue, move |secret: &Secret| {
            let meta = &secret.metadata;
            let users = balancers.filter(|b| {
                b.metadata.namespace == meta.namespace && b.secrets().contains(meta.name.as_str())
            });
            users.iter().map(|b| b.metadata.key()).collect()
        })
    };
    tokio::join!(hosts.synced(), balancers.synced(), ports.synced(), floating.synced(), secrets.synced());
    let recorder = context.recorder("load-balancer-controller");
    let silence = Silence::default();
    let controller = Balancers { context, recorder, hosts, balancers, ports, floating, secrets, silence };
    reconcile::run("load-balancer", queue, 4, |key| controller.reconcile(key)).await;
}

/// Follows a kind; a change of an object puts the balancers in line that it matters to.
fn wake<R: Resource>(
    context: &Context,
    queue: &Queue,
    concerned: impl Fn(&R) -> Vec<String> + Send + Sync + 'static,
) -> Cache<R> {
    let queue = queue.clone();
    let listener = move |change: &Change<R>| {
        for key in concerned(change.object()) {
            queue.add(key);
        }
    };
    Cache::start(context.client.all::<R>(), ListParams::default(), vec![Box::new(listener)])
}

fn stir(queue: &Queue, balancers: &Cache<LoadBalancer>, which: impl Fn(&LoadBalancer) -> bool) {
    for balancer in balancers.filter(which) {
        queue.add(balancer.metadata.key());
    }
}

impl Balancers {
    async fn reconcile(&self, key: String) -> Result<Outcome, ApiError> {
        let balancer = self.balancers.get(&key);
        self.release_floating(&key, balancer.as_deref()).await?;
        let Some(balancer) = balancer.filter(|balancer| !balancer.metadata.is_deleting()) else {
            return Ok(Outcome::Done);
        };
        self.keep_port(&balancer).await?;
        let floating = self.associate_floating(&balancer).await?;
        let mut changed = (*balancer).clone();
        let status = &mut changed.status;
        status.addresses = self.addresses(&balancer, floating.address);
        status.certificates = self.certificates(&balancer);
        if let Some(condition) = floating.condition {
            set_condition(&mut status.conditions, condition, (self.context.now)());
        } else {
            status.conditions.retain(|condition| condition.kind != floating::CONDITION);
        }
        let outcome = self.place(&mut changed);
        if changed.status != balancer.status {
            let api = self.context.client.project::<LoadBalancer>(&balancer.metadata.namespace);
            match api.update_status(&changed).await {
                // It changed meanwhile: its own event brings us back.
                Err(e) if e.is_conflict() || e.is_not_found() => return Ok(outcome),
                result => drop(result?),
            }
            self.tell(&balancer, &changed).await;
        }
        Ok(outcome)
    }

    /// Chooses a host where there is none, or a lost one.
    fn place(&self, balancer: &mut LoadBalancer) -> Outcome {
        let now = (self.context.now)();
        let present = balancer.status.host.clone();
        if let Some(outcome) = self.silence.stays(&self.hosts, &present) {
            if outcome == Outcome::Done {
                let condition = Condition::new(
                    "Scheduled",
                    ConditionStatus::True,
                    "Placed",
                    format!("is on host {present}"),
                );
                set_condition(&mut balancer.status.conditions, condition, now);
            }
            return outcome;
        }
        let loads = self.balancers.all().into_iter().map(|b| b.status.host.clone());
        let hosts = self.hosts.all();
        let condition = match choose(DRIVER, &hosts, loads) {
            Ok(host) => {
                let message = if present.is_empty() {
                    format!("is on host {host}")
                } else {
                    format!("is on host {host}; host {present} is lost")
                };
                balancer.status.host = host;
                // What the lost host said of targets, the new one says anew.
                Condition::new("Scheduled", ConditionStatus::True, "Placed", message)
            }
            // Where it was is as good as nowhere, and may come back.
            Err(why) => Condition::new("Scheduled", ConditionStatus::False, "NoHost", why),
        };
        let placed = condition.status == ConditionStatus::True;
        set_condition(&mut balancer.status.conditions, condition, now);
        if placed { Outcome::Done } else { Outcome::RequeueAfter(LOOK_AGAIN) }
    }

    /// The port is made with the balancer; its groups follow the balancer's.
    async fn keep_port(&self, balancer: &LoadBalancer) -> Result<(), ApiError> {
        let meta = &balancer.metadata;
        let groups = &balancer.spec.security_groups;
        let Some(port) = self.ports.get(&format!("{}/{}", meta.namespace, balancer.port_name())) else {
            return Ok(());
        };
        if port.spec.security_groups == *groups || groups.is_empty() || port.metadata.is_deleting() {
            return Ok(());
        }
        let mut port = (*port).clone();
        port.spec.security_groups.clone_from(groups);
        match self.context.client.project::<Port>(&meta.namespace).update(&port).await {
            Err(e) if e.is_not_found() => Ok(()),
            result => result.map(drop),
        }
    }

    fn addresses(&self, balancer: &LoadBalancer, floating: Option<Address>) -> Vec<Address> {
        let key = format!("{}/{}", balancer.metadata.namespace, balancer.port_name());
        let own = match self.ports.get(&key) {
            Some(port) => port.spec.addresses.clone(),
            // The cache may be a moment behind: the server has told them already.
            None => return balancer.status.addresses.clone(),
        };
        own.into_iter().chain(floating).collect()
    }

    fn certificates(&self, balancer: &LoadBalancer) -> Vec<CertificateStatus> {
        let find = |name: &str| self.secrets.get(&format!("{}/{name}", balancer.metadata.namespace));
        let told = |name: &str| {
            let version = find(name)?.metadata.resource_version.clone();
            Some(CertificateStatus { secret: name.to_owned(), version })
        };
        balancer.secrets().into_iter().filter_map(told).collect()
    }

    async fn tell(&self, old: &LoadBalancer, new: &LoadBalancer) {
        if old.status.host != new.status.host {
            let (severity, message) = match old.status.host.as_str() {
                "" => (Severity::Normal, format!("is on host {}", new.status.host)),
                lost => {
                    (Severity::Warning, format!("moved to host {}; host {lost} is lost", new.status.host))
                }
            };
            self.recorder.record(new, severity, "Placed", &message).await;
        }
    }
}
