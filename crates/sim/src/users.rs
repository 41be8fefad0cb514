//! Users: they create, change and delete whatever comes to mind, and never look back. Refusals are part of life.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use client::{Api, DeleteOptions, ListParams, Propagation};
use model::compute::{
    CommandPayload, Instance, InstanceSet, InstanceSetSpec, InstanceSpec, InstanceTemplate, Isolation,
    Payload, PlacementSpec, Power, RestartPolicy, RootfsPayload, Strategy, TemplateMeta,
};
use model::identity::{Project, ProjectSpec, Quota, QuotaSpec};
use model::topology::{Host, Lease};
use model::{ApiError, Bytes, CpuMillis, Object, ObjectMeta, Resource, Resources};
use serde_json::json;

use crate::cloud::Cloud;
use crate::dice::Dice;
use crate::outside::IMAGE;

/// Beyond this many objects of a kind users delete rather than create.
const PROJECTS_MAX: usize = 4;
const INSTANCES_MAX: usize = 60;
const SETS_MAX: usize = 5;
const HOSTS_MIN: usize = 3;

/// A crowd of users. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Users {
    pub(crate) cloud: Arc<Cloud>,
    dice: Dice,
    names: Arc<AtomicU64>,
}

impl Users {
    pub(crate) fn new(cloud: Arc<Cloud>, dice: Dice) -> Self {
        Self { cloud, dice, names: Arc::default() }
    }

    /// One user does one thing.
    pub(crate) async fn act(self) {
        let (what, done) = match self.dice.within(0..100) {
            0..30 => ("instances created", self.create_instance().await),
            30..50 => ("instances deleted", self.delete_instance().await),
            50..65 => ("power changes", self.change_power().await),
            65..70 => ("reboots", self.reboot().await),
            70..74 => ("resizes", self.resize().await),
            74..78 => ("sets created", self.create_set().await),
            78..86 => ("sets scaled", self.scale_set().await),
            86..89 => ("sets deleted", self.delete_set().await),
            89..94 => ("cordons", self.cordon().await),
            94..97 => ("projects created", self.create_project().await),
            97..98 => ("projects deleted", self.delete_project().await),
            98..99 => ("hosts scrapped", self.scrap_host().await),
            _ => ("force deletions", self.force_delete().await),
        };
        match done {
            Ok(()) => self.cloud.weather.count(what),
            Err(_refused) => self.cloud.weather.count("refusals of users"),
        }
    }

    pub(crate) async fn create_project(&self) -> Result<(), ApiError> {
        let projects = self.cloud.client.all::<Project>();
        if self.all::<Project>().await?.len() >= PROJECTS_MAX + 2 {
            return Ok(());
        }
        let name = self.name("p");
        let spec = ProjectSpec { domain: "default".into(), description: String::new() };
        projects.create(&Object::new(ObjectMeta::named(&name), spec)).await?;
        let quota = QuotaSpec {
            memory: self.dice.per_mille(500).then(|| Bytes::mib(self.dice.within(4..40) * 256)),
            counts: BTreeMap::from([("instances".to_owned(), self.dice.within(2..20))]),
            ..QuotaSpec::default()
        };
        let quotas = self.cloud.client.project::<Quota>(&name);
        quotas.create(&Object::new(ObjectMeta::in_project(&name, "limit"), quota)).await.map(drop)
    }

    async fn delete_project(&self) -> Result<(), ApiError> {
        let own = |project: &Project| project.metadata.name.starts_with("p-");
        let Some(project) = self.any::<Project>(own).await? else { return Ok(()) };
        self.delete(&self.cloud.client.all::<Project>(), &project, Propagation::Background).await
    }

    /// All that users have made.
    pub(crate) async fn delete_everything(&self) -> Result<(), ApiError> {
        let projects = self.all::<Project>().await?;
        for project in projects.iter().filter(|project| project.metadata.name.starts_with("p-")) {
            self.delete(&self.cloud.client.all::<Project>(), project, Propagation::Background).await?;
        }
        for instance in self.all::<Instance>().await? {
            let api = self.cloud.client.project::<Instance>(&instance.metadata.namespace);
            gone(self.delete(&api, &instance, Propagation::Background).await)?;
        }
        for set in self.all::<InstanceSet>().await? {
            let api = self.cloud.client.project::<InstanceSet>(&set.metadata.namespace);
            gone(self.delete(&api, &set, Propagation::Background).await)?;
        }
        Ok(())
    }

