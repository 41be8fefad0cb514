//! The suite that every compute driver passes.

use std::sync::Arc;

use async_trait::async_trait;
use driver::conformance::Bench;
use driver::{ComputeDriver, Plan, StopMode};
use driver_oci::OciOptions;
use model::Uid;

use crate::support::{self, Lab, Traces};

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

#[tokio::test(flavor = "multi_thread")]
async fn the_driver_keeps_all_promises_with_crun() {
    let _controllers = support::let_crun_serve();
    let lab = Lab::with(OciOptions { runtime: "crun".into(), ..support::options() });
    driver::conformance::run(&lab).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_runtime_made_is_used_and_taken_away_by_that() {
    let _controllers = support::let_crun_serve();
    for (first, then) in [("crun", "runc"), ("runc", "crun")] {
        let lab = Lab::with(OciOptions { runtime: first.into(), ..support::options() });
        let plan = lab.plan(&[("main", "exec sleep 1000")]);
        lab.driver.ensure(&plan).await.expect("done");
        let changed = lab.another_driver_with(then);
        assert_eq!(Lab::run_by(&changed, &plan.uid, "main", "echo found").await.1, "found\n");
        changed.stop(&plan.uid, StopMode::Kill).await.expect("done");
        changed.ensure(&plan).await.expect("done");
        changed.delete(&plan.uid).await.expect("done");
        assert_eq!(lab.traces_of(&plan.uid), Traces::NONE, "made by {first}, taken away with {then}");
    }
}
