//! Load balancers on this host: a place in their VPC, a driver that does their work, and word of how targets do.
//!
//! Each is looked at every few seconds, because health comes from asking; whatever else has changed by then counts
//! too. What runs is no child of the agent and goes on without it.

mod assigned;
mod targets;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use client::{Client, ListParams};
use driver::{BalancerPlan, Certificate, DriverError, PoolPlan};
use model::compute::Instance;
use model::network::{LoadBalancer, TargetGroup, TargetGroupSpec, TargetStatus};
use model::secret::{Secret, TLS_CERTIFICATE, TLS_KEY};
use model::{ApiError, Condition, ConditionStatus, Timestamp, Uid, set_condition};
use parking_lot::Mutex;
use reconcile::{Cache, Change, Outcome, Queue};

use super::{NetworkError, Networks};
pub(crate) use assigned::Assigned;
use targets::{Resolved, resolve, statuses};

/// Balancers worked on at the same time.
const WORKERS: usize = 8;
/// How often targets' health is asked for.
const HEALTH_EVERY: Duration = Duration::from_secs(2);
/// How often one that the program refuses is tried again; a change of it is tried at once.
const REFUSED_AGAIN: Duration = Duration::from_secs(60);

/// Why a balancer does not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BalancerError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Driver(#[from] DriverError),
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error("secret {0:?} has no certificate and key; it must be of type kubernetes.io/tls")]
    NoCertificate(String),
    #[error("what secret {0:?} has is not known yet")]
    NotKnown(String),
    #[error("target group {0:?} is not known yet")]
    NoGroup(String),
}

/// Does the work of the balancers that are assigned to this host.
pub(crate) struct Balancers {
    client: Client,
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    assigned: Assigned,
    networks: Networks,
    queue: Queue,
    /// Instances of projects that have a balancer here.
    instances: Mutex<HashMap<String, Cache<Instance>>>,
    /// Target groups of projects that have a balancer here which names one.
    groups: Mutex<HashMap<String, Cache<TargetGroup>>>,
    /// Certificates by balancer and secret.
    certificates: Mutex<HashMap<Uid, BTreeMap<String, Versioned>>>,
    /// Whose network this process has seen made.
    connected: Mutex<HashSet<Uid>>,
}

/// A certificate, and the version of the secret that it is of.
#[derive(Clone)]
struct Versioned {
    version: String,
    certificate: Certificate,
}

impl Balancers {
    pub(crate) fn new(
        client: &Client,
        now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
        assigned: Assigned,
        networks: Networks,
    ) -> Self {
        Self {
            client: client.clone(),
            now,
            assigned,
            networks,
            queue: Queue::new(),
            instances: Mutex::default(),
            groups: Mutex::default(),
            certificates: Mutex::default(),
            connected: Mutex::default(),
        }
    }

    /// Keeps balancers as they should be, for ever.
    pub(crate) async fn run(self) {
        self.networks.synced().await;
        let queue = self.queue.clone();
        self.assigned.cache.listen(move |change: &Change<LoadBalancer>| {
            queue.add(change.object().metadata.key());
        });
        // Also those of which nothing is known any more.
        if let Err(e) = self.remove_orphans().await {
            tracing::warn!(error = %e, "load balancers that nobody asks for could not be removed");
        }
        let balancers = &self;
        reconcile::run("balancer", self.queue.clone(), WORKERS, |key| balancers.reconcile(key)).await;
    }

    async fn reconcile(&self, key: String) -> Result<Outcome, BalancerError> {
        let Some(balancer) = self.assigned.get(&key) else {
            self.remove_orphans().await?;
            let project = key.split('/').next().unwrap_or_default();
            self.forget_project(project);
            self.networks.reprogram(project).await?;
            return Ok(Outcome::Done);
        };
        let result = self.ensure(&balancer).await;
        let is_refused = matches!(&result, Err(BalancerError::Driver(DriverError::Invalid(_))));
        let condition = match &result {
            Ok(_) => {
                let message = "takes connections and passes them on";
                Condition::new("Ready", ConditionStatus::True, "Balancing", message)
            }
            Err(e) => {
                let reason = if is_refused { "Refused" } else { "HostError" };
                Condition::new("Ready", ConditionStatus::False, reason, e.to_string())
            }
        };
        self.report(&balancer, condition, result.as_deref().ok()).await?;
        match result {
            Ok(_) => Ok(Outcome::RequeueAfter(HEALTH_EVERY)),
            Err(_) if is_refused => Ok(Outcome::RequeueAfter(REFUSED_AGAIN)),
            Err(e) => Err(e),
        }
    }

    async fn ensure(&self, balancer: &LoadBalancer) -> Result<Vec<TargetStatus>, BalancerError> {
        let uid = &balancer.metadata.uid;
        let driver = &self.assigned.driver;
        let is_new = driver.network_namespace(uid).is_none();
        driver.prepare(uid).await?;
        if is_new || !self.connected.lock().contains(uid) {
            // First the network, for checks fail without.
            self.networks.reprogram(&balancer.metadata.namespace).await?;
            self.connected.lock().insert(uid.clone());
        }
        let balancer = self.with_groups(balancer).await?;
        let resolved = self.resolve(&balancer).await;
        let plan = self.plan(&balancer, &resolved).await?;
        let health = driver.ensure(&plan).await?;
        Ok(statuses(&resolved, &health))
    }

