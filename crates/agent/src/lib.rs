//! The agent: on every host, makes what is assigned to it true, through drivers. The only user of drivers.
//!
//! Guests are not its children: it may be killed or replaced at any line and takes over what runs, by
//! identity. Owns the host's entry in the cloud, its lease, and the instances' directories on this host.

mod agent;
mod blocking;
mod disks;
mod images;
mod instance;
mod log;
mod machine;
mod meter;
mod network;
mod registration;
mod streams;
mod volume;

pub use agent::{Agent, AgentOptions, NetworkOptions};
pub use guest_services::{NoUpstream, Upstream, Way};
pub use images::{BlobSource, Images, SharedBlobs};
pub use machine::Machine;
pub use network::AskError;
pub use streams::{StreamError, Streams};
pub use volume::pools::VolumeDrivers;
