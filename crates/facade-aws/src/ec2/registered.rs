//! What EC2 says of an image and an Image has no field for: its devices, and what was said when it was registered.

use model::compute::{Firmware, Image, PayloadKind};
use model::{Bytes, ObjectMeta};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::volumes::{TYPE_UNSAID, gibibytes};
use crate::failure::Failure;
use crate::params::Params;
use crate::xml::Xml;

/// On images: this, as a JSON object.
const REGISTERED: &str = "aws.corten.dev/registered";
/// What the device is called that an instance starts from, where nobody said.
pub(crate) const ROOT_DEVICE: &str = "/dev/sda1";

/// How a machine may come up.
pub(crate) const BOOT_MODES: &[&str] = &["legacy-bios", "uefi", "uefi-preferred"];

/// What an image of a disk was registered with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Registered {
    /// That which an instance starts from first.
    pub(crate) devices: Vec<Device>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) boot_mode: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) sriov: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) ena: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) imds: String,
    /// The instance that it was made of.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) instance: String,
    /// When it is no longer to be used for new instances.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) deprecated_at: String,
    /// It is not given back before this is taken away.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) protected: bool,
}

/// A volume that every instance of the image gets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Device {
    pub(crate) device: String,
    /// The id of what it is made of; an empty one when there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) snapshot: String,
    /// In GiB; that of what it is made of when left out.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) size: u64,
    /// EC2's word for the type.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) sort: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) iops: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) throughput: u64,
    /// It outlives its instance.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) keep: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Registered {
    /// Of an image of a disk; another has no devices that could be volumes.
    pub(crate) fn of(image: &Image) -> Option<Self> {
        if image.spec.format.payload() != PayloadKind::Disk {
            return None;
        }
        let mut own = Self::noted(image);
        if own.devices.is_empty() {
            own.devices.push(Device { device: ROOT_DEVICE.into(), ..Device::default() });
        }
        let root = &mut own.devices[0];
        root.size = root.size.max(gibibytes(image.status.virtual_size));
        Some(own)
    }

    /// Just what was written down, of any image.
    pub(crate) fn noted(image: &Image) -> Self {
        let text = image.metadata.annotations.get(REGISTERED);
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// Of a copy: it is used by itself, and its root has no snapshot.
    pub(crate) fn copied(mut self) -> Self {
        if let Some(root) = self.devices.first_mut() {
            root.snapshot.clear();
        }
        Self { deprecated_at: String::new(), protected: false, ..self }
    }

    pub(crate) fn put(&self, meta: &mut ObjectMeta) {
        meta.annotations.insert(REGISTERED.into(), json!(self).to_string());
    }

    pub(crate) fn root(&self) -> &str {
        self.devices.first().map_or(ROOT_DEVICE, |device| device.device.as_str())
    }

    pub(crate) fn uses(&self, snapshot: &str) -> bool {
        self.devices.iter().any(|device| device.snapshot == snapshot)
    }

    pub(crate) fn firmware(&self) -> Firmware {
        if self.boot_mode.starts_with("uefi") { Firmware::Uefi } else { Firmware::Bios }
    }
}

impl Device {
    pub(crate) fn write(&self, x: &mut Xml) {
        x.text("deviceName", &self.device).node("ebs", |x| {
            x.text("deleteOnTermination", !self.keep).given("snapshotId", &self.snapshot);
            if self.size > 0 {
                x.text("volumeSize", self.size);
            }
            x.text("volumeType", self.sort()).text("encrypted", false);
            if self.iops > 0 {
                x.text("iops", self.iops);
            }
            if self.throughput > 0 {
                x.text("throughput", self.throughput);
            }
        });
    }

    pub(crate) fn sort(&self) -> &str {
        if self.sort.is_empty() { TYPE_UNSAID } else { &self.sort }
    }

    /// The same in the words of a block device mapping.
    pub(crate) fn asked(&self) -> Params {
        let mut ebs = Params::default();
        for (name, text) in [("SnapshotId", &self.snapshot), ("VolumeType", &self.sort)] {
            if !text.is_empty() {
                ebs.put(name, text);
            }
        }
        for (name, number) in
            [("VolumeSize", self.size), ("Iops", self.iops), ("Throughput", self.throughput)]
        {
            if number > 0 {
                ebs.put(name, &number.to_string());
            }
        }
        if self.keep {
            ebs.put("DeleteOnTermination", "false");
        }
        ebs
    }
}

/// A parameter that has one of some words, or none.
pub(crate) fn one_of(params: &Params, name: &str, known: &[&str]) -> Result<String, Failure> {
    match params.get(name) {
        Some(value) if !known.contains(&value) => {
            Err(params.invalid(name, value, &format!("must be one of {}", known.join(", "))))
        }
        value => Ok(value.unwrap_or("").to_owned()),
    }
}

/// How large a volume of the image is at least.
pub(crate) fn least(image: &Image) -> Bytes {
    Bytes::gib(gibibytes(image.status.virtual_size).max(1))
}
