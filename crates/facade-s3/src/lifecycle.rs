//! Lifecycle: the rules in S3's words and in ours, and what is due by them.

use ::objects::Record;
use model::Timestamp as Time;
use model::storage::{Expiration, LifecycleFilter, LifecycleRule as Rule, NoncurrentExpiration};
use s3s::dto::*;
use s3s::{S3Result, s3_error};

use crate::words;

const DAY_MS: i64 = 24 * 3600 * 1000;

pub(crate) fn read(rule: LifecycleRule) -> S3Result<Rule> {
    let count = |n: Option<i32>| match n.map(u32::try_from) {
        None => Ok(0),
        Some(Ok(n)) if n > 0 => Ok(n),
        Some(_) => Err(s3_error!(InvalidArgument, "a number of days or versions must be positive")),
    };
    if rule.transitions.is_some_and(|t| !t.is_empty())
        || rule.noncurrent_version_transitions.is_some_and(|t| !t.is_empty())
    {
        return Err(s3_error!(
            InvalidStorageClass,
            "there is one storage class: nothing moves to another one"
        ));
    }
    let mut filter =
        LifecycleFilter { prefix: rule.prefix.unwrap_or_default(), ..LifecycleFilter::default() };
    let size = |n: i64| u64::try_from(n).map_err(|_| s3_error!(InvalidArgument, "a size is not negative"));
    if let Some(given) = rule.filter {
        let and = given.and.unwrap_or_default();
        if let Some(prefix) = given.prefix.or(and.prefix) {
            filter.prefix = prefix;
        }
        let tags = given.tag.into_iter().chain(and.tags.unwrap_or_default());
        filter.tags = tags.map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default())).collect();
        filter.larger_than_bytes =
            given.object_size_greater_than.or(and.object_size_greater_than).map(size).transpose()?;
        filter.smaller_than_bytes =
            given.object_size_less_than.or(and.object_size_less_than).map(size).transpose()?;
    }
    let expiration = rule.expiration.unwrap_or_default();
    let noncurrent = rule.noncurrent_version_expiration.unwrap_or_default();
    Ok(Rule {
        id: rule.id.unwrap_or_default(),
        disabled: rule.status.as_str() != ExpirationStatus::ENABLED,
        filter,
        expiration: Expiration {
            days: count(expiration.days)?,
            date: expiration.date.as_ref().map(|date| Time(words::millis(date))),
            lone_markers: expiration.expired_object_delete_marker.unwrap_or(false),
        },
        noncurrent_expiration: NoncurrentExpiration {
            days: count(noncurrent.noncurrent_days)?,
            keep_versions: count(noncurrent.newer_noncurrent_versions)?,
        },
        abort_uploads_after_days: count(
            rule.abort_incomplete_multipart_upload.and_then(|abort| abort.days_after_initiation),
        )?,
    })
}

pub(crate) fn written(rule: &Rule) -> LifecycleRule {
    let days = |n: u32| i32::try_from(n).ok().filter(|n| *n > 0);
    let size = |n: Option<u64>| n.map(words::number);
    let tags = words::tag_set(rule.filter.tags.clone());
    let prefix = rule.filter.prefix.clone();
    let (larger, smaller) = (rule.filter.larger_than_bytes, rule.filter.smaller_than_bytes);
    let said = usize::from(!prefix.is_empty())
        + tags.len()
        + usize::from(larger.is_some())
        + usize::from(smaller.is_some());
    let filter = if said > 1 {
        let and = LifecycleRuleAndOperator {
            object_size_greater_than: size(larger),
            object_size_less_than: size(smaller),
            prefix: (!prefix.is_empty()).then_some(prefix),
            tags: (!tags.is_empty()).then_some(tags),
        };
        LifecycleRuleFilter { and: Some(and), ..LifecycleRuleFilter::default() }
    } else {
        let is_all = tags.is_empty() && larger.is_none() && smaller.is_none();
        LifecycleRuleFilter {
            prefix: is_all.then_some(prefix),
            tag: tags.into_iter().next(),
            object_size_greater_than: size(larger),
            object_size_less_than: size(smaller),
            ..LifecycleRuleFilter::default()
        }
    };
    let expires = &rule.expiration;
    let expiration = LifecycleExpiration {
        days: days(expires.days),
        date: expires.date.map(|at| words::time(at.0)),
        expired_object_delete_marker: expires.lone_markers.then_some(true),
    };
    let noncurrent = NoncurrentVersionExpiration {
        noncurrent_days: days(rule.noncurrent_expiration.days),
        newer_noncurrent_versions: days(rule.noncurrent_expiration.keep_versions),
    };
    let abort = AbortIncompleteMultipartUpload { days_after_initiation: days(rule.abort_uploads_after_days) };
    let status = if rule.disabled { ExpirationStatus::DISABLED } else { ExpirationStatus::ENABLED };
    LifecycleRule {
        id: (!rule.id.is_empty()).then(|| rule.id.clone()),
        status: ExpirationStatus::from_static(status),
        filter: Some(filter),
        expiration: (*expires != Expiration::default()).then_some(expiration),
        noncurrent_version_expiration: (rule.noncurrent_expiration.days > 0).then_some(noncurrent),
        abort_incomplete_multipart_upload: (rule.abort_uploads_after_days > 0).then_some(abort),
        prefix: None,
        transitions: None,
        noncurrent_version_transitions: None,
    }
}

