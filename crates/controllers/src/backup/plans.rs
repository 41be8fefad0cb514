//! Backup plans: makes the backups that are due and deletes those that are not kept. It remembers nothing: what was
//! made last is seen on the backups themselves.

use std::time::Duration;

use client::{DeleteOptions, ListParams};
use model::storage::{BackupPlan, BackupPlanStatus, PLAN_LABEL, Volume, VolumeBackup, VolumeBackupSpec};
use model::{ApiError, Condition, ConditionStatus, ObjectMeta, Reason, set_condition};
use reconcile::{Cache, Change, Outcome, Queue};

use super::plan::{Decision, decide};
use crate::Context;

/// How often a plan is looked at though nothing was told of it.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
const WORKERS: usize = 2;

struct Plans {
    context: Context,
    plans: Cache<BackupPlan>,
    volumes: Cache<Volume>,
    backups: Cache<VolumeBackup>,
}

pub(crate) async fn run(context: Context) {
    let queue = Queue::new();
    let client = &context.client;
    let plans = {
        let queue = queue.clone();
        let listener = move |change: &Change<BackupPlan>| queue.add(change.object().metadata.key());
        Cache::start(client.all::<BackupPlan>(), ListParams::default(), vec![Box::new(listener)])
    };
    let backups = {
        let queue = queue.clone();
        let listener = move |change: &Change<VolumeBackup>| {
            let meta = &change.object().metadata;
            if let Some(plan) = meta.labels.get(PLAN_LABEL) {
                queue.add(format!("{}/{plan}", meta.namespace));
            }
        };
        Cache::start(client.all::<VolumeBackup>(), ListParams::default(), vec![Box::new(listener)])
    };
    let volumes = Cache::start(client.all::<Volume>(), ListParams::default(), Vec::new());
    tokio::join!(plans.synced(), backups.synced(), volumes.synced());
    let plans = Plans { context, plans, volumes, backups };
    reconcile::run("backup-plan", queue, WORKERS, |key| plans.reconcile(key)).await;
}

impl Plans {
    async fn reconcile(&self, key: String) -> Result<Outcome, ApiError> {
        let Some(plan) = self.plans.get(&key).filter(|plan| !plan.metadata.is_deleting()) else {
            return Ok(Outcome::Done);
        };
        let (project, name) = (&plan.metadata.namespace, &plan.metadata.name);
        let backups = self.backups.filter(|b| {
            b.metadata.namespace == *project
                && b.metadata.labels.get(PLAN_LABEL) == Some(name)
                && !b.metadata.is_deleting()
        });
        let volumes = self.volumes.filter(|v| {
            let meta = &v.metadata;
            meta.namespace == *project && plan.spec.volumes.contains(&meta.name) && !meta.is_deleting()
        });
        let now = (self.context.now)();
        let (volumes_of, backups_of): (Vec<&Volume>, Vec<&VolumeBackup>) =
            (volumes.iter().map(|v| &**v).collect(), backups.iter().map(|b| &**b).collect());
        let decision = decide(&plan, &volumes_of, &backups_of, now);
        let result = self.carry_out(&plan, &decision).await;
        let missing =
            plan.spec.volumes.iter().find(|name| !volumes.iter().any(|v| v.metadata.name == **name));
        self.report(&plan, &decision, backups.len(), missing, result.as_ref().err()).await?;
        result?;
        let wait = decision.next.map_or(LOOK_AGAIN, |next| Duration::from_secs(now.age_seconds(next) + 1));
        Ok(Outcome::RequeueAfter(wait.min(LOOK_AGAIN)))
    }

    async fn carry_out(&self, plan: &BackupPlan, decision: &Decision) -> Result<(), ApiError> {
        let project = &plan.metadata.namespace;
        let api = self.context.client.project::<VolumeBackup>(project);
        for (name, volume) in &decision.make {
            let mut meta = ObjectMeta::in_project(project, name);
            meta.labels.insert(PLAN_LABEL.into(), plan.metadata.name.clone());
            let bucket = plan.spec.bucket.clone();
            let spec = VolumeBackupSpec { volume: volume.clone(), bucket, ..Default::default() };
            match api.create(&VolumeBackup::new(meta, spec)).await {
                Err(e) if e.reason == Reason::AlreadyExists => {}
                result => drop(result?),
            }
        }
        for name in &decision.delete {
            match api.delete(name, &DeleteOptions::default()).await {
                Err(e) if e.is_not_found() => {}
                result => result?,
            }
        }
        Ok(())
    }

    async fn report(
        &self,
        plan: &BackupPlan,
        decision: &Decision,
        backups: usize,
        missing: Option<&String>,
        error: Option<&ApiError>,
    ) -> Result<(), ApiError> {
        let mut status = BackupPlanStatus {
            last: decision.last,
            next: decision.next,
            backups: u32::try_from(backups).unwrap_or(u32::MAX),
            conditions: plan.status.conditions.clone(),
        };
        let condition = match (error, missing) {
            (Some(e), _) => Condition::new("Ready", ConditionStatus::False, "CannotMake", e.message.clone()),
            (None, Some(name)) => {
                let why = format!("volume {name:?} is not there");
                Condition::new("Ready", ConditionStatus::False, "NoVolume", why)
            }
            (None, None) => Condition::new("Ready", ConditionStatus::True, "AsWanted", ""),
        };
        set_condition(&mut status.conditions, condition, (self.context.now)());
        if status == plan.status {
            return Ok(());
        }
        let changed = BackupPlan { status, ..plan.clone() };
        match self
            .context
            .client
            .project::<BackupPlan>(&plan.metadata.namespace)
            .update_status(&changed)
            .await
        {
            Err(e) if !e.is_conflict() && !e.is_not_found() => Err(e),
            _ => Ok(()),
        }
    }
}
