//! The metadata service: EC2's layout (with IMDSv2), OpenStack's and NoCloud's, from one description of an
//! instance. [`Service::answer`] is pure but for the session key; the server around it owns connections.

mod ec2;
mod instance;
mod layout;
mod nocloud;
mod openstack;
mod server;
mod service;
mod token;
mod tree;

pub use instance::{
    CredentialError, Credentials, Instance, MetadataOptions, NicFacts, NoCredentials, Role, RoleCredentials,
};
pub(crate) use server::{MetadataServer, serve};
pub use service::{Call, Outcome, Reply, Service};
