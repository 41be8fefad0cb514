//! The suite that every compute driver passes.

use std::sync::Arc;

use async_trait::async_trait;
use driver::conformance::Bench;
use driver::{ComputeDriver, Plan};
use model::Uid;

use crate::support::{Lab, Traces};

#[async_trait]
impl Bench for Lab {
    fn driver(&self) -> Arc<dyn ComputeDriver> {
        Arc::new(self.another_driver())
    }

    fn plan(&self) -> Plan {
        self.plan(&[("main", "trap 'exit 0' TERM; while :; do sleep 0.02; done")])
    }

    fn stubborn_plan(&self) -> Plan {
        self.plan(&[("main", "trap '' TERM; until [ -e /finish ]; do sleep 0.02; done; rm /finish")])
    }

    async fn finish(&self, _: &dyn ComputeDriver, uid: &Uid) {
        assert_eq!(self.run(uid, "main", "echo > /finish").await.0, 0);
    }

    fn leftovers(&self, plan: &Plan) -> Vec<String> {
        let all = self.traces_of(&plan.uid);
        if all == Traces::NONE { Vec::new() } else { vec![format!("{all:?}")] }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_driver_keeps_all_promises() {
    driver::conformance::run(&Lab::new()).await;
}