    async fn create_instance(&self) -> Result<(), ApiError> {
        if self.all::<Instance>().await?.len() >= INSTANCES_MAX {
            return self.delete_instance().await;
        }
        let Some(project) = self.project().await? else { return Ok(()) };
        let meta = ObjectMeta::in_project(&project, self.name("i"));
        let instances = self.cloud.client.project::<Instance>(&project);
        instances.create(&Object::new(meta, self.instance())).await.map(drop)
    }

    async fn delete_instance(&self) -> Result<(), ApiError> {
        let Some(instance) = self.any::<Instance>(|_| true).await? else { return Ok(()) };
        let api = self.cloud.client.project::<Instance>(&instance.metadata.namespace);
        self.delete(&api, &instance, Propagation::Background).await
    }

    /// For hosts that are not heard of: the operator's word that the instance is gone.
    async fn force_delete(&self) -> Result<(), ApiError> {
        let Some(instance) = self.any::<Instance>(|_| true).await? else { return Ok(()) };
        let api = self.cloud.client.project::<Instance>(&instance.metadata.namespace);
        let word = json!({ "metadata": { "annotations": { "corten.dev/force": "yes" } } });
        api.merge(&instance.metadata.name, &word).await?;
        self.delete(&api, &instance, Propagation::Background).await
    }

    async fn change_power(&self) -> Result<(), ApiError> {
        let power = *self.dice.pick(&["running", "running", "stopped", "paused"]).unwrap_or(&"running");
        self.change(|_| json!({ "spec": { "power": power } })).await
    }

    async fn reboot(&self) -> Result<(), ApiError> {
        self.change(|instance| json!({ "spec": { "reboots": instance.spec.reboots + 1 } })).await
    }

    /// Only to less: nothing asks whether a bound instance may grow on its host.
    async fn resize(&self) -> Result<(), ApiError> {
        let wish = self.resources();
        self.change(|instance| {
            let had = instance.spec.resources;
            let less = Resources {
                cpu: wish.cpu.min(had.cpu),
                memory: wish.memory.min(had.memory),
                disk: wish.disk.min(had.disk),
            };
            json!({ "spec": { "resources": less } })
        })
        .await
    }

    async fn change(&self, patch: impl Fn(&Instance) -> serde_json::Value) -> Result<(), ApiError> {
        let Some(instance) = self.any::<Instance>(|_| true).await? else { return Ok(()) };
        let api = self.cloud.client.project::<Instance>(&instance.metadata.namespace);
        api.merge(&instance.metadata.name, &patch(&instance)).await.map(drop)
    }

    async fn create_set(&self) -> Result<(), ApiError> {
        if self.all::<InstanceSet>().await?.len() >= SETS_MAX {
            return self.delete_set().await;
        }
        let Some(project) = self.project().await? else { return Ok(()) };
        let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
        let template = InstanceTemplate {
            metadata: TemplateMeta { labels, ..TemplateMeta::default() },
            spec: self.instance(),
        };
        let replicas = self.replicas();
        let meta = ObjectMeta::in_project(&project, self.name("s"));
        let sets = self.cloud.client.project::<InstanceSet>(&project);
        sets.create(&Object::new(meta, InstanceSetSpec { replicas, template })).await.map(drop)
    }

    async fn scale_set(&self) -> Result<(), ApiError> {
        let Some(set) = self.any::<InstanceSet>(|_| true).await? else { return Ok(()) };
        let sets = self.cloud.client.project::<InstanceSet>(&set.metadata.namespace);
        let size = json!({ "spec": { "replicas": self.replicas() } });
        sets.merge(&set.metadata.name, &size).await.map(drop)
    }

    async fn delete_set(&self) -> Result<(), ApiError> {
        let Some(set) = self.any::<InstanceSet>(|_| true).await? else { return Ok(()) };
        let how = [Propagation::Background, Propagation::Foreground, Propagation::Orphan];
        let how = *self.dice.pick(&how).unwrap_or(&Propagation::Background);
        let sets = self.cloud.client.project::<InstanceSet>(&set.metadata.namespace);
        self.delete(&sets, &set, how).await
    }

    async fn cordon(&self) -> Result<(), ApiError> {
        let Some(host) = self.any::<Host>(|_| true).await? else { return Ok(()) };
        let cordoned = json!({ "spec": { "cordoned": self.dice.per_mille(400) } });
        self.cloud.client.all::<Host>().merge(&host.metadata.name, &cordoned).await.map(drop)
    }

