//! Plans: everything a driver needs to make one sandbox, decided and prepared by the agent.

use std::path::PathBuf;

use model::compute::{Cell, EnvVar, Firmware, Machine};
use model::storage::{VolumeLimits, WhenFull};
use model::{Resources, Uid};
use serde::{Deserialize, Serialize};

use crate::{DiskKey, DiskLocation, DriverError};

/// One sandbox to be. Keyed by `uid`: ensuring the same uid again changes nothing that runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub uid: Uid,
    /// `project/name`, for messages and process titles only.
    pub label: String,
    pub cell: Cell,
    pub resources: Resources,
    /// The sandbox's own directory, which exists and belongs to root. The driver keeps everything that is
    /// particular to this sandbox below it; the agent removes it after `delete`.
    pub dir: PathBuf,
    /// The unprivileged user and group id that this sandbox alone uses.
    pub user_id: u32,
    /// For virtual machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<VmPlan>,
    /// For payloads of containers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<ContainerPlan>,
    /// Volumes that every container sees as a folder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<MountPlan>,
}

/// A volume whose filesystem is mounted; one is made when nothing was ever written to the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPlan {
    pub disk: DiskPlan,
    /// The folder inside.
    pub target: PathBuf,
}

/// A virtual machine's parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmPlan {
    pub machine: Machine,
    pub boot: Boot,
    /// In order: the first is the boot disk for [`Boot::Firmware`], unless a volume is.
    pub disks: Vec<DiskPlan>,
    /// Volumes; all but the one it boots from can be taken out while the machine runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<DiskPlan>,
    pub nics: Vec<NicPlan>,
}

impl VmPlan {
    pub fn boots_from_volume(&self) -> bool {
        self.volumes.iter().any(|disk| disk.boot)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Boot {
    Firmware(Firmware),
    Kernel { kernel: PathBuf, initrd: Option<PathBuf>, cmdline: String },
}

/// A disk that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskPlan {
    pub location: DiskLocation,
    /// What the guest sees as the disk's serial number; at most 20 bytes.
    pub serial: String,
    pub read_only: bool,
    /// How fast it may be; only for volumes.
    #[serde(default)]
    pub limits: VolumeLimits,
    /// What a write does when there is no room for it; only for volumes.
    #[serde(default)]
    pub when_full: WhenFull,
    /// The machine boots from it; only for volumes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub boot: bool,
    /// What is in it is encrypted; only for volumes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub encrypted: bool,
    /// The key of one that is; in no plan that was kept.
    #[serde(skip)]
    pub key: Option<DiskKey>,
}

impl DiskPlan {
    /// A disk that may be written to, as fast as it is.
    pub fn new(location: DiskLocation, serial: impl Into<String>) -> Self {
        Self {
            location,
            serial: serial.into(),
            read_only: false,
            limits: VolumeLimits::default(),
            when_full: WhenFull::default(),
            boot: false,
            encrypted: false,
            key: None,
        }
    }

    /// The key of one that is encrypted, without which it cannot be opened.
    pub fn required_key(&self) -> Result<Option<&DiskKey>, DriverError> {
        if !self.encrypted {
            return Ok(None);
        }
        let missing = || DriverError::Invalid(format!("the key of disk {} is missing", self.serial));
        self.key.as_ref().ok_or_else(missing).map(Some)
    }
}

/// A network card and where its other end is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NicPlan {
    /// A tap device that exists.
    Tap {
        mac: String,
        device: String,
        /// Where the network namespace is kept that the device lives in, e.g. `/run/netns/NAME`; the host's
        /// own when `None`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        namespace: Option<PathBuf>,
    },
    /// The driver's own user-mode network, with host ports forwarded to guest ports: for hosts without a
    /// network plane.
    User { mac: String, forwards: Vec<(u16, u16)> },
}

/// One container's parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerPlan {
    pub name: String,
    /// The unpacked image: read-only layer folders, lowest first.
    pub layers: Vec<PathBuf>,
    /// Program and arguments, image defaults already applied; not empty.
    pub argv: Vec<String>,
    pub env: Vec<EnvVar>,
    pub working_dir: String,
    /// `uid[:gid]` or names inside the image, as the image configuration gives it; empty means 0.
    pub user: String,
    pub tty: bool,
}
