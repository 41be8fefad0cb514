//! The API as its users see it, in process, over a store in memory.

mod access;
mod access_keys;
mod balancers;
mod binding;
mod changes;
mod claims;
mod cloud;
mod encrypted_volumes;
mod endpoints;
mod errors;
mod iam;
mod instance_networks;
mod instance_volumes;
mod interleaved;
mod lists;
mod network_streams;
mod networks;
mod no_backups;
mod patches;
mod quota;
mod shared_pools;
mod tokens;
mod watches;