/// The midnight after so many days: what is due is due from a day's beginning on.
fn due(since_ms: i64, days: u32) -> i64 {
    let at = since_ms + i64::from(days) * DAY_MS;
    at.div_euclid(DAY_MS) * DAY_MS + if at.rem_euclid(DAY_MS) == 0 { 0 } else { DAY_MS }
}

/// Where a version stands among those of its key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    /// When a newer version was written; nothing for the newest.
    pub(crate) replaced_ms: Option<i64>,
    /// How many newer versions there are that are not the newest either.
    pub(crate) newer_noncurrent: u32,
    /// Whether it is the only one that is left.
    pub(crate) is_only: bool,
}

/// Whether a version goes by this rule.
pub(crate) fn is_due(rule: &Rule, record: &Record, standing: Standing, now_ms: i64) -> bool {
    if rule.disabled || !record.key.starts_with(&rule.filter.prefix) {
        return false;
    }
    let sized = rule.filter.larger_than_bytes.is_none_or(|than| record.size > than)
        && rule.filter.smaller_than_bytes.is_none_or(|than| record.size < than);
    let tagged = rule
        .filter
        .tags
        .iter()
        .all(|(key, value)| record.meta.tags.iter().any(|(k, v)| k == key && v == value));
    let expires = &rule.expiration;
    let by_age = (expires.days > 0 && due(record.modified_ms, expires.days) <= now_ms)
        || expires.date.is_some_and(|date| date.0 <= now_ms);
    match standing.replaced_ms {
        // A marker has no tags and no size, and goes when it hides nothing any more.
        None if record.is_marker => standing.is_only && (expires.lone_markers || by_age),
        None => sized && tagged && by_age,
        Some(replaced_ms) => {
            let rule = &rule.noncurrent_expiration;
            rule.days > 0
                && (record.is_marker || (sized && tagged))
                && standing.newer_noncurrent >= rule.keep_versions
                && due(replaced_ms, rule.days) <= now_ms
        }
    }
}

/// Whether an upload that was not finished goes.
pub(crate) fn is_abandoned(rule: &Rule, key: &str, started_ms: i64, now_ms: i64) -> bool {
    let days = rule.abort_uploads_after_days;
    !rule.disabled && days > 0 && key.starts_with(&rule.filter.prefix) && due(started_ms, days) <= now_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEWEST: Standing = Standing { replaced_ms: None, newer_noncurrent: 0, is_only: true };

    fn record(key: &str, modified_ms: i64) -> Record {
        let mut record = Record::default();
        (record.key, record.modified_ms, record.size) = (key.into(), modified_ms, 10);
        record
    }

    #[test]
    fn objects_go_at_the_midnight_after_their_days() {
        let rule = Rule {
            filter: LifecycleFilter { prefix: "log/".into(), ..LifecycleFilter::default() },
            expiration: Expiration { days: 2, ..Expiration::default() },
            ..Rule::default()
        };
        let noon = DAY_MS / 2;
        for (now, expected) in [(2 * DAY_MS + noon, false), (3 * DAY_MS - 1, false), (3 * DAY_MS, true)] {
            assert_eq!(is_due(&rule, &record("log/a", noon), NEWEST, now), expected, "{now}");
        }
        assert!(!is_due(&rule, &record("data/a", noon), NEWEST, 100 * DAY_MS));
        let disabled = Rule { disabled: true, ..rule };
        assert!(!is_due(&disabled, &record("log/a", noon), NEWEST, 100 * DAY_MS));
    }

    #[test]
    fn older_versions_go_but_for_the_newest_of_them() {
        let rule = Rule {
            noncurrent_expiration: NoncurrentExpiration { days: 1, keep_versions: 1 },
            ..Rule::default()
        };
        let old = |newer_noncurrent| Standing { replaced_ms: Some(0), newer_noncurrent, is_only: false };
        let now = 2 * DAY_MS;
        assert!(!is_due(&rule, &record("k", 0), NEWEST, now));
        assert!(!is_due(&rule, &record("k", 0), old(0), now));
        assert!(is_due(&rule, &record("k", 0), old(1), now));
    }

    #[test]
    fn rules_come_back_as_they_were_written() {
        let rule = Rule {
            id: "all".into(),
            filter: LifecycleFilter {
                prefix: "a".into(),
                tags: [("k".to_owned(), "v".to_owned())].into(),
                larger_than_bytes: Some(1),
                smaller_than_bytes: None,
            },
            expiration: Expiration { date: Some(Time(DAY_MS)), ..Expiration::default() },
            noncurrent_expiration: NoncurrentExpiration { days: 3, keep_versions: 2 },
            ..Rule::default()
        };
        assert_eq!(read(written(&rule)).unwrap(), rule);
        let plain = Rule {
            filter: LifecycleFilter { prefix: "p/".into(), ..LifecycleFilter::default() },
            abort_uploads_after_days: 7,
            ..Rule::default()
        };
        assert_eq!(read(written(&plain)).unwrap(), plain);
    }
}
