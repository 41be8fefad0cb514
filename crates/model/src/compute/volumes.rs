//! What an instance says of its volumes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Instance, Isolation};
use crate::storage::VolumeSpec;
use crate::{Claim, FieldErrors, Name, Reference, Spec};

/// Most volumes of one instance: as many as a virtual machine has slots for.
pub const VOLUMES_MAX: usize = 8;

/// One attached volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct InstanceVolume {
    /// A Volume of the project that no other instance has.
    pub volume: String,
}

pub(super) fn validate(volumes: &[InstanceVolume], isolation: Isolation, errors: &mut FieldErrors) {
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
        let again = volumes[..i].iter().any(|v| v.volume == volume.volume);
        errors.require(!again, &field, "is named twice; once is enough");
    }
}

/// A volume that an instance names is its alone.
pub(super) fn claims(instance: &Instance) -> impl Iterator<Item = Claim> {
    let project = &instance.metadata.namespace;
    instance.spec.volumes.iter().enumerate().map(move |(i, v)| {
        let field = format!("spec.volumes[{i}].volume");
        Claim::new(format!("volume/{project}/{}", v.volume), field, format!("volume {:?}", v.volume))
    })
}

/// Its volumes stay as long as it names them.
pub(super) fn references(instance: &Instance) -> impl Iterator<Item = Reference> {
    instance.spec.volumes.iter().enumerate().filter_map(|(i, v)| {
        let field = format!("spec.volumes[{i}].volume");
        Reference::kept(VolumeSpec::KIND, &instance.metadata, &v.volume, field)
    })
}
