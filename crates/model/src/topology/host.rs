//! Host: a machine that runs instances.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::GROUP;
use crate::compute::Cell;
use crate::{
    Column, Condition, ConditionStatus, FieldErrors, KindInfo, Object, Resources, Scope, Spec, Timestamp,
};

pub type Host = Object<HostSpec>;

/// What the operator says of a host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HostSpec {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub zone: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rack: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// No new instances are placed here while set.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cordoned: bool,
    /// Keep away instances that do not tolerate them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
    /// How much more CPU may be promised than there is; 0 means the default of 4.
    #[serde(skip_serializing_if = "is_zero")]
    pub cpu_overcommit: f64,
}

// serde's skip_serializing_if hands out a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(n: &f64) -> bool {
    *n == 0.0
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Taint {
    pub key: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
}

/// What the host's agent reports.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HostStatus {
    /// What instances may use: the machine less what the host itself needs.
    pub capacity: Resources,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drivers: Vec<DriverStatus>,
    /// Pools that not every host has by itself, and whether they are there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<HostPool>,
    /// How the control plane reaches the agent, `address:port`; empty when it runs in the same process.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub endpoint: String,
    /// Content digests of the images in the host's cache.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// The machine's own identity (/etc/machine-id), and one per boot: a cloned disk shows itself here.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub machine_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub boot_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kernel: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub agent_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Timestamp>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// One driver of a host and what it can do there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DriverStatus {
    pub name: String,
    /// The version of the program behind it, e.g. QEMU's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    pub cells: Vec<Cell>,
    /// `kvm` where the processor has it and a probe guest really ran, else `tcg`; empty for containers.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub accelerator: String,
    /// Why the driver cannot be used here, when it cannot.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub unavailable: String,
}

/// A pool that not every host has by itself, as this host has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HostPool {
    pub name: String,
    /// Why it cannot be used here, when it cannot.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub unavailable: String,
}

/// Set while a host is silent for so long that what it would have had to end by itself has ended.
pub const FENCED: &str = "Fenced";

impl Object<HostSpec> {
    /// Whether it has been silent for so long that its instances may be started elsewhere, as far as time tells.
    pub fn is_fenced(&self) -> bool {
        self.status.conditions.iter().any(|c| c.kind == FENCED && c.status == ConditionStatus::True)
    }

    /// Whether it has a pool that not every host has by itself.
    pub fn has_pool(&self, name: &str) -> bool {
        self.status.pools.iter().any(|pool| pool.name == name && pool.unavailable.is_empty())
    }

    /// Whether the host's agent has been heard of lately.
    pub fn is_ready(&self) -> bool {
        self.status.conditions.iter().any(|c| c.kind == "Ready" && c.status == ConditionStatus::True)
    }

    /// What may be promised to instances: capacity with CPU overcommit.
    pub fn allocatable(&self) -> Resources {
        let factor = if self.spec.cpu_overcommit == 0.0 { 4.0 } else { self.spec.cpu_overcommit };
        let mut room = self.status.capacity;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // validated to 1..=64
        {
            room.cpu.0 = (room.cpu.0 as f64 * factor) as u64;
        }
        room
    }
}

impl Spec for HostSpec {
    type Status = HostStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "Host",
        plural: "hosts",
        singular: "host",
        short_names: &["node", "nodes"],
        scope: Scope::Cloud,
        summary: "A machine that runs instances.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        errors.require(
            self.cpu_overcommit == 0.0 || (1.0..=64.0).contains(&self.cpu_overcommit),
            "spec.cpuOvercommit",
            "must be between 1 and 64",
        );
        for (i, t) in self.taints.iter().enumerate() {
            errors.require(!t.key.is_empty(), &format!("spec.taints[{i}].key"), "must be set");
        }
    }

    fn columns() -> &'static [Column<Host>] {
        const COLUMNS: &[Column<Host>] = &[
            Column::text("Status", |h, _| json!(status_word(h))),
            Column::text("Cpu", |h, _| json!(h.status.capacity.cpu)),
            Column::text("Memory", |h, _| json!(format!("{}Mi", h.status.capacity.memory.as_mib()))),
            Column::text("Drivers", |h, _| json!(drivers(h))),
            Column::text("Zone", |h, _| json!(h.spec.zone)),
            Column::wide_text("Version", |h, _| json!(h.status.agent_version)),
            Column::wide_text("Kernel", |h, _| json!(h.status.kernel)),
            Column::wide_text("Endpoint", |h, _| json!(h.status.endpoint)),
        ];
        COLUMNS
    }

    fn field(h: &Host, path: &str) -> Option<String> {
        Some(match path {
            "spec.zone" => h.spec.zone.clone(),
            "spec.cordoned" => h.spec.cordoned.to_string(),
            _ => return None,
        })
    }
}

fn status_word(h: &Host) -> String {
    let ready = match h.status.conditions.iter().find(|c| c.kind == "Ready").map(|c| c.status) {
        Some(ConditionStatus::True) => "Ready",
        Some(ConditionStatus::False) => "NotReady",
        Some(ConditionStatus::Unknown) | None => "Unknown",
    };
    if h.spec.cordoned { format!("{ready},Cordoned") } else { ready.into() }
}

fn drivers(h: &Host) -> String {
    let usable = h.status.drivers.iter().filter(|d| d.unavailable.is_empty());
    let words: Vec<String> =
        usable
            .map(|d| {
                if d.accelerator.is_empty() {
                    d.name.clone()
                } else {
                    format!("{}({})", d.name, d.accelerator)
                }
            })
            .collect();
    words.join(",")
}
