//! Time and randomness, passed in, so that the simulation can decide both.

use std::time::{SystemTime, UNIX_EPOCH};

use identity::MasterKey;
use model::network::Cidr;
use model::{Timestamp, Uid};
use ring::rand::{SecureRandom, SystemRandom};

/// What the server takes from the world beside the store.
pub trait Environment: Send + Sync + 'static {
    fn now(&self) -> Timestamp;
    /// Unpredictable bytes, good enough for secrets.
    fn random(&self) -> [u8; 32];

    /// How networks are used without being asked for; `None` where hosts cannot make them.
    fn network_plane(&self) -> Option<NetworkPlane> {
        None
    }

    /// What secrets are sealed with that the server needs in clear; without it none are kept.
    fn master_key(&self) -> Option<MasterKey> {
        None
    }

    fn uid(&self) -> Uid {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.random()[..16]);
        Uid::from_random(bytes)
    }
}

/// Every project gets a default network, and instances that name none come into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkPlane {
    /// The IPv4 range of default Vpcs, a /8 to a /26; 10.0.0.0/16 is usual.
    pub default_range: Cidr,
}

/// The machine's clock and the kernel's randomness.
#[derive(Debug)]
pub struct SystemEnvironment {
    random: SystemRandom,
    network_plane: Option<NetworkPlane>,
    master_key: Option<MasterKey>,
}

impl SystemEnvironment {
    pub fn new() -> Self {
        Self { random: SystemRandom::new(), network_plane: None, master_key: None }
    }

    /// The same where hosts can make networks.
    #[must_use]
    pub fn with_network_plane(self, network_plane: Option<NetworkPlane>) -> Self {
        Self { network_plane, ..self }
    }

    /// The same with a key of the cloud's own.
    #[must_use]
    pub fn with_master_key(self, master_key: MasterKey) -> Self {
        Self { master_key: Some(master_key), ..self }
    }
}

impl Default for SystemEnvironment {
    fn default() -> Self {
        Self::new()
    }
}

impl Environment for SystemEnvironment {
    fn network_plane(&self) -> Option<NetworkPlane> {
        self.network_plane
    }

    fn master_key(&self) -> Option<MasterKey> {
        self.master_key.clone()
    }

    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn random(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.random
            .fill(&mut bytes)
            .expect("invariant: the kernel's random source does not fail once the system has booted");
        bytes
    }
}
