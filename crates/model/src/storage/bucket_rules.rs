//! Rules of buckets: what goes by itself, and which web pages may use them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bucket::is_default;
use crate::{FieldErrors, Timestamp};

/// What goes by itself, and when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LifecycleRule {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// It is kept and not followed.
    #[serde(skip_serializing_if = "is_default")]
    pub disabled: bool,
    /// Of which objects it speaks; of all when left out.
    #[serde(skip_serializing_if = "is_default")]
    pub filter: LifecycleFilter,
    /// When what is there now goes.
    #[serde(skip_serializing_if = "is_default")]
    pub expiration: Expiration,
    /// When older versions go.
    #[serde(skip_serializing_if = "is_default")]
    pub noncurrent_expiration: NoncurrentExpiration,
    /// After how many days an upload in parts that was not finished goes.
    #[serde(skip_serializing_if = "is_default")]
    pub abort_uploads_after_days: u32,
}

/// All that is said must be so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LifecycleFilter {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub larger_than_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smaller_than_bytes: Option<u64>,
}

/// One of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Expiration {
    /// So many days after it was written.
    #[serde(skip_serializing_if = "is_default")]
    pub days: u32,
    /// From this time on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<Timestamp>,
    /// A delete marker behind which nothing is left.
    #[serde(skip_serializing_if = "is_default")]
    pub lone_markers: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NoncurrentExpiration {
    /// So many days after a newer version was written.
    pub days: u32,
    /// The newest so many of them stay.
    #[serde(skip_serializing_if = "is_default")]
    pub keep_versions: u32,
}

/// Which web pages may use a bucket, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CorsRule {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// `*`, or an origin with at most one star in it.
    pub origins: Vec<String>,
    /// GET, PUT, HEAD, POST or DELETE.
    pub methods: Vec<String>,
    /// Headers that a page may send; each may have one star.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    /// Headers that a page may read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exposed_headers: Vec<String>,
    /// How long a browser may remember it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age_seconds: Option<u32>,
}

impl CorsRule {
    pub(super) fn check(&self, field: &str, errors: &mut FieldErrors) {
        let said = !self.origins.is_empty() && !self.methods.is_empty();
        errors.require(said, field, "needs origins and methods");
        let known = |method: &String| ["GET", "PUT", "HEAD", "POST", "DELETE"].contains(&method.as_str());
        let methods = self.methods.iter().all(known);
        errors.require(methods, &format!("{field}.methods"), "must be GET, PUT, HEAD, POST or DELETE");
        let one_star = |text: &String| text.matches('*').count() <= 1;
        let stars = self.origins.iter().chain(&self.headers).all(one_star);
        errors.require(stars, field, "an origin or a header has at most one star");
    }
}

pub(super) fn check_lifecycle(rules: &[LifecycleRule], errors: &mut FieldErrors) {
    for (n, rule) in rules.iter().enumerate() {
        let field = format!("spec.lifecycle[{n}]");
        let expires = &rule.expiration;
        let ways = [expires.days > 0, expires.date.is_some(), expires.lone_markers];
        let ways = ways.iter().filter(|said| **said).count();
        errors.require(ways <= 1, &format!("{field}.expiration"), "needs one of days, date and loneMarkers");
        let acts = ways == 1 || rule.noncurrent_expiration.days > 0 || rule.abort_uploads_after_days > 0;
        errors.require(acts, &field, "needs something that goes, and after how many days");
        let by_content = !rule.filter.tags.is_empty()
            || rule.filter.larger_than_bytes.is_some()
            || rule.filter.smaller_than_bytes.is_some();
        errors.require(
            !(by_content && rule.abort_uploads_after_days > 0),
            &format!("{field}.abortUploadsAfterDays"),
            "an upload has no tags and no size: filter by prefix alone",
        );
        errors.require(rule.id.chars().count() <= 255, &format!("{field}.id"), "has at most 255 characters");
        let twice = !rule.id.is_empty() && rules[..n].iter().any(|other| other.id == rule.id);
        errors.require(!twice, &format!("{field}.id"), "is another rule's");
    }
}
