//! Instance: a sandbox with an isolation and a payload. The one kind everything else is for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::network::{self, InstanceNetwork, ReleasedPort};
use super::volumes::{self, InstanceVolume};
use super::{Cell, GROUP, Isolation, Payload, PlacementSpec};
use crate::{
    Bytes, Claim, Column, Condition, FieldErrors, KindInfo, Object, Reference, Resources, Scope, Spec,
    Timestamp,
};

pub type Instance = Object<InstanceSpec>;

/// Most bytes of user data (EC2 allows 16 KiB; cloud-init configurations of other clouds reach 64 KiB).
const USER_DATA_MAX_BYTES: usize = 64 * 1024;

/// What the user wants of an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct InstanceSpec {
    pub isolation: Isolation,
    pub payload: Payload,
    /// An InstanceType; fills `resources` at creation.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub instance_type: String,
    pub resources: Resources,
    /// Whether it should run.
    pub power: Power,
    /// What to do when the payload ends by itself.
    pub restart_policy: RestartPolicy,
    /// How long a stop waits for the guest before it is killed, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_grace_seconds: Option<u32>,
    /// A KeyPair whose public key the guest accepts.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key_pair: String,
    /// An IamInstanceProfile: the guest gets credentials of its role.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub instance_profile: String,
    /// Data for cloud-init or the guest's own start-up script, at most 64 KiB.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user_data: String,
    /// The machine model of a virtual machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<Machine>,
    #[serde(skip_serializing_if = "is_default")]
    pub firmware: Firmware,
    #[serde(skip_serializing_if = "is_default")]
    pub placement: PlacementSpec,
    /// Its network cards, in order. One in the project's default subnet when left out, where there is one. All but the
    /// first can come and go while it runs; a microvm's while it is stopped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<InstanceNetwork>,
    /// Its volumes, beside the disk it starts from. Can be changed while it runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<InstanceVolume>,
    /// Refuse deletion while set.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub protected: bool,
    /// Counts asked-for reboots: raise it by one to reboot.
    #[serde(skip_serializing_if = "is_default")]
    pub reboots: u64,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Power {
    #[default]
    Running,
    Stopped,
    Paused,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum RestartPolicy {
    /// Start it again however it ended, also when the guest switched itself off.
    Always,
    /// Start it again when it crashed or failed, not when it ended well.
    #[default]
    OnFailure,
    Never,
}

/// QEMU's machine models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Machine {
    Q35,
    MicroVm,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Firmware {
    #[default]
    Bios,
    Uefi,
}

/// Where an instance is in its life, in one word. Derived from facts; `Unknown` has an age
/// (the `Ready` condition's transition time), it is never guessed away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum InstancePhase {
    /// No host yet, or the host has not begun.
    #[default]
    Pending,
    /// The host prepares images and devices, or the guest is being started.
    Starting,
    Running,
    Paused,
    Stopping,
    Stopped,
    /// The payload ended with success and is not restarted.
    Succeeded,
    /// The payload failed, or could not be started; see the conditions.
    Failed,
    /// The host is not heard of.
    Unknown,
}

impl InstancePhase {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Starting => "Starting",
            Self::Running => "Running",
            Self::Paused => "Paused",
            Self::Stopping => "Stopping",
            Self::Stopped => "Stopped",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Unknown => "Unknown",
        }
    }
}

/// What is known of an instance.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct InstanceStatus {
    pub phase: InstancePhase,
    /// The generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "is_default")]
    pub observed_generation: u64,
    /// The host it is bound to. Set by the scheduler, in the transaction that claims the capacity.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Which driver of the host runs it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub driver: String,
    /// When the payload was last started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// How often the payload was started again after it ended by itself.
    #[serde(skip_serializing_if = "is_default")]
    pub restarts: u32,
    /// How the payload last ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The last reboot carried out.
    #[serde(skip_serializing_if = "is_default")]
    pub reboots_done: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// The ports at which its network cards are now: those of the spec, once its host has come to it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// Ports that its host took out of it with the latest changes of its cards, and when.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["port"]))]
    pub released_ports: Vec<ReleasedPort>,
    /// Where `corten ssh` reaches the guest from its host, as `address:port`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ssh_endpoint: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<ContainerStatus>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    pub name: String,
    pub running: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    #[serde(skip_serializing_if = "is_default")]
    pub restarts: u32,
}

impl InstanceSpec {
    pub fn cell(&self) -> Cell {
        Cell::new(self.isolation, self.payload.kind())
    }

