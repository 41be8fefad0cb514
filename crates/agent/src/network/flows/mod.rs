//! Flow logs: what flowed through ports that ask for it, a line per flow and minute, kept on this host.

mod book;
mod file;
mod names;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use driver::{FlowWatch, NetworkDriver, PortPlan, VpcPlan};
use model::network::{Port, Vpc};
use model::{Timestamp, Uid, short_id};
use parking_lot::Mutex;

use super::ask::AskError;
use super::plan::addresses;
use super::{NetworkError, Networks};
use crate::blocking::blocking;
use book::Book;
use file::Kept;
use names::Names;

/// A connection that ended is known to the kernel for ten seconds at least.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Seconds that a line speaks of, at the most.
const WINDOW_SECONDS: u64 = 60;

/// What time it is, for those who read lines.
pub(super) type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What is recorded on this host.
pub(super) struct Flows {
    folder: PathBuf,
    now: Clock,
    /// VPCs with a port that asks for it.
    wanted: Mutex<BTreeMap<Uid, Names>>,
    logs: tokio::sync::Mutex<HashMap<Uid, Log>>,
}

/// What is recorded of one VPC.
#[derive(Debug)]
struct Log {
    watch: Box<dyn FlowWatch>,
    book: Book,
}

impl Flows {
    pub(super) fn new(folder: PathBuf, now: Clock) -> Self {
        Self { folder, now, wanted: Mutex::default(), logs: tokio::sync::Mutex::default() }
    }

    /// Takes note of which ports are to be recorded from now on. What is bridged to a physical segment is not
    /// followed by connections, and not recorded.
    pub(super) fn follow(&self, vpc: &Vpc, plan: &VpcPlan, ports: &BTreeMap<&Uid, &Arc<Port>>) {
        let is_routed = plan.segment.is_none();
        let logged = plan
            .ports
            .iter()
            .filter(|port| is_routed && port.logs_flows)
            .filter_map(|port| ports.get(&port.uid));
        let own: BTreeSet<IpAddr> =
            plan.ports.iter().flat_map(|port: &PortPlan| port.gateways.clone()).collect();
        let mut names = Names::new(&vpc.metadata.namespace, own);
        for port in logged {
            let name = &port.metadata.name;
            names.interfaces.extend(addresses(port).into_iter().map(|address| (address, name.clone())));
            names.notes.insert(name.clone(), note(port));
        }
        let mut wanted = self.wanted.lock();
        if let Some(before) = wanted.get(&plan.uid) {
            names.keep_departed(before);
        }
        if names.interfaces.is_empty() {
            wanted.remove(&plan.uid);
        } else {
            wanted.insert(plan.uid.clone(), names);
        }
    }

    /// Writes what is known of a VPC whose network is about to go, and records it no more; what is written stays.
    pub(super) async fn finish(&self, driver: &dyn NetworkDriver, vpc: &Uid) {
        let names = self.wanted.lock().remove(vpc);
        if let Some(names) = names
            && let Err(e) = self.look(driver, vpc, &names, true).await
        {
            tracing::debug!(%vpc, error = %e, "the last flows of a network are not recorded");
        }
        self.logs.lock().await.remove(vpc);
    }

    /// Looks at all that is recorded, for ever. Costs nothing where nothing is.
    pub(super) async fn run(&self, driver: &dyn NetworkDriver) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let wanted = self.wanted.lock().clone();
            self.logs.lock().await.retain(|vpc, _| wanted.contains_key(vpc));
            for (vpc, names) in wanted {
                if let Err(e) = self.look(driver, &vpc, &names, false).await {
                    tracing::warn!(%vpc, error = %e, "flows are not recorded");
                    self.logs.lock().await.remove(&vpc);
                }
            }
        }
    }

    /// Looks at the flows of one VPC, and writes when a window is over or somebody asks.
    async fn look(
        &self,
        driver: &dyn NetworkDriver,
        vpc: &Uid,
        names: &Names,
        write: bool,
    ) -> Result<(), AskError> {
        let now = seconds((self.now)());
        let mut logs = self.logs.lock().await;
        let mut log = match logs.remove(vpc) {
            Some(log) => log,
            None => Log {
                watch: driver.watch_flows(vpc).await.map_err(NetworkError::from)?,
                book: Book::new(now),
            },
        };
        let failed = |e: &dyn std::fmt::Display| AskError::Failed(e.to_string());
        let (mut log, found) = blocking(move || {
            let found = log.watch.look();
            (log, found)
        })
        .await
        .map_err(|e| failed(&e))?;
        log.book.note(found.map_err(NetworkError::from)?);
        // Windows end at different seconds: who has read up to one misses nothing of the next.
        let age = log.book.age(now);
        if (write && age > 0) || age >= WINDOW_SECONDS {
            let lines: Vec<String> =
                log.book.close(names, now).into_iter().map(|line| names.noted(line)).collect();
            let file = Kept::new(&self.folder, vpc);
            blocking(move || file.append(&lines)).await.map_err(|e| failed(&e))?.map_err(|e| failed(&e))?;
            if let Some(wanted) = self.wanted.lock().get_mut(vpc) {
                wanted.forget_departed(names);
            }
        }
        logs.insert(vpc.clone(), log);
        Ok(())
    }

    /// Forgets what was written of a VPC that is gone.
    pub(super) fn forget(&self, vpc: &Uid) {
        self.wanted.lock().remove(vpc);
        Kept::new(&self.folder, vpc).remove();
    }
}

impl Networks {
    /// Records flows for ever.
    pub(crate) async fn record_flows(self) {
        self.inner.flows.run(&*self.inner.driver).await;
    }

    /// What was recorded of a VPC here, of one port or of all, the oldest first, up to this moment. `whole` lines say
    /// behind the usual words which interface of EC2 and which subnet the port is, or was.
    pub(crate) async fn flows(&self, vpc: &Uid, port: &str, whole: bool) -> Result<String, AskError> {
        let flows = &self.inner.flows;
        let names = flows.wanted.lock().get(vpc).cloned();
        if let Some(names) = names {
            flows.look(&*self.inner.driver, vpc, &names, true).await?;
        }
        let (file, port) = (Kept::new(&flows.folder, vpc), port.to_owned());
        let read =
            blocking(move || file.read(&port, whole)).await.map_err(|e| AskError::Failed(e.to_string()))?;
        read.map_err(|e| AskError::Failed(format!("the flow log cannot be read: {e}")))
    }
}

/// What is kept with a port's lines.
fn note(port: &Port) -> String {
    format!("{} {}", short_id("eni", &port.metadata), port.spec.subnet)
}

fn seconds(now: Timestamp) -> u64 {
    u64::try_from(now.0 / 1000).unwrap_or_default()
}
