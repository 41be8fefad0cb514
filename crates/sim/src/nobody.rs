//! What simulated hosts do not have: load balancers.

use std::path::PathBuf;

use async_trait::async_trait;
use driver::{BalancerDriver, BalancerPlan, DriverError, ServerHealth};
use model::Uid;

/// Refuses to balance.
pub(crate) struct NoBalancers;

fn refused() -> DriverError {
    DriverError::Invalid("simulated hosts have no load balancers".into())
}

#[async_trait]
impl BalancerDriver for NoBalancers {
    fn name(&self) -> &'static str {
        "haproxy"
    }

    async fn probe(&self) -> Result<String, DriverError> {
        Err(refused())
    }

    async fn prepare(&self, _: &Uid) -> Result<PathBuf, DriverError> {
        Err(refused())
    }

    fn network_namespace(&self, _: &Uid) -> Option<PathBuf> {
        None
    }

    async fn ensure(&self, _: &BalancerPlan) -> Result<Vec<ServerHealth>, DriverError> {
        Err(refused())
    }

    async fn list(&self) -> Result<Vec<Uid>, DriverError> {
        Ok(Vec::new())
    }

    async fn delete(&self, _: &Uid) -> Result<(), DriverError> {
        Ok(())
    }
}
