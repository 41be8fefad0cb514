//! Lease: a sign of life. A host's agent renews one; whoever watches measures the silence on its own clock
//! and never trusts the holder's.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::GROUP;
use crate::{Column, FieldErrors, KindInfo, Object, Scope, Spec, Timestamp};

pub type Lease = Object<LeaseSpec>;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LeaseSpec {
    /// Who holds it: one incarnation of a host or a controller.
    pub holder: String,
    /// How long after a renewal the holder may still act, in seconds.
    pub duration_seconds: u32,
    /// When the holder last renewed, on the holder's clock: for people only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewed_at: Option<Timestamp>,
    /// Grows with every new holder; carried by side effects, so that a late one is refused.
    #[serde(default)]
    pub epoch: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeaseStatus {}

impl Spec for LeaseSpec {
    type Status = LeaseStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "Lease",
        plural: "leases",
        singular: "lease",
        short_names: &[],
        scope: Scope::Cloud,
        summary: "A sign of life of a host or controller.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        errors.require(!self.holder.is_empty(), "spec.holder", "must be set");
        errors.require(
            (1..=3600).contains(&self.duration_seconds),
            "spec.durationSeconds",
            "must be between 1 and 3600",
        );
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        errors.require(self.epoch >= old.epoch, "spec.epoch", "can only grow");
    }

    fn columns() -> &'static [Column<Lease>] {
        const COLUMNS: &[Column<Lease>] = &[
            Column::text("Holder", |l, _| json!(l.spec.holder)),
            Column::text("Renewed", |l, now| {
                json!(l.spec.renewed_at.map_or_else(String::new, |t| t.age(now)))
            }),
        ];
        COLUMNS
    }
}
