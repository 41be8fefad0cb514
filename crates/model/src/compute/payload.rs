//! The grid: how an instance is isolated, and what runs inside (DESIGN, "isolation x payload").

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::VolumeTemplate;
use crate::FieldErrors;

/// Most containers in one instance.
const CONTAINERS_MAX: usize = 32;

/// What separates an instance from its neighbours.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Isolation {
    /// A virtual machine with a PC-like machine model.
    #[default]
    Vm,
    /// A virtual machine with a minimal machine model.
    MicroVm,
    /// Linux namespaces: OCI and system containers.
    Namespace,
    /// A control group only.
    Process,
    /// A whole machine.
    Metal,
}

impl Isolation {
    pub const ALL: [Self; 5] = [Self::Vm, Self::MicroVm, Self::Namespace, Self::Process, Self::Metal];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vm => "vm",
            Self::MicroVm => "microvm",
            Self::Namespace => "namespace",
            Self::Process => "process",
            Self::Metal => "metal",
        }
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What runs inside; exactly one of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Payload {
    Disk(DiskPayload),
    Containers(ContainersPayload),
    Kernel(KernelPayload),
    Rootfs(RootfsPayload),
    Command(CommandPayload),
}

impl Default for Payload {
    fn default() -> Self {
        Self::Disk(DiskPayload::default())
    }
}

/// A payload's sort, without its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum PayloadKind {
    Disk,
    Containers,
    Kernel,
    Rootfs,
    Command,
}

impl fmt::Display for PayloadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Disk => "disk",
            Self::Containers => "containers",
            Self::Kernel => "kernel",
            Self::Rootfs => "rootfs",
            Self::Command => "command",
        })
    }
}

/// One cell of the grid; drivers declare which they serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Cell {
    pub isolation: Isolation,
    pub payload: PayloadKind,
}

impl Cell {
    pub const fn new(isolation: Isolation, payload: PayloadKind) -> Self {
        Self { isolation, payload }
    }

    /// Whether the combination means anything at all (the table in DESIGN 1).
    pub fn is_meaningful(self) -> bool {
        use Isolation::{Metal, MicroVm, Namespace, Process, Vm};
        use PayloadKind::{Command, Containers, Disk, Kernel, Rootfs};
        matches!(
            (self.isolation, self.payload),
            (Vm, Disk | Containers | Kernel)
                | (MicroVm, Disk | Containers | Kernel | Rootfs)
                | (Namespace, Containers | Rootfs)
                | (Process, Command)
                | (Metal, Disk | Rootfs)
        )
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.isolation, self.payload)
    }
}

/// A bootable disk: of an image, a volume that is there, or one that is made with the instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DiskPayload {
    /// An image, of this project or a public one: the disk is a clone of it, and goes with the instance.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// A Volume of the project that no other instance has: it is the disk, and outlives the instance.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub volume: String,
    /// The volume is made as this says, in the moment in which the instance is; without a name it gets one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<Box<VolumeTemplate>>,
}

/// One or more OCI containers that share the instance's namespaces, like a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct ContainersPayload {
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub containers: Vec<Container>,
}

/// One container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    pub name: String,
    /// An image of format `oci`.
    pub image: String,
    /// Replaces the image's entrypoint.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Replaces the image's arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub env: Vec<EnvVar>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tty: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvVar {
    pub name: String,
    #[serde(default)]
    pub value: String,
}

/// A kernel started directly, with the initrd its image may carry: a small Linux, or a unikernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KernelPayload {
    /// An image of format `kernel`.
    pub image: String,
    /// The kernel's command line; the image's own when empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cmdline: String,
}

/// A root filesystem with an init of its own: a system container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct RootfsPayload {
    pub image: String,
    /// What to start as process 1; `/sbin/init` when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub init: Vec<String>,
}

/// A command of the host, in a control group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct CommandPayload {
    pub argv: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
}

impl Payload {
    pub fn kind(&self) -> PayloadKind {
        match self {
            Self::Disk(_) => PayloadKind::Disk,
            Self::Containers(_) => PayloadKind::Containers,
            Self::Kernel(_) => PayloadKind::Kernel,
            Self::Rootfs(_) => PayloadKind::Rootfs,
            Self::Command(_) => PayloadKind::Command,
        }
    }