    /// A machine is taken out of the rack, and then out of the cloud; another comes.
    async fn scrap_host(&self) -> Result<(), ApiError> {
        let hosts = self.cloud.hosts();
        let Some(host) = self.dice.pick(&hosts).filter(|_| hosts.len() > HOSTS_MIN) else { return Ok(()) };
        self.cloud.scrap_host(&host.name).await;
        self.cloud.add_host();
        self.forget_host(&host.name).await
    }

    /// Tells the cloud that a machine is no more.
    pub(crate) async fn forget_host(&self, name: &str) -> Result<(), ApiError> {
        let options = DeleteOptions::default();
        let hosts = self.cloud.client.all::<Host>();
        let leases = self.cloud.client.all::<Lease>();
        gone(hosts.delete(name, &options).await)?;
        gone(leases.delete(name, &options).await)
    }

    async fn delete<R: Resource>(
        &self,
        api: &Api<R>,
        object: &R,
        propagation: Propagation,
    ) -> Result<(), ApiError> {
        let meta = object.metadata();
        let grace = self.dice.per_mille(500).then(|| i64::try_from(self.dice.within(0..40)).unwrap_or(0));
        let options = DeleteOptions {
            propagation,
            grace_period_seconds: grace,
            uid: Some(meta.uid.clone()),
            ..DeleteOptions::default()
        };
        api.delete(&meta.name, &options).await?;
        self.cloud.deleted.lock().insert(meta.uid.clone());
        Ok(())
    }

    pub(crate) async fn all<R: Resource>(&self) -> Result<Vec<R>, ApiError> {
        Ok(self.cloud.client.all::<R>().list(&ListParams::default()).await?.items)
    }

    async fn any<R: Resource>(&self, wanted: impl Fn(&R) -> bool) -> Result<Option<R>, ApiError> {
        self.any_by(&self.dice, wanted).await
    }

    /// By the luck of others.
    pub(crate) async fn any_by<R: Resource>(
        &self,
        dice: &Dice,
        wanted: impl Fn(&R) -> bool,
    ) -> Result<Option<R>, ApiError> {
        let all: Vec<R> = self.all::<R>().await?.into_iter().filter(|object| wanted(object)).collect();
        Ok(dice.pick(&all).cloned())
    }

    async fn project(&self) -> Result<Option<String>, ApiError> {
        Ok(self.any::<Project>(|p| p.metadata.name != "system").await?.map(|p| p.metadata.name))
    }

    pub(crate) fn name(&self, prefix: &str) -> String {
        format!("{prefix}-{}", self.names.fetch_add(1, Ordering::Relaxed))
    }

    fn replicas(&self) -> u32 {
        u32::try_from(self.dice.within(0..7)).unwrap_or(0)
    }

    fn resources(&self) -> Resources {
        Resources {
            cpu: CpuMillis(self.dice.within(1..9) * 250),
            memory: Bytes::mib(self.dice.within(1..13) * 128),
            disk: Bytes::gib(self.dice.within(0..5)),
        }
    }

    pub(crate) fn instance(&self) -> InstanceSpec {
        let policies = [RestartPolicy::Always, RestartPolicy::OnFailure, RestartPolicy::Never];
        let strategies = [Strategy::Spread, Strategy::Pack];
        let (isolation, payload) = if self.cloud.networked {
            (Isolation::Namespace, Payload::Rootfs(RootfsPayload { image: IMAGE.into(), init: Vec::new() }))
        } else {
            let command = CommandPayload { argv: vec!["serve".into()], env: Vec::new() };
            (Isolation::Process, Payload::Command(command))
        };
        InstanceSpec {
            isolation,
            payload,
            resources: self.resources(),
            power: if self.dice.per_mille(100) { Power::Stopped } else { Power::Running },
            restart_policy: self.dice.pick(&policies).copied().unwrap_or_default(),
            stop_grace_seconds: u32::try_from(self.dice.within(0..30)).ok(),
            placement: PlacementSpec {
                strategy: self.dice.pick(&strategies).copied().unwrap_or_default(),
                ..PlacementSpec::default()
            },
            ..InstanceSpec::default()
        }
    }
}

fn gone(result: Result<(), ApiError>) -> Result<(), ApiError> {
    match result {
        Err(e) if !e.is_not_found() => Err(e),
        _ => Ok(()),
    }
}
