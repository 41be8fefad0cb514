//! What an instance says of its volumes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Instance, InstanceSpec, Isolation};
use crate::storage::VolumeSpec;
use crate::{Claim, FieldErrors, Name, Reference, Spec};

/// Most volumes of one instance: as many as a virtual machine has slots for.
pub const VOLUMES_MAX: usize = 8;
const BOOT_FIELD: &str = "spec.payload.disk.volume";

/// One attached volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct InstanceVolume {
    /// A Volume of the project that no other instance has.
    pub volume: String,
}

impl InstanceSpec {
    /// Every volume it has, that it boots from first, with the field that names it.
    pub fn named_volumes(&self) -> impl Iterator<Item = (String, &str)> {
        let boot = self.payload.volume().map(|name| (BOOT_FIELD.to_owned(), name));
        let data = self.volumes.iter().enumerate();
        boot.into_iter().chain(data.map(|(i, v)| (format!("spec.volumes[{i}].volume"), v.volume.as_str())))
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
        volumes.is_empty() || has_disks,
        "spec.volumes",
        "is only for isolation vm and microvm; containers cannot have volumes yet",
    );
    if volumes.len() > VOLUMES_MAX {
        let message = format!("has {} entries, at most {VOLUMES_MAX} are allowed", volumes.len());
        errors.push("spec.volumes", message);
    }
    for (i, volume) in volumes.iter().enumerate() {
        let field = format!("spec.volumes[{i}].volume");
        if let Err(e) = Name::new(&volume.volume) {
            errors.push(&field, e.to_string());
        }
        let boots = spec.payload.volume() == Some(&volume.volume);
        let again = boots || volumes[..i].iter().any(|v| v.volume == volume.volume);
        errors.require(!again, &field, "is named twice; once is enough");
    }
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
