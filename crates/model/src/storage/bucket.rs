//! Bucket: a place for objects that S3's clients read and write. What lies in it is not said here.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::GROUP;
use super::bucket_rules::{CorsRule, LifecycleRule, check_lifecycle};
use crate::{Claim, Column, FieldErrors, KindInfo, Object, Scope, Spec};

/// Shortest and longest name of a bucket, as S3 has it.
const NAME_MIN: usize = 3;
const NAME_MAX: usize = 63;
/// Most tags, rules of lifecycle and of CORS, and bytes of a policy, as S3 has them.
const TAGS_MAX: usize = 50;
const LIFECYCLE_MAX: usize = 1000;
const CORS_MAX: usize = 100;
const POLICY_MAX_BYTES: usize = 20 * 1024;

/// Keeps a bucket that is being deleted until nothing lies in it any more.
pub const BUCKET_CONTENTS: &str = "storage.corten.dev/objects";

pub type Bucket = Object<BucketSpec>;

/// What the user wants of a bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BucketSpec {
    /// Whether an object that is written over or deleted stays as an older version.
    #[serde(skip_serializing_if = "is_default")]
    pub versioning: BucketVersioning,
    /// Whether versions can be locked; it stays once it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_lock: Option<ObjectLock>,
    /// What new objects are encrypted with at rest, when their writer says nothing.
    #[serde(skip_serializing_if = "is_default")]
    pub encryption: BucketEncryption,
    /// What goes by itself, and when.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lifecycle: Vec<LifecycleRule>,
    /// Which web pages may use the bucket from a browser.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cors: Vec<CorsRule>,
    /// Who else may do what, a policy document of AWS.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub policy: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// What is kept from being public, whatever the policy says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_access_block: Option<PublicAccessBlock>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum BucketVersioning {
    /// It was never on.
    #[default]
    Off,
    Enabled,
    /// New objects have no versions; those that there are stay.
    Suspended,
}

impl BucketVersioning {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "Off",
            Self::Enabled => "Enabled",
            Self::Suspended => "Suspended",
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum BucketEncryption {
    /// With nothing.
    #[default]
    Off,
    /// AES-256 with the cloud's own key.
    #[serde(rename = "AES256")]
    Aes256,
}

/// What new versions are locked with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectLock {
    /// What new versions are locked with when their writer says nothing; not at all when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<DefaultRetention>,
}

/// For how long: days or years, not both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DefaultRetention {
    pub mode: RetentionMode,
    #[serde(skip_serializing_if = "is_default")]
    pub days: u32,
    #[serde(skip_serializing_if = "is_default")]
    pub years: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(inline)]
pub enum RetentionMode {
    /// Who is allowed to may remove it all the same.
    #[default]
    Governance,
    /// Nobody may.
    Compliance,
}

impl RetentionMode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Governance => "GOVERNANCE",
            Self::Compliance => "COMPLIANCE",
        }
    }
}

/// What is kept from being public. ACLs that are public do not exist here; their switches are kept for clients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::struct_excessive_bools, reason = "these are AWS's four switches")]
pub struct PublicAccessBlock {
    #[serde(skip_serializing_if = "is_default")]
    pub block_public_acls: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub ignore_public_acls: bool,
    /// A policy that is public is refused.
    #[serde(skip_serializing_if = "is_default")]
    pub block_public_policy: bool,
    /// A policy that is public allows nothing to who is not of the bucket's project.
    #[serde(skip_serializing_if = "is_default")]
    pub restrict_public_buckets: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BucketStatus {}

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Spec for BucketSpec {
    type Status = BucketStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "Bucket",
        plural: "buckets",
        singular: "bucket",
        short_names: &[],
        scope: Scope::Project,
        summary: "A place for objects that S3's clients read and write.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        let few = |n: usize, max: usize| n <= max;
        errors.require(few(self.tags.len(), TAGS_MAX), "spec.tags", "must be at most 50");
        let fits = self
            .tags
            .iter()
            .all(|(key, value)| (1..=128).contains(&key.chars().count()) && value.chars().count() <= 256);
        errors.require(fits, "spec.tags", "keys have 1 to 128 characters, values at most 256");
        errors.require(few(self.policy.len(), POLICY_MAX_BYTES), "spec.policy", "must have at most 20 KiB");
        errors.require(few(self.lifecycle.len(), LIFECYCLE_MAX), "spec.lifecycle", "must be at most 1000");
        check_lifecycle(&self.lifecycle, errors);
        errors.require(few(self.cors.len(), CORS_MAX), "spec.cors", "must be at most 100");
        for (n, rule) in self.cors.iter().enumerate() {
            rule.check(&format!("spec.cors[{n}]"), errors);
        }
        let Some(lock) = &self.object_lock else { return };
        errors.require(
            self.versioning == BucketVersioning::Enabled,
            "spec.versioning",
            "must be Enabled where versions can be locked",
        );
        if let Some(retention) = &lock.retention {
            let one = (retention.days > 0) != (retention.years > 0);
            errors.require(one, "spec.objectLock.retention", "needs either days or years");
            let short = retention.days <= 36_500 && retention.years <= 100;
            errors.require(short, "spec.objectLock.retention", "must be at most 36500 days or 100 years");
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        errors.require(
            self.versioning != BucketVersioning::Off || old.versioning == BucketVersioning::Off,
            "spec.versioning",
            "cannot be Off again; make it Suspended",
        );
        errors.require(
            self.object_lock.is_some() || old.object_lock.is_none(),
            "spec.objectLock",
            "cannot be taken away",
        );
    }

    fn columns() -> &'static [Column<Bucket>] {
        const COLUMNS: &[Column<Bucket>] =
            &[Column::text("Versioning", |b, _| json!(b.spec.versioning.as_str()))];
        COLUMNS
    }

    /// Clients know buckets by name alone, so a name is one bucket's in the whole cloud.
    fn claims(bucket: &Bucket) -> Vec<Claim> {
        let name = &bucket.metadata.name;
        vec![Claim::new(format!("bucket/{name}"), "metadata.name", format!("the bucket name {name}"))]
    }
}

/// Whether S3's clients can name a bucket so.
pub fn is_bucket_name(name: &str) -> bool {
    (NAME_MIN..=NAME_MAX).contains(&name.len()) && crate::Name::new(name).is_ok()
}
