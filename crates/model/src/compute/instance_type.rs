//! InstanceType: a named size, for all projects.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::GROUP;
use crate::{Bytes, Column, CpuMillis, FieldErrors, KindInfo, Object, Resources, Scope, Spec};

pub type InstanceType = Object<InstanceTypeSpec>;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct InstanceTypeSpec {
    pub resources: Resources,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceTypeStatus {}

impl InstanceTypeSpec {
    /// The sizes every new cloud starts with: name, thousandths of a core, MiB of memory, GiB of disk.
    pub const BUILTIN: [(&'static str, u64, u64, u64); 19] = [
        ("tiny", 250, 128, 1),
        ("small", 1000, 512, 4),
        ("medium", 1000, 2048, 10),
        ("large", 2000, 4096, 20),
        ("xlarge", 4000, 8192, 40),
        // By the names that people know, with the sizes that they have there; the disk is what an image usually asks for.
        ("t2.micro", 1000, 1024, 8),
        ("t2.small", 1000, 2048, 8),
        ("t2.medium", 2000, 4096, 20),
        ("t3.nano", 2000, 512, 8),
        ("t3.micro", 2000, 1024, 8),
        ("t3.small", 2000, 2048, 8),
        ("t3.medium", 2000, 4096, 20),
        ("t3.large", 2000, 8192, 20),
        ("t3.xlarge", 4000, 16_384, 40),
        ("m5.large", 2000, 8192, 20),
        ("m5.xlarge", 4000, 16_384, 40),
        ("m5.2xlarge", 8000, 32_768, 80),
        ("c5.large", 2000, 4096, 20),
        ("r5.large", 2000, 16_384, 20),
    ];

    pub fn builtin() -> impl Iterator<Item = (&'static str, Self)> {
        Self::BUILTIN.into_iter().map(|(name, cpu, memory, disk)| {
            let resources =
                Resources { cpu: CpuMillis(cpu), memory: Bytes::mib(memory), disk: Bytes::gib(disk) };
            (name, Self { resources, description: String::new() })
        })
    }
}

impl Spec for InstanceTypeSpec {
    type Status = InstanceTypeStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "InstanceType",
        plural: "instancetypes",
        singular: "instancetype",
        short_names: &["type", "types", "it"],
        scope: Scope::Cloud,
        summary: "A named size of instance.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        errors.require(self.resources.cpu.0 > 0, "spec.resources.cpu", "must be more than 0");
        errors.require(self.resources.memory.0 > 0, "spec.resources.memory", "must be more than 0");
    }

    fn columns() -> &'static [Column<InstanceType>] {
        const COLUMNS: &[Column<InstanceType>] = &[
            Column::text("Cpu", |t, _| json!(t.spec.resources.cpu)),
            Column::text("Memory", |t, _| json!(t.spec.resources.memory)),
            Column::text("Disk", |t, _| json!(t.spec.resources.disk)),
        ];
        COLUMNS
    }
}
