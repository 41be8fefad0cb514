//! `compute.corten.dev`: instances and what they are made from.

mod image;
mod instance;
mod instance_set;
mod instance_type;
mod key_pair;
mod launch_template;
mod network;
mod payload;
mod placement;
mod placement_group;
mod volumes;

pub use image::{
    Artifact, ArtifactRole, Image, ImageFormat, ImagePhase, ImageSource, ImageSpec, ImageStatus, Visibility,
};
pub use instance::{
    ContainerStatus, Firmware, Instance, InstancePhase, InstanceSpec, InstanceStatus, Machine, Power,
    RestartPolicy,
};
pub use instance_set::{InstanceSet, InstanceSetSpec, InstanceSetStatus, InstanceTemplate, TemplateMeta};
pub use instance_type::{InstanceType, InstanceTypeSpec, InstanceTypeStatus};
pub use key_pair::{KeyPair, KeyPairSpec, KeyPairStatus};
pub use launch_template::{LaunchTemplate, LaunchTemplateSpec, LaunchTemplateStatus, LaunchTemplateVersion};
pub use network::{
    InstanceNetwork, NETWORKS_MAX, ReleasedPort, interfaces, keep_numbers, leaving_ports, port_names,
};
pub use payload::{
    Cell, CommandPayload, Container, ContainersPayload, DiskPayload, EnvVar, Isolation, KernelPayload,
    Payload, PayloadKind, RootfsPayload,
};
pub use placement::{
    Affinity, OnHostLoss, PlacementSpec, SpreadConstraint, Strategy, Toleration, TopologyKey,
};
pub use placement_group::{GroupStrategy, PlacementGroup, PlacementGroupSpec, PlacementGroupStatus};
pub use volumes::{InstanceVolume, VOLUMES_MAX, VolumeTemplate};

pub(crate) const GROUP: &str = "compute.corten.dev";
