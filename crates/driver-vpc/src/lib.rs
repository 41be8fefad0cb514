//! The VPC driver: one network namespace per VPC and host, and in it nothing but the kernel at work.
//!
//! Every port is a point-to-point link into the namespace, a tap for a virtual machine or a veth for containers,
//! with a route of full length to it. The host answers ARP for everything else, so no guest shares a segment with
//! another: each packet is routed, and passes the filter, even between neighbours of one subnet. Between hosts
//! there is one VXLAN device per VPC that neither learns nor floods. The way out is a veth pair to the host's
//! namespace, with address translation on both sides, so that ranges of different VPCs may overlap. Two peered VPCs
//! are joined by a veth pair between their namespaces. What leaves a VPC's own ranges follows the route table of its
//! subnet, which is a table of the kernel's.
//!
//! Each call compares what the kernel has with the plan and writes the difference, in an order in which nothing passes
//! that should not: filters before links come up, links away before their filters. What the kernel has is read by the
//! first call and followed from then on, also where others change it; `memory` says how that stays certain. The
//! namespace is kept by a bind mount, so all of it goes on without this process.
//!
//! Owns no address plan, no guest, and none of the services that answer inside a namespace.

mod announce;
mod connections;
mod ends;
mod error;
mod filter;
mod flows;
mod host_rules;
mod inside;
#[cfg(feature = "lab")]
pub mod lab;
mod layout;
mod links;
mod memory;
mod mirror;
mod names;
mod namespace;
mod network;
mod options;
mod paths;
mod peers;
mod routing;
mod rtnl;
mod rules;
mod sandbox;
mod segment;
mod sysctl;
mod tables;
mod tunnels;
mod uplink;
mod vpc;

pub use error::VpcError;
pub use names::GATEWAY_MAC;
pub use network::VpcDriver;
pub use options::VpcOptions;
