//! Pool: where volumes are kept, and by which technology.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::GROUP;
use crate::{Bytes, Column, Condition, FieldErrors, KindInfo, Object, Scope, Spec};

pub type Pool = Object<PoolSpec>;

/// What the operator says of a pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PoolSpec {
    pub driver: PoolDriver,
    /// The most that its volumes may promise together on one host; no limit when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Bytes>,
}

/// The technology of a pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum PoolDriver {
    /// Files in a folder of every host: a volume stays on the host on which it was made.
    #[default]
    Dir,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PoolStatus {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

impl Spec for PoolSpec {
    type Status = PoolStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "Pool",
        plural: "pools",
        singular: "pool",
        short_names: &[],
        scope: Scope::Cloud,
        summary: "Where volumes are kept, and by which technology.",
    };

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        errors.require(self.driver == old.driver, "spec.driver", "cannot be changed; make a new pool");
    }

    fn columns() -> &'static [Column<Pool>] {
        const COLUMNS: &[Column<Pool>] = &[
            Column::text("Driver", |p, _| json!(p.spec.driver)),
            Column::text("Capacity", |p, _| json!(p.spec.capacity)),
        ];
        COLUMNS
    }
}
