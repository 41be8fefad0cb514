//! What answers guests inside a VPC: DHCP for both families, router advertisements, DNS and the metadata service; and the
//! way to the cloud's own API.
//!
//! Everything is answered from one immutable [`Directory`] per VPC, which the agent exchanges whole when something
//! changes. The answers are pure functions from (directory, interface, bytes) to bytes ([`dhcp`], [`dns`],
//! [`metadata`]); [`serve`] is the thin part around them that owns sockets. Who asks is told by the interface a
//! packet came in by, never by an address or a name it claims.
//!
//! Allocates nothing: addresses, names and options are fixed by who builds the directory. Programs no interface,
//! route or rule: that is the data plane's.

pub mod dhcp;
mod directory;
pub mod dns;
mod endpoint;
mod limit;
pub mod metadata;
mod relay;
mod serve;
mod zone;

pub use directory::{Directory, Door, EndpointId, Nic, Port, Route};
pub use dns::{Forwarder, HostForwarder};
pub use metadata::{
    CredentialError, Credentials, Instance, MetadataOptions, NicFacts, Role, RoleCredentials,
};
pub use relay::{NoUpstream, Upstream, Way};
pub use serve::{Handle, Limits, Options, ServeError, serve};
pub use zone::{RecordData, Zone, ZoneError};
