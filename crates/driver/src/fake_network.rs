//! A network driver without a network: VPCs are entries of a table that outlives driver objects, as namespaces
//! outlive the process that made them. For simulations and tests.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use model::Uid;
use parking_lot::Mutex;

use crate::{Drift, DriverError, FlowLook, FlowWatch, NetworkDriver, PortCounters, PortLink, VpcPlan};

/// The host that fake VPCs are on. Clones are the same host; it survives every [`FakeNetwork`].
#[derive(Debug, Clone, Default)]
pub struct FakeFabric(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    vpcs: BTreeMap<Uid, Vpc>,
    failures: VecDeque<DriverError>,
    changes: u64,
}

#[derive(Debug)]
struct Vpc {
    plan: VpcPlan,
    /// Indexes are given once and stay with their port.
    indexes: BTreeMap<Uid, u32>,
    next_index: u32,
}

impl FakeFabric {
    /// The plan that a VPC is at.
    pub fn plan(&self, vpc: &Uid) -> Option<VpcPlan> {
        self.0.lock().vpcs.get(vpc).map(|vpc| vpc.plan.clone())
    }

    /// The plans of all VPCs that are here.
    pub fn plans(&self) -> Vec<VpcPlan> {
        self.0.lock().vpcs.values().map(|vpc| vpc.plan.clone()).collect()
    }

    /// How often anything had to change.
    pub fn changes(&self) -> u64 {
        self.0.lock().changes
    }

    /// The next plan that is to be made true fails with this; several queue up.
    pub fn fail_next_ensure(&self, error: DriverError) {
        self.0.lock().failures.push_back(error);
    }

    /// The power fails: no namespace is left.
    pub fn crash(&self) {
        self.0.lock().vpcs.clear();
    }
}

/// Drives a [`FakeFabric`].
#[derive(Debug, Clone, Default)]
pub struct FakeNetwork {
    fabric: FakeFabric,
}

impl FakeNetwork {
    pub fn new(fabric: &FakeFabric) -> Self {
        Self { fabric: fabric.clone() }
    }
}

#[async_trait]
impl NetworkDriver for FakeNetwork {
    /// As the real one: gateways are placed on hosts that have it.
    fn name(&self) -> &'static str {
        "vpc"
    }

    async fn probe(&self) -> Result<(), DriverError> {
        Ok(())
    }

    async fn ensure(&self, plan: &VpcPlan) -> Result<Vec<PortLink>, DriverError> {
        let mut table = self.fabric.0.lock();
        if let Some(error) = table.failures.pop_front() {
            return Err(error);
        }
        let new = || Vpc { plan: VpcPlan::default(), indexes: BTreeMap::new(), next_index: 2 };
        let vpc = table.vpcs.entry(plan.uid.clone()).or_insert_with(new);
        let differs = vpc.plan != *plan;
        if differs {
            vpc.adopt(plan);
        }
        let links = vpc.links();
        table.changes += u64::from(differs);
        Ok(links)
    }

    async fn check(&self, plan: &VpcPlan) -> Result<Vec<Drift>, DriverError> {
        let table = self.fabric.0.lock();
        let found = table.vpcs.get(&plan.uid).map(|vpc| &vpc.plan);
        if found == Some(plan) {
            return Ok(Vec::new());
        }
        Ok(vec![Drift { kind: "link", what: format!("network {}", plan.label), missing: found.is_none() }])
    }

    async fn list(&self) -> Result<Vec<Uid>, DriverError> {
        Ok(self.fabric.0.lock().vpcs.keys().cloned().collect())
    }

    async fn delete(&self, vpc: &Uid) -> Result<(), DriverError> {
        let mut table = self.fabric.0.lock();
        table.changes += u64::from(table.vpcs.remove(vpc).is_some());
        Ok(())
    }

    fn namespace(&self, vpc: &Uid) -> Option<PathBuf> {
        self.fabric.0.lock().vpcs.contains_key(vpc).then(|| PathBuf::from(format!("/fake/{vpc}")))
    }

    async fn watch_flows(&self, _: &Uid) -> Result<Box<dyn FlowWatch>, DriverError> {
        Ok(Box::new(NoFlows))
    }

    async fn counters(&self, vpc: &Uid) -> Result<Vec<(Uid, PortCounters)>, DriverError> {
        let table = self.fabric.0.lock();
        let ports = table.vpcs.get(vpc).into_iter().flat_map(|vpc| &vpc.plan.ports);
        Ok(ports.map(|port| (port.uid.clone(), PortCounters::default())).collect())
    }
}

/// Nothing flows.
#[derive(Debug)]
struct NoFlows;

impl FlowWatch for NoFlows {
    fn look(&mut self) -> Result<FlowLook, DriverError> {
        Ok(FlowLook::default())
    }
}

impl Vpc {
    fn adopt(&mut self, plan: &VpcPlan) {
        self.plan = plan.clone();
        self.indexes.retain(|uid, _| plan.ports.iter().any(|port| port.uid == *uid));
        for port in &plan.ports {
            if !self.indexes.contains_key(&port.uid) {
                self.indexes.insert(port.uid.clone(), self.next_index);
                self.next_index += 1;
            }
        }
    }

    fn links(&self) -> Vec<PortLink> {
        let namespace = PathBuf::from(format!("/fake/{}", self.plan.uid));
        let link = |(uid, index): (&Uid, &u32)| PortLink {
            uid: uid.clone(),
            device: format!("p{index}"),
            index: *index,
            namespace: namespace.clone(),
        };
        self.indexes.iter().map(link).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn vpcs_outlive_the_driver_object() {
        let fabric = FakeFabric::default();
        let plan = VpcPlan { uid: Uid::parse("a").unwrap(), ..VpcPlan::default() };
        let before = FakeNetwork::new(&fabric);
        before.ensure(&plan).await.unwrap();
        before.ensure(&plan).await.unwrap();
        assert_eq!(fabric.changes(), 1, "the second time changes nothing");
        let after = FakeNetwork::new(&fabric);
        assert_eq!(after.list().await.unwrap(), std::slice::from_ref(&plan.uid));
        assert_eq!(after.check(&plan).await.unwrap(), []);
        after.delete(&plan.uid).await.unwrap();
        after.delete(&plan.uid).await.unwrap();
        assert!(!after.check(&plan).await.unwrap().is_empty());
    }
}
