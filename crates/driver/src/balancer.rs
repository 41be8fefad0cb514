//! The balancer contract: what one load balancer has to do, as a finished plan, and who does it on this host.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use async_trait::async_trait;
use model::Uid;
use model::network::{Listener, TargetGroupSpec};

use crate::DriverError;

/// One load balancer. Keyed by `uid`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BalancerPlan {
    pub uid: Uid,
    /// `project/name`, for messages only.
    pub label: String,
    /// Its own addresses; what it listens on is of their families.
    pub addresses: Vec<IpAddr>,
    pub listeners: Vec<Listener>,
    pub groups: Vec<PoolPlan>,
    /// How long a connection may be silent; the driver's own measure when `None`.
    pub idle_timeout_seconds: Option<u32>,
    /// By the names that listeners have in `tls`.
    pub certificates: BTreeMap<String, Certificate>,
}

/// A target group whose targets have addresses.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PoolPlan {
    /// How it is balanced and checked; what it says of targets is in `servers`.
    pub settings: TargetGroupSpec,
    /// Each address once.
    pub servers: Vec<ServerPlan>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerPlan {
    pub address: SocketAddr,
    /// Its share beside others, 1 to 256.
    pub weight: u16,
}

/// A chain of certificates and the key of the first, both PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    pub chain: Vec<u8>,
    pub key: Vec<u8>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificate(..)")
    }
}

/// How a server of a group does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerHealth {
    pub group: String,
    pub address: SocketAddr,
    pub healthy: bool,
    /// Why it is not; empty when it is.
    pub reason: String,
}

/// Runs load balancers on this host. Every method is idempotent, starts from facts, and is safe to repeat after a
/// crash at any line. What it started goes on without the process.
#[async_trait]
pub trait BalancerDriver: Send + Sync + 'static {
    fn name(&self) -> &'static str;

    /// Finds out what works here and says the version of the program behind it; an error says what is missing and
    /// how to get it.
    async fn probe(&self) -> Result<String, DriverError>;

    /// Makes the balancer's place with its network namespace, and says where that is kept. Its network comes before
    /// [`Self::ensure`]: checks would fail without.
    async fn prepare(&self, uid: &Uid) -> Result<PathBuf, DriverError>;

    /// Where the namespace of a balancer is kept that was prepared, and not deleted since.
    fn network_namespace(&self, uid: &Uid) -> Option<PathBuf>;

    /// Has the balancer do what the plan says, and tells how its servers do. Connections under way are not cut. A
    /// plan that the program refuses is [`DriverError::Invalid`] with its words, and what ran before goes on.
    async fn ensure(&self, plan: &BalancerPlan) -> Result<Vec<ServerHealth>, DriverError>;

    /// Every balancer that has left a trace on this host.
    async fn list(&self) -> Result<Vec<Uid>, DriverError>;

    /// Ends a balancer and removes every trace. Deleting what does not exist succeeds.
    async fn delete(&self, uid: &Uid) -> Result<(), DriverError>;
}
