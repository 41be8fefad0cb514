//! What an instance says of its volumes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::network::name_of_own;
use super::{Instance, InstanceSpec, Isolation, Payload, TemplateMeta};
use crate::storage::VolumeSpec;
use crate::{Claim, FieldErrors, Name, Reference, Spec};

/// Most volumes of one instance: as many as a virtual machine has slots for.
pub const VOLUMES_MAX: usize = 8;
/// Longest path that a volume is mounted at.
const MOUNT_MAX: usize = 1024;
const BOOT_FIELD: &str = "spec.payload.disk";

/// One attached volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct InstanceVolume {
    /// A Volume of the project that no other instance has. Beside a template it may be left out: it is then named after
    /// the instance.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub volume: String,
    /// For containers: the folder in which each of them sees the volume's filesystem, which is made when the volume
    /// is empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mount: String,
    /// The volume is made as this says, in the moment in which the instance is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<Box<VolumeTemplate>>,
}

/// A volume that is made together with its instance: both are there, or none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeTemplate {
    #[serde(skip_serializing_if = "is_default")]
    pub metadata: TemplateMeta,
    pub spec: VolumeSpec,
    /// It stays when the instance goes; else it goes with it.
    #[serde(skip_serializing_if = "is_default")]
    pub keep: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl InstanceSpec {
    /// Every volume it has, that it boots from first, with the field that names it.
    pub fn named_volumes(&self) -> impl Iterator<Item = (String, &str)> {
        let boot = self.payload.volume().map(|name| (format!("{BOOT_FIELD}.volume"), name));
        let data = self.volumes.iter().enumerate().filter(|(_, v)| !v.volume.is_empty());
        boot.into_iter().chain(data.map(|(i, v)| (format!("spec.volumes[{i}].volume"), v.volume.as_str())))
    }

    /// The volumes that are made with it: the field that says so, the name, and what they are made like.
    pub fn volume_templates(&self) -> impl Iterator<Item = (String, &str, &VolumeTemplate)> {
        let boot = match &self.payload {
            Payload::Disk(p) => {
                p.template.as_deref().map(|t| (format!("{BOOT_FIELD}.template"), p.volume.as_str(), t))
            }
            _ => None,
        };
        let data = self.volumes.iter().enumerate().filter_map(|(i, v)| {
            Some((format!("spec.volumes[{i}].template"), v.volume.as_str(), v.template.as_deref()?))
        });
        boot.into_iter().chain(data)
    }

    /// Whether it boots from a volume, be it one that has no name yet.
    pub fn boots_from_volume(&self) -> bool {
        matches!(&self.payload, Payload::Disk(p) if !p.volume.is_empty() || p.template.is_some())
    }

    /// Whether it names this volume of its project.
    pub fn has_volume(&self, name: &str) -> bool {
        self.named_volumes().any(|(_, named)| named == name)
    }
}

pub(super) fn validate(spec: &InstanceSpec, errors: &mut FieldErrors) {
    let (volumes, isolation) = (&spec.volumes, spec.isolation);
    let has_disks = matches!(isolation, Isolation::Vm | Isolation::MicroVm);
    errors.require(
        volumes.is_empty() || has_disks || isolation == Isolation::Namespace,
        "spec.volumes",
        "is only for isolation vm, microvm and namespace",
    );
    if volumes.len() > VOLUMES_MAX {
        let message = format!("has {} entries, at most {VOLUMES_MAX} are allowed", volumes.len());
        errors.push("spec.volumes", message);
    }
    for (i, volume) in volumes.iter().enumerate() {
        let field = format!("spec.volumes[{i}].volume");
        let is_named_later = volume.volume.is_empty() && volume.template.is_some();
        if is_named_later {
            continue;
        }
        if let Err(e) = Name::new(&volume.volume) {
            errors.push(&field, e.to_string());
        }
        let boots = spec.payload.volume() == Some(&volume.volume);
        let again = boots || volumes[..i].iter().any(|v| v.volume == volume.volume);
        errors.require(!again, &field, "is named twice; once is enough");
        let field = format!("spec.volumes[{i}].mount");
        if has_disks {
            errors.require(
                volume.mount.is_empty(),
                &field,
                "is only for containers; a machine mounts its disks",
            );
        } else {
            errors.require(is_mountable(&volume.mount), &field, MOUNT_RULE);
            let again = volumes[..i].iter().any(|v| overlap(&v.mount, &volume.mount));
            errors.require(!again, &field, "lies in the folder of another volume, or that in it");
        }
    }
    for (field, _, template) in spec.volume_templates() {
        let mut inner = FieldErrors::default();
        template.spec.validate(&mut inner);
        for e in inner.iter() {
            errors.push(format!("{field}.{}", e.field), e.message.clone());
        }
    }
}

/// Volumes are made with an instance, not later.
pub(super) fn validate_update(spec: &InstanceSpec, old: &InstanceSpec, errors: &mut FieldErrors) {
    for (i, volume) in spec.volumes.iter().enumerate().filter(|(_, v)| v.template.is_some()) {
        let message = "cannot be added or changed; make the volume and name it";
        errors.require(old.volumes.contains(volume), &format!("spec.volumes[{i}].template"), message);
    }
}

impl Instance {
    /// Names the volumes that are made with it, where its user did not: `INSTANCE-root`, `INSTANCE-disk-N`.
    pub fn name_volumes(&mut self) {
        let root = name_of_own(&self.metadata, "root");
        if let Payload::Disk(p) = &mut self.spec.payload
            && p.template.is_some()
            && p.volume.is_empty()
        {
            p.volume = root;
        }
        for (i, volume) in self.spec.volumes.iter_mut().enumerate() {
            if volume.template.is_some() && volume.volume.is_empty() {
                volume.volume = name_of_own(&self.metadata, &format!("disk-{i}"));
            }
        }
    }
}

const MOUNT_RULE: &str = "must be the path of a folder, as in /data; not /, nor in /dev, /proc or /sys";

/// A plain absolute path that is no part of what the runtime makes.
fn is_mountable(path: &str) -> bool {
    let mut parts = path.split('/');
    let is_absolute = parts.next() == Some("");
    let parts: Vec<&str> = parts.collect();
    let is_plain = |part: &&str| !part.is_empty() && *part != "." && *part != ".." && !part.contains('\0');
    is_absolute
        && path.len() <= MOUNT_MAX
        && parts.iter().all(is_plain)
        && !matches!(parts.first(), None | Some(&("" | "dev" | "proc" | "sys")))
}

fn overlap(a: &str, b: &str) -> bool {
    let within = |a: &str, b: &str| a == b || a.strip_prefix(b).is_some_and(|rest| rest.starts_with('/'));
    within(a, b) || within(b, a)
}

/// A volume that an instance names is its alone.
pub(super) fn claims(instance: &Instance) -> impl Iterator<Item = Claim> {
    let project = &instance.metadata.namespace;
    instance.spec.named_volumes().map(move |(field, name)| {
        Claim::new(format!("volume/{project}/{name}"), field, format!("volume {name:?}"))
    })
}

/// Its volumes stay as long as it names them.
pub(super) fn references(instance: &Instance) -> impl Iterator<Item = Reference> {
    instance
        .spec
        .named_volumes()
        .filter_map(|(field, name)| Reference::kept(VolumeSpec::KIND, &instance.metadata, name, field))
}
