//! BackupPlan: when volumes are backed up, and which backups stay.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::GROUP;
use super::bucket::is_bucket_name;
use crate::{
    Column, Condition, FieldErrors, KindInfo, Name, Object, ObjectMeta, Reference, Scope, Spec, Timestamp,
};

pub type BackupPlan = Object<BackupPlanSpec>;

/// Most volumes of one plan.
const VOLUMES_MAX: usize = 64;
/// Shortest time between two backups of a volume.
const EVERY_MIN_SECONDS: u64 = 10;
const EVERY_MAX_SECONDS: u64 = 366 * 86_400;
const COUNT_MAX: u32 = 1000;
/// What is left of a plan's or a volume's name in the name of a backup.
const NAME_MAX: usize = 20;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupPlanSpec {
    /// Volumes of the project; one that is not there now is passed by.
    pub volumes: Vec<String>,
    /// Seconds between two backups of a volume.
    pub every_seconds: u64,
    /// Which backups of this plan stay.
    #[serde(skip_serializing_if = "is_default")]
    pub keep: BackupRetention,
    /// The project's Bucket that keeps them; the cloud's own store when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub bucket: String,
    /// Makes no backups and deletes none.
    #[serde(skip_serializing_if = "is_default")]
    pub suspended: bool,
}

/// A backup goes when either says so. The newest that is ready always stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupRetention {
    /// So many of each volume; 0 means any number.
    #[serde(skip_serializing_if = "is_default")]
    pub count: u32,
    /// None that is older; 0 means any age.
    #[serde(skip_serializing_if = "is_default")]
    pub max_age_seconds: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupPlanStatus {
    /// When the plan last made a backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    /// When the next is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
    /// Backups of this plan that there are.
    #[serde(skip_serializing_if = "is_default")]
    pub backups: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Spec for BackupPlanSpec {
    type Status = BackupPlanStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "BackupPlan",
        plural: "backupplans",
        singular: "backupplan",
        short_names: &["bp"],
        scope: Scope::Project,
        summary: "When volumes are backed up, and which backups stay.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        let count = self.volumes.len();
        errors.require(
            (1..=VOLUMES_MAX).contains(&count),
            "spec.volumes",
            "must name at least one volume and at most 64",
        );
        let mut seen = BTreeSet::new();
        for (i, volume) in self.volumes.iter().enumerate() {
            let field = format!("spec.volumes[{i}]");
            match Name::new(volume) {
                Err(e) => errors.push(&field, e.to_string()),
                Ok(_) => errors.require(seen.insert(volume), &field, "is named twice; once is enough"),
            }
        }
        errors.require(
            (EVERY_MIN_SECONDS..=EVERY_MAX_SECONDS).contains(&self.every_seconds),
            "spec.everySeconds",
            "must be between 10 and a year of seconds",
        );
        errors.require(self.keep.count <= COUNT_MAX, "spec.keep.count", "must be at most 1000");
        let named = self.bucket.is_empty() || is_bucket_name(&self.bucket);
        errors.require(named, "spec.bucket", "must be the name of a bucket, or left out");
    }

    fn columns() -> &'static [Column<BackupPlan>] {
        const COLUMNS: &[Column<BackupPlan>] = &[
            Column::text("Volumes", |p, _| json!(p.spec.volumes.join(","))),
            Column::text("Every", |p, _| json!(Timestamp(0).age(seconds(p.spec.every_seconds)))),
            Column::text("Keep", |p, _| json!(keep_word(&p.spec.keep))),
            Column::integer("Backups", |p, _| json!(p.status.backups)),
            Column::text("Next", |p, _| {
                json!(p.status.next.map(|next| next.to_string()).unwrap_or_default())
            }),
        ];
        COLUMNS
    }

    fn references(p: &BackupPlan) -> Vec<Reference> {
        Reference::kept(super::BucketSpec::KIND, &p.metadata, &p.spec.bucket, "spec.bucket")
            .into_iter()
            .collect()
    }
}

impl Object<BackupPlanSpec> {
    /// The name of the backup of a volume that is due at this moment: the same however often it is asked for.
    pub fn backup_name(&self, volume: &ObjectMeta, due: Timestamp) -> String {
        let short =
            |name: &str| name.chars().take(NAME_MAX).collect::<String>().trim_end_matches('-').to_owned();
        let (own, mut name) = (short(&self.metadata.name), short(&volume.name));
        if name != volume.name {
            // Another volume's name may begin the same.
            name = format!("{name}-{}", volume.uid.as_str().chars().take(6).collect::<String>());
        }
        format!("{own}-{name}-{}", due.0.div_euclid(1000))
    }
}

fn seconds(n: u64) -> Timestamp {
    Timestamp(i64::try_from(n.saturating_mul(1000)).unwrap_or(i64::MAX))
}

fn keep_word(keep: &BackupRetention) -> String {
    let age = || Timestamp(0).age(seconds(keep.max_age_seconds));
    match (keep.count, keep.max_age_seconds) {
        (0, 0) => "all".into(),
        (count, 0) => count.to_string(),
        (0, _) => age(),
        (count, _) => format!("{count}, {}", age()),
    }
}