    /// The balancer with all groups in itself, those too that are objects of their own.
    async fn with_groups(&self, balancer: &LoadBalancer) -> Result<LoadBalancer, BalancerError> {
        let mut whole = balancer.clone();
        let shared = balancer.shared_target_groups();
        if shared.is_empty() {
            return Ok(whole);
        }
        let project = &balancer.metadata.namespace;
        let start =
            || Cache::start(self.client.project::<TargetGroup>(project), ListParams::default(), Vec::new());
        let groups = self.groups.lock().entry(project.clone()).or_insert_with(start).clone();
        groups.synced().await;
        for name in shared {
            let group = groups.get(&format!("{project}/{name}"));
            let group = group.ok_or_else(|| BalancerError::NoGroup(name.to_owned()))?;
            whole.spec.target_groups.push(TargetGroupSpec { name: name.to_owned(), ..group.spec.clone() });
        }
        Ok(whole)
    }

    async fn resolve(&self, balancer: &LoadBalancer) -> Vec<Resolved> {
        let project = &balancer.metadata.namespace;
        let names_instances = balancer.spec.target_groups.iter().any(|group| {
            !group.instance_labels.is_empty() || group.targets.iter().any(|t| !t.instance.is_empty())
        });
        let instances = if names_instances {
            let cache = self.instances_of(project);
            cache.synced().await;
            cache.all()
        } else {
            Vec::new()
        };
        let subnet = balancer.spec.subnets.first().map_or("", String::as_str);
        let ports = self.networks.ports_beside(project, subnet);
        resolve(balancer, &ports, &instances)
    }

    fn instances_of(&self, project: &str) -> Cache<Instance> {
        let start =
            || Cache::start(self.client.project::<Instance>(project), ListParams::default(), Vec::new());
        self.instances.lock().entry(project.to_owned()).or_insert_with(start).clone()
    }

    async fn plan(
        &self,
        balancer: &LoadBalancer,
        resolved: &[Resolved],
    ) -> Result<BalancerPlan, BalancerError> {
        let pool = |group: &TargetGroupSpec| {
            let mut servers: Vec<driver::ServerPlan> = Vec::new();
            for server in
                resolved.iter().filter(|r| r.group == group.name).filter_map(|r| r.server.as_ref().ok())
            {
                if !servers.iter().any(|known| known.address == server.address) {
                    servers.push(*server);
                }
            }
            let settings =
                TargetGroupSpec { targets: Vec::new(), instance_labels: BTreeMap::new(), ..group.clone() };
            PoolPlan { settings, servers }
        };
        Ok(BalancerPlan {
            uid: balancer.metadata.uid.clone(),
            label: balancer.metadata.key(),
            addresses: self.networks.addresses_of(&balancer.metadata.namespace, &balancer.port_name()),
            listeners: balancer.spec.listeners.clone(),
            groups: balancer.spec.target_groups.iter().map(pool).collect(),
            idle_timeout_seconds: balancer.spec.idle_timeout_seconds,
            certificates: self.certificates(balancer).await?,
        })
    }

    /// The certificates of a balancer's listeners. One that is of the version that counts is not asked for again.
    async fn certificates(
        &self,
        balancer: &LoadBalancer,
    ) -> Result<BTreeMap<String, Certificate>, BalancerError> {
        let uid = &balancer.metadata.uid;
        let mut found = BTreeMap::new();
        for name in balancer.secrets() {
            let told = balancer.status.certificates.iter().find(|told| told.secret == name);
            let version = &told.ok_or_else(|| BalancerError::NotKnown(name.to_owned()))?.version;
            let known = self.certificates.lock().get(uid).and_then(|all| all.get(name).cloned());
            let entry = match known.filter(|known| known.version == *version) {
                Some(entry) => entry,
                None => Versioned {
                    version: version.clone(),
                    certificate: self.fetch(&balancer.metadata.namespace, name).await?,
                },
            };
            found.insert(name.to_owned(), entry);
        }
        self.certificates.lock().insert(uid.clone(), found.clone());
        Ok(found.into_iter().map(|(name, entry)| (name, entry.certificate)).collect())
    }

    async fn fetch(&self, project: &str, name: &str) -> Result<Certificate, BalancerError> {
        let secret = self.client.project::<Secret>(project).get(name).await?;
        match (secret.value(TLS_CERTIFICATE), secret.value(TLS_KEY)) {
            (Some(chain), Some(key)) => Ok(Certificate { chain, key }),
            _ => Err(BalancerError::NoCertificate(name.to_owned())),
        }
    }

    /// Ends what no balancer of this host stands for.
    async fn remove_orphans(&self) -> Result<(), BalancerError> {
        for uid in self.assigned.driver.list().await? {
            if !self.assigned.has(&uid) {
                tracing::info!(%uid, "removing a load balancer that is gone or elsewhere");
                self.assigned.driver.delete(&uid).await?;
                self.certificates.lock().remove(&uid);
                self.connected.lock().remove(&uid);
            }
        }
        Ok(())
    }

    /// Instances and target groups are followed only where a balancer needs them.
    fn forget_project(&self, project: &str) {
        if self.assigned.of(project).is_empty() {
            self.instances.lock().remove(project);
            self.groups.lock().remove(project);
        }
    }

    async fn report(
        &self,
        balancer: &LoadBalancer,
        condition: Condition,
        targets: Option<&[TargetStatus]>,
    ) -> Result<(), ApiError> {
        let mut changed = balancer.clone();
        let status = &mut changed.status;
        if let Some(targets) = targets {
            status.targets = targets.to_vec();
            status.observed_generation = balancer.metadata.generation;
        }
        set_condition(&mut status.conditions, condition, (self.now)());
        if changed.status == balancer.status {
            return Ok(());
        }
        match self.client.project::<LoadBalancer>(&balancer.metadata.namespace).update_status(&changed).await
        {
            // It changed or went meanwhile: its own event brings us back.
            Err(e) if !e.is_conflict() && !e.is_not_found() => Err(e),
            _ => Ok(()),
        }
    }
}
