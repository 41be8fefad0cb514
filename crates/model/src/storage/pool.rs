//! Pool: where volumes are kept, and by which technology.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::GROUP;
use crate::{Bytes, Column, Condition, FieldErrors, KindInfo, Object, Scope, Spec};

pub type Pool = Object<PoolSpec>;

/// Paths of disks stand in the headers of others, where there is room for 1023 bytes.
const PATH_MAX: usize = 200;

/// What the operator says of a pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PoolSpec {
    pub driver: PoolDriver,
    /// The folder of a `files` pool, at the same place on every host that has it: something that several hosts have
    /// mounted, as NFS, GlusterFS or CephFS.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The most that its volumes may promise together, on one host or in the folder that hosts share; no limit when
    /// left out.
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
    /// Files in a folder that several hosts have mounted: a volume can be attached on any of them, one at a time.
    Files,
}

impl PoolSpec {
    /// Whether several hosts have the same volumes.
    pub fn is_shared(&self) -> bool {
        self.driver == PoolDriver::Files
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PoolStatus {
    /// The host that makes the folder a pool's, once.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub maker: String,
    /// The folder says that it is this pool's; one that does not is another one, or not mounted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub made: bool,
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

    fn validate(&self, errors: &mut FieldErrors) {
        if !self.is_shared() {
            errors.require(self.path.is_empty(), "spec.path", "is for pools with spec.driver files only");
            return;
        }
        let parts: Vec<&str> = self.path.split('/').skip(1).collect();
        // As mount tables, QEMU and people write it: nothing in it has to be quoted.
        let is_plain = |part: &&str| {
            let plain = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
            !matches!(*part, "" | "." | "..") && part.bytes().all(plain)
        };
        errors.require(
            self.path.starts_with('/') && parts.iter().all(is_plain) && self.path.len() <= PATH_MAX,
            "spec.path",
            "must be the whole path of a folder that hosts have mounted, as in /mnt/pool, of at most 200 letters, \
             digits and . _ - /",
        );
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        errors.require(self.driver == old.driver, "spec.driver", "cannot be changed; make a new pool");
        errors.require(self.path == old.path, "spec.path", "cannot be changed; make a new pool");
    }

    fn columns() -> &'static [Column<Pool>] {
        const COLUMNS: &[Column<Pool>] = &[
            Column::text("Driver", |p, _| json!(p.spec.driver)),
            Column::text("Capacity", |p, _| json!(p.spec.capacity)),
            Column::text("Path", |p, _| json!(p.spec.path)),
        ];
        COLUMNS
    }
}
