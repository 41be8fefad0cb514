//! The driver's face: [`driver::NetworkDriver`] over the blocking half, one VPC at a time.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use driver::{Drift, DriverError, FlowWatch, NetworkDriver, PortCounters, PortLink, VpcPlan};
use model::Uid;
use sys::namespace::roaming;
use tokio::sync::Mutex;

use crate::VpcOptions;
use crate::error::VpcError;
use crate::vpc::Host;

/// Makes VPCs on this host. Several may exist over one `run_dir` one after the other, not at once.
#[derive(Debug)]
pub struct VpcDriver {
    host: Arc<Host>,
    /// Changes of one VPC exclude each other; different VPCs go on at the same time.
    turns: parking_lot::Mutex<HashMap<Uid, Arc<Mutex<()>>>>,
}

impl VpcDriver {
    /// Touches nothing yet.
    pub fn new(options: VpcOptions) -> Self {
        Self { host: Arc::new(Host::new(options)), turns: parking_lot::Mutex::default() }
    }

    /// Makes namespaces ahead, as many as the options say.
    pub async fn fill_pool(&self) -> Result<(), DriverError> {
        self.off_thread("the pool", Host::fill_pool).await
    }

    /// Takes away the namespaces that nobody has used yet, for whoever takes the driver away for good.
    pub async fn drain_pool(&self) -> Result<(), DriverError> {
        self.off_thread("the pool", Host::drain_pool).await
    }

    /// Runs `work` where it may block and go from one network namespace to another.
    async fn off_thread<T: Send + 'static>(
        &self,
        label: &str,
        work: impl FnOnce(&Host) -> Result<T, VpcError> + Send + 'static,
    ) -> Result<T, DriverError> {
        let host = Arc::clone(&self.host);
        match tokio::task::spawn_blocking(move || roaming(|| work(&host))).await {
            Ok(done) => done.map_err(|e| e.about(label)),
            Err(e) => Err(DriverError::failed(format!("work on network {label}"), e)),
        }
    }

    /// As [`Self::off_thread`], while nobody else works on this VPC.
    async fn in_turn<T: Send + 'static>(
        &self,
        vpc: &Uid,
        label: &str,
        work: impl FnOnce(&Host) -> Result<T, VpcError> + Send + 'static,
    ) -> Result<T, DriverError> {
        let turn = Arc::clone(self.turns.lock().entry(vpc.clone()).or_default());
        // Owned by the work, not by this future: a caller who gives up must not let another one in.
        let guard = Arc::clone(&turn).lock_owned().await;
        let done = self
            .off_thread(label, move |host| {
                let _guard = guard;
                work(host)
            })
            .await;
        let mut turns = self.turns.lock();
        // Ours and the table's: nobody waits.
        if Arc::strong_count(&turn) == 2 {
            turns.remove(vpc);
        }
        done
    }

    /// The next VPC finds a namespace ready; nobody waits for that to be made.
    fn refill(&self) {
        if self.host.options.pool_size == 0 {
            return;
        }
        let host = Arc::clone(&self.host);
        tokio::task::spawn_blocking(move || {
            if let Err(e) = host.fill_pool() {
                tracing::warn!(error = %e, "no network namespace could be made ahead");
            }
        });
    }
}

#[async_trait]
impl NetworkDriver for VpcDriver {
    fn name(&self) -> &'static str {
        "vpc"
    }

    async fn probe(&self) -> Result<(), DriverError> {
        self.off_thread("probe", Host::probe).await?;
        self.refill();
        Ok(())
    }

    async fn ensure(&self, plan: &VpcPlan) -> Result<Vec<PortLink>, DriverError> {
        let owned = Arc::new(plan.clone());
        let done = self.in_turn(&plan.uid, &plan.label, move |host| host.ensure(&owned)).await;
        self.refill();
        done
    }

    async fn check(&self, plan: &VpcPlan) -> Result<Vec<Drift>, DriverError> {
        let owned = plan.clone();
        self.in_turn(&plan.uid, &plan.label, move |host| host.check(&owned)).await
    }

    async fn list(&self) -> Result<Vec<Uid>, DriverError> {
        self.off_thread("list", Host::list).await
    }

    async fn delete(&self, vpc: &Uid) -> Result<(), DriverError> {
        let owned = vpc.clone();
        self.in_turn(vpc, vpc.as_str(), move |host| host.delete(&owned)).await
    }

    fn namespace(&self, vpc: &Uid) -> Option<PathBuf> {
        let path = self.host.run.namespace(vpc);
        sys::namespace::is_held(&path).then_some(path)
    }

    async fn watch_flows(&self, vpc: &Uid) -> Result<Box<dyn FlowWatch>, DriverError> {
        let owned = vpc.clone();
        let watch = self.off_thread(vpc.as_str(), move |host| host.watch_flows(&owned)).await?;
        Ok(Box::new(watch))
    }

    async fn counters(&self, vpc: &Uid) -> Result<Vec<(Uid, PortCounters)>, DriverError> {
        let owned = vpc.clone();
        self.off_thread(vpc.as_str(), move |host| host.counters(&owned)).await
    }
}
