//! What the metadata service knows of an instance, as data, and where an instance's role gets its keys.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use ipnet::{Ipv4Net, Ipv6Net};
use model::Uid;

use crate::directory::Nic;

/// An instance as it is told about itself.
#[derive(Debug, Clone, Default)]
pub struct Instance {
    /// Session tokens are bound to it.
    pub uid: Uid,
    /// As in `i-0123456789abcdef0`; what cloud-init takes for "the same instance as at the last boot".
    pub id: String,
    pub name: String,
    pub image_id: String,
    pub instance_type: String,
    /// As in `x86_64` or `arm64`.
    pub architecture: String,
    /// The project's, twelve digits where an EC2 client is to parse it.
    pub account_id: String,
    pub reservation_id: String,
    pub launch_index: u32,
    pub region: String,
    pub zone: String,
    /// RFC 3339, when the instance was asked for.
    pub launched_at: String,
    /// The domain of the cloud's services, as in `amazonaws.com`.
    pub services_domain: String,
    /// PEM of the authority whose certificates the cloud's own API shows; empty: not told.
    pub authority: Arc<str>,
    /// Name and key as in `authorized_keys`, one line each.
    pub public_keys: Vec<(String, String)>,
    pub security_groups: Vec<String>,
    pub tags: BTreeMap<String, String>,
    /// Device by its role: `ami`, `root`, `ebs1`, `ephemeral0`, `swap`.
    pub block_devices: BTreeMap<String, String>,
    pub role: Option<Role>,
    pub user_data: Option<Bytes>,
    pub vendor_data: Option<Bytes>,
    /// Its cards in every VPC, the primary first.
    pub nics: Vec<NicFacts>,
    pub options: MetadataOptions,
}

/// A card and what a cloud says about it beyond its settings.
#[derive(Debug, Clone, Default)]
pub struct NicFacts {
    pub nic: Arc<Nic>,
    pub device_number: u32,
    /// As in `eni-...`.
    pub id: String,
    pub vpc_id: String,
    pub subnet_id: String,
    pub security_groups: Vec<String>,
    pub security_group_ids: Vec<String>,
    /// Floating addresses and the port's address that each stands for.
    pub floating: Vec<(IpAddr, IpAddr)>,
    /// The public name; empty: none.
    pub public_hostname: String,
    pub subnet_ipv4: Option<Ipv4Net>,
    pub subnet_ipv6: Vec<Ipv6Net>,
    pub vpc_ipv4: Vec<Ipv4Net>,
    pub vpc_ipv6: Vec<Ipv6Net>,
}

/// A role that the instance may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    pub name: String,
    pub profile_arn: String,
    pub profile_id: String,
}

/// How an instance's metadata may be asked for (EC2's `MetadataOptions`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetadataOptions {
    pub is_enabled: bool,
    /// Nothing is answered without a session token (IMDSv2).
    pub requires_token: bool,
    /// How many hops a token may travel: 1 keeps it from containers behind the guest's own NAT.
    pub token_hops: u8,
    /// Whether tags are told.
    pub shows_tags: bool,
}

impl Default for MetadataOptions {
    fn default() -> Self {
        Self { is_enabled: true, requires_token: true, token_hops: 1, shows_tags: false }
    }
}

/// Short-lived keys of a role.
#[derive(Clone, PartialEq, Eq)]
pub struct RoleCredentials {
    pub access_key_id: String,
    pub secret_access_key: String,
    pub session_token: String,
    /// RFC 3339, both.
    pub last_updated: String,
    pub expiration: String,
}

/// Keys are never printed.
impl std::fmt::Debug for RoleCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RoleCredentials").field("expiration", &self.expiration).finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    #[error("the role is not the instance's")]
    NotAllowed,
    #[error("keys cannot be had now: {0}")]
    Unavailable(String),
}

/// Who hands out keys for roles.
#[async_trait]
pub trait Credentials: Send + Sync + std::fmt::Debug + 'static {
    /// Keys of `role` for the instance, valid for a while yet. Called for every request, so it caches.
    async fn of_role(&self, instance: &Uid, role: &str) -> Result<RoleCredentials, CredentialError>;
}

/// For a cloud without roles.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCredentials;

#[async_trait]
impl Credentials for NoCredentials {
    async fn of_role(&self, _: &Uid, _: &str) -> Result<RoleCredentials, CredentialError> {
        Err(CredentialError::Unavailable("this cloud has no roles".to_owned()))
    }
}