    /// How long a stop waits for the guest, in seconds; 30 unless given.
    pub fn grace_seconds(&self) -> u32 {
        self.stop_grace_seconds.unwrap_or(30)
    }
}

impl Spec for InstanceSpec {
    type Status = InstanceStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "Instance",
        plural: "instances",
        singular: "instance",
        short_names: &["inst", "vm", "vms"],
        scope: Scope::Project,
        summary: "A sandbox with an isolation (vm, microvm, namespace, process, metal) and a payload.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        let cell = self.cell();
        if !cell.is_meaningful() {
            errors.push(
                "spec.isolation",
                format!(
                    "{} cannot hold a payload of {}; see `corten explain instance`",
                    cell.isolation, cell.payload
                ),
            );
        }
        self.payload.validate("spec.payload", errors);
        self.placement.validate("spec.placement", errors);
        errors.require(
            self.user_data.len() <= USER_DATA_MAX_BYTES,
            "spec.userData",
            "must be at most 65536 bytes; let it fetch the rest",
        );
        errors.require(
            self.stop_grace_seconds.unwrap_or(0) <= 3600,
            "spec.stopGraceSeconds",
            "must be at most 3600",
        );
        let is_vm = matches!(self.isolation, Isolation::Vm | Isolation::MicroVm);
        if is_vm {
            errors.require(
                self.resources.cpu.0 >= 1,
                "spec.resources.cpu",
                "must be more than 0; or set spec.type",
            );
            errors.require(
                self.resources.memory >= Bytes::mib(32),
                "spec.resources.memory",
                "must be at least 32Mi for a virtual machine; or set spec.type",
            );
        }
        errors.require(self.resources.cpu.0 <= 4_096_000, "spec.resources.cpu", "must be at most 4096");
        errors.require(
            self.resources.memory <= Bytes(64 << 40),
            "spec.resources.memory",
            "must be at most 64Ti",
        );
        errors.require(
            self.machine.is_none() || is_vm,
            "spec.machine",
            "is only for isolation vm and microvm",
        );
        network::validate(&self.networks, self.isolation, errors);
        volumes::validate(self, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        let fixed = "cannot be changed; make a new instance";
        errors.require(self.isolation == old.isolation, "spec.isolation", fixed);
        errors.require(self.payload == old.payload, "spec.payload", fixed);
        errors.require(self.machine == old.machine, "spec.machine", fixed);
        errors.require(self.firmware == old.firmware, "spec.firmware", fixed);
        errors.require(self.key_pair == old.key_pair, "spec.keyPair", fixed);
        network::validate_update(self, old, errors);
        errors.require(
            (self.resources == old.resources && self.instance_type == old.instance_type)
                || old.power == Power::Stopped,
            "spec.resources",
            "can be changed only while spec.power is stopped",
        );
        errors.require(self.reboots >= old.reboots, "spec.reboots", "can only grow");
        volumes::validate_update(self, old, errors);
    }

    fn columns() -> &'static [Column<Instance>] {
        const COLUMNS: &[Column<Instance>] = &[
            Column::text("Phase", |i, _| json!(phase_word(i))),
            Column::text("Isolation", |i, _| json!(i.spec.isolation)),
            Column::text("Image", |i, _| json!(i.spec.payload.images().join(","))),
            Column::text("Host", |i, _| json!(i.status.host)),
            Column::text("Addresses", |i, _| json!(i.status.addresses.join(","))),
            Column::wide_integer("Restarts", |i, _| json!(i.status.restarts)),
            Column::wide_text("Resources", |i, _| json!(i.spec.resources.to_string())),
            Column::wide_text("Driver", |i, _| json!(i.status.driver)),
        ];
        COLUMNS
    }

    fn field(i: &Instance, path: &str) -> Option<String> {
        Some(match path {
            "status.phase" => i.status.phase.as_str().into(),
            "status.host" => i.status.host.clone(),
            "spec.isolation" => i.spec.isolation.to_string(),
            "spec.type" => i.spec.instance_type.clone(),
            _ => return None,
        })
    }

    fn charge(&self) -> Resources {
        self.resources
    }

    fn claims(i: &Instance) -> Vec<Claim> {
        network::claims(i).into_iter().chain(volumes::claims(i)).collect()
    }

    fn references(i: &Instance) -> Vec<Reference> {
        network::references(i).into_iter().chain(volumes::references(i)).collect()
    }
}

fn phase_word(i: &Instance) -> &'static str {
    if i.metadata.is_deleting() { "Deleting" } else { i.status.phase.as_str() }
}
