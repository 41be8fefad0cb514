//! Bucket: a place for objects that S3's clients read and write. What lies in it is not said here.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::GROUP;
use crate::{Claim, FieldErrors, KindInfo, Object, Scope, Spec};

/// Shortest and longest name of a bucket, as S3 has it.
const NAME_MIN: usize = 3;
const NAME_MAX: usize = 63;

pub type Bucket = Object<BucketSpec>;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BucketSpec {}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BucketStatus {}

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

    fn validate(&self, _errors: &mut FieldErrors) {}

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
