//! Pool: where volumes are kept, and by which technology.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::GROUP;
use crate::{Bytes, Column, Condition, FieldErrors, KindInfo, Object, Scope, Spec};

pub type Pool = Object<PoolSpec>;

/// Paths of disks stand in the headers of others, where there is room for 1023 bytes.
const PATH_MAX: usize = 200;
const NAME_MAX: usize = 64;

/// What the operator says of a pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PoolSpec {
    pub driver: PoolDriver,
    /// The folder of a `files` pool, at the same place on every host that has it: something that several hosts have
    /// mounted, as NFS, GlusterFS or CephFS.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The thin pool of LVM that an `lvm` pool is, of the same name on every host that has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lvm: Option<ThinPool>,
    /// The pool of a Ceph cluster that an `rbd` pool is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ceph: Option<CephPlace>,
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
    /// Thin volumes of LVM, on every host that has such a thin pool: a volume stays on the host on which it was made.
    Lvm,
    /// Images in a pool of a Ceph cluster: a volume can be attached on any host that reaches it, one at a time.
    Rbd,
}

/// A thin pool of LVM. It is for Corten alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct ThinPool {
    /// The volume group on every host, as `vgs` names it.
    pub group: String,
    /// The thin pool in it, as `lvs` names it.
    pub pool: String,
}

/// A pool of a Ceph cluster, and how hosts reach it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct CephPlace {
    /// The cluster's own name of the pool. It is for Corten alone.
    pub pool: String,
    /// Who hosts are to the cluster, without `client.`; its capabilities are `profile rbd`.
    #[serde(default = "default_user")]
    pub user: String,
    /// The cluster's configuration on every host. The user's keyring is where it says, or in
    /// /etc/ceph/ceph.client.USER.keyring.
    #[serde(default = "default_conf")]
    pub conf: String,
}

fn default_user() -> String {
    "corten".into()
}

fn default_conf() -> String {
    "/etc/ceph/ceph.conf".into()
}

impl PoolSpec {
    /// Whether several hosts have the same volumes.
    pub fn is_shared(&self) -> bool {
        match self.driver {
            PoolDriver::Dir | PoolDriver::Lvm => false,
            PoolDriver::Files | PoolDriver::Rbd => true,
        }
    }

    /// Whether each host has it by itself. Of any other, hosts say whether it is there.
    pub fn is_everywhere(&self) -> bool {
        self.driver == PoolDriver::Dir
    }
}

/// A path as mount tables, QEMU and people write it: nothing in it has to be quoted.
fn is_plain_path(path: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
    let is_plain = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(plain);
    path.starts_with('/') && path.split('/').skip(1).all(is_plain) && path.len() <= PATH_MAX
}

/// A name that Ceph's tools take for nothing else.
fn is_plain_name(name: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
    name.bytes().all(plain) && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.len() <= NAME_MAX
}

impl ThinPool {
    fn validate(&self, errors: &mut FieldErrors) {
        for (field, name) in [("spec.lvm.group", &self.group), ("spec.lvm.pool", &self.pool)] {
            errors.require(
                is_plain_name(name),
                field,
                "must be 1 to 64 letters, digits and . _ -, the first a letter or digit, as vgs and lvs name it",
            );
        }
    }
}

impl CephPlace {
    fn validate(&self, errors: &mut FieldErrors) {
        for (field, name) in [("spec.ceph.pool", &self.pool), ("spec.ceph.user", &self.user)] {
            errors.require(
                is_plain_name(name),
                field,
                "must be 1 to 64 letters, digits and . _ -, the first a letter or digit",
            );
        }
        errors.require(
            is_plain_path(&self.conf),
            "spec.ceph.conf",
            "must be the whole path of the cluster's configuration on every host, as in /etc/ceph/ceph.conf",
        );
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
        if self.driver == PoolDriver::Files {
            errors.require(
                is_plain_path(&self.path),
                "spec.path",
                "must be the whole path of a folder that hosts have mounted, as in /mnt/pool, of at most 200 letters, \
                 digits and . _ - /",
            );
        } else {
            errors.require(self.path.is_empty(), "spec.path", "is for pools with spec.driver files only");
        }
        match (&self.ceph, self.driver) {
            (Some(ceph), PoolDriver::Rbd) => ceph.validate(errors),
            (None, PoolDriver::Rbd) => {
                errors.push(
                    "spec.ceph",
                    "is required: say at least which pool of the cluster it is, as ceph.pool",
                );
            }
            (Some(_), _) => errors.push("spec.ceph", "is for pools with spec.driver rbd only"),
            (None, _) => {}
        }
        match (&self.lvm, self.driver) {
            (Some(lvm), PoolDriver::Lvm) => lvm.validate(errors),
            (None, PoolDriver::Lvm) => {
                errors.push("spec.lvm", "is required: say which thin pool it is, as lvm.group and lvm.pool");
            }
            (Some(_), _) => errors.push("spec.lvm", "is for pools with spec.driver lvm only"),
            (None, _) => {}
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        errors.require(self.driver == old.driver, "spec.driver", "cannot be changed; make a new pool");
        errors.require(self.path == old.path, "spec.path", "cannot be changed; make a new pool");
        errors.require(self.lvm == old.lvm, "spec.lvm", "cannot be changed; make a new pool");
        let ceph = |spec: &Self| spec.ceph.as_ref().map(|ceph| ceph.pool.clone());
        errors.require(ceph(self) == ceph(old), "spec.ceph.pool", "cannot be changed; make a new pool");
    }

    fn columns() -> &'static [Column<Pool>] {
        const COLUMNS: &[Column<Pool>] = &[
            Column::text("Driver", |p, _| json!(p.spec.driver)),
            Column::text("Capacity", |p, _| json!(p.spec.capacity)),
            Column::text("Path", |p, _| match (&p.spec.ceph, &p.spec.lvm) {
                (Some(ceph), _) => json!(ceph.pool),
                (_, Some(lvm)) => json!(format!("{}/{}", lvm.group, lvm.pool)),
                (None, None) => json!(p.spec.path),
            }),
        ];
        COLUMNS
    }
}