    /// The names of all images the payload needs, each once.
    pub fn images(&self) -> Vec<&str> {
        match self {
            Self::Disk(p) => {
                let made_of = p.template.as_ref().map(|template| template.spec.source.image.as_str());
                let named = [Some(p.image.as_str()), made_of].into_iter().flatten();
                named.filter(|image| !image.is_empty()).collect()
            }
            Self::Kernel(p) => vec![p.image.as_str()],
            Self::Rootfs(p) => vec![p.image.as_str()],
            Self::Command(_) => Vec::new(),
            Self::Containers(p) => {
                let mut images: Vec<&str> = p.containers.iter().map(|c| c.image.as_str()).collect();
                images.sort_unstable();
                images.dedup();
                images
            }
        }
    }

    /// The volume it boots from.
    pub fn volume(&self) -> Option<&str> {
        match self {
            Self::Disk(p) if !p.volume.is_empty() => Some(&p.volume),
            _ => None,
        }
    }

    pub(crate) fn validate(&self, field: &str, errors: &mut FieldErrors) {
        let image = |image: &str, sort: &str, errors: &mut FieldErrors| {
            errors.require(
                crate::Name::new(image).is_ok(),
                &format!("{field}.{sort}.image"),
                "must name an image; `corten get images` lists them",
            );
        };
        match self {
            Self::Disk(p) if p.volume.is_empty() && p.template.is_none() => image(&p.image, "disk", errors),
            Self::Disk(p) => {
                errors.require(
                    p.image.is_empty(),
                    &format!("{field}.disk.image"),
                    "cannot stand beside a volume; make the volume from the image",
                );
                if let (false, Err(e)) = (p.volume.is_empty(), crate::Name::new(&p.volume)) {
                    errors.push(format!("{field}.disk.volume"), e.to_string());
                }
                let made_of = p.template.as_ref().map(|template| &template.spec.source);
                errors.require(
                    made_of.is_none_or(|source| !source.is_empty()),
                    &format!("{field}.disk.template.spec.source"),
                    "must name an image, a snapshot or a volume: nothing boots from an empty disk",
                );
            }
            Self::Kernel(p) => {
                image(&p.image, "kernel", errors);
                errors.require(
                    p.cmdline.len() <= 2048,
                    &format!("{field}.kernel.cmdline"),
                    "must be at most 2048 bytes",
                );
            }
            Self::Rootfs(p) => image(&p.image, "rootfs", errors),
            Self::Command(p) => {
                errors.require(!p.argv.is_empty(), &format!("{field}.command.argv"), "must name a program");
                validate_env(&p.env, &format!("{field}.command"), errors);
            }
            Self::Containers(p) => p.validate(field, errors),
        }
    }
}

impl ContainersPayload {
    fn validate(&self, field: &str, errors: &mut FieldErrors) {
        let list = format!("{field}.containers.containers");
        let count = self.containers.len();
        errors.require((1..=CONTAINERS_MAX).contains(&count), &list, "must have 1 to 32 containers");
        for (i, c) in self.containers.iter().enumerate() {
            let at = format!("{list}[{i}]");
            errors.require(
                crate::Name::new(&c.name).is_ok() && c.name.len() <= 63,
                &format!("{at}.name"),
                "must be 1 to 63 lower-case letters, digits and '-'",
            );
            errors.require(
                self.containers[..i].iter().all(|other| other.name != c.name),
                &format!("{at}.name"),
                "is used by another container of this instance",
            );
            errors.require(
                crate::Name::new(&c.image).is_ok(),
                &format!("{at}.image"),
                "must name an image of format oci; `corten get images` lists them",
            );
            validate_env(&c.env, &at, errors);
            errors.require(
                c.working_dir.is_empty() || c.working_dir.starts_with('/'),
                &format!("{at}.workingDir"),
                "must be an absolute path",
            );
        }
    }
}

fn validate_env(env: &[EnvVar], field: &str, errors: &mut FieldErrors) {
    for (i, var) in env.iter().enumerate() {
        errors.require(
            !var.name.is_empty() && !var.name.contains(['=', '\0']),
            &format!("{field}.env[{i}].name"),
            "must be set and have no '='",
        );
    }
}
