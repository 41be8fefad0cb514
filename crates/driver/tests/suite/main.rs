//! The fake keeps the promises of the contract, and obeys its scripts.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use driver::conformance::{self, Bench};
use driver::fake::{FakeDriver, FakeMachine, Manners};
use driver::{ComputeDriver, DriverError, Plan, SandboxState, StopMode};
use model::compute::{Cell, Isolation, PayloadKind};
use model::{Bytes, CpuMillis, Resources, Uid};
use parking_lot::Mutex;

const CELL: Cell = Cell::new(Isolation::Vm, PayloadKind::Disk);

fn plan(number: u8) -> Plan {
    Plan {
        uid: Uid::from_random([number; 16]),
        label: format!("test/{number}"),
        cell: CELL,
        resources: Resources { cpu: CpuMillis::cores(1), memory: Bytes::mib(64), disk: Bytes(0) },
        dir: "/nowhere".into(),
        user_id: 1,
        vm: None,
        containers: Vec::new(),
        mounts: Vec::new(),
    }
}

struct FakeBench {
    machine: FakeMachine,
    made: Mutex<u8>,
}

#[async_trait]
impl Bench for FakeBench {
    fn driver(&self) -> Arc<dyn ComputeDriver> {
        Arc::new(FakeDriver::new(self.machine.clone()))
    }

    fn plan(&self) -> Plan {
        self.machine.set_manners(Manners::default());
        let mut made = self.made.lock();
        *made += 1;
        plan(*made)
    }

    fn stubborn_plan(&self) -> Plan {
        let plan = self.plan();
        self.machine.set_manners(Manners { shutdown: None, ..Manners::default() });
        plan
    }

    async fn finish(&self, _driver: &dyn ComputeDriver, uid: &Uid) {
        self.machine.exit(uid, Some(0), "");
    }

    fn leftovers(&self, plan: &Plan) -> Vec<String> {
        let running = self.machine.running();
        running.iter().filter(|other| other.uid == plan.uid).map(|other| other.uid.to_string()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn the_fake_keeps_every_promise() {
    let machine = FakeMachine::new("fake", vec![CELL]);
    conformance::run(&FakeBench { machine, made: Mutex::new(0) }).await;
}

#[tokio::test(start_paused = true)]
async fn scripted_failures_happen_once() {
    let machine = FakeMachine::new("fake", vec![CELL]);
    let driver = FakeDriver::new(machine.clone());
    machine.fail_next_start(DriverError::failed("starting", "no space left on device"));
    let error = driver.ensure(&plan(1)).await.unwrap_err();
    assert_eq!(error.to_string(), "starting: no space left on device");
    assert_eq!(driver.list().await.unwrap(), [], "nothing was made");
    driver.ensure(&plan(1)).await.unwrap();
    assert_eq!(machine.starts(&plan(1).uid), 1);
}

#[tokio::test(start_paused = true)]
async fn grace_is_counted_in_virtual_time() {
    let machine = FakeMachine::new("fake", vec![CELL]);
    let driver = FakeDriver::new(machine.clone());
    let uid = plan(1).uid;
    for (shutdown, took, code) in [(Some(7), 7, Some(0)), (Some(100), 30, None), (None, 30, None)] {
        let shutdown = shutdown.map(Duration::from_secs);
        machine.set_manners(Manners { shutdown, ..Manners::default() });
        driver.ensure(&plan(1)).await.unwrap();
        machine.set_manners_of(&uid, Manners { shutdown, ..Manners::default() });
        let before = tokio::time::Instant::now();
        driver.stop(&uid, StopMode::Graceful { seconds: 30 }).await.unwrap();
        assert_eq!(before.elapsed().as_secs(), took);
        assert_eq!(driver.observe(&uid).await.unwrap().state, SandboxState::Exited(code));
    }
}

#[tokio::test(start_paused = true)]
async fn what_hangs_is_unknown_and_can_still_be_killed() {
    let machine = FakeMachine::new("fake", vec![CELL]);
    let driver = FakeDriver::new(machine.clone());
    let uid = plan(1).uid;
    driver.ensure(&plan(1)).await.unwrap();
    machine.hang(&uid, true);
    assert_eq!(driver.observe(&uid).await.unwrap().state, SandboxState::Unknown);
    assert!(matches!(driver.pause(&uid).await, Err(DriverError::TimedOut { .. })));
    driver.stop(&uid, StopMode::Kill).await.unwrap();
    assert_eq!(driver.observe(&uid).await.unwrap().state, SandboxState::Exited(None));
}

#[tokio::test(start_paused = true)]
async fn a_power_failure_ends_everything_and_the_table_stays() {
    let machine = FakeMachine::new("fake", vec![CELL]);
    FakeDriver::new(machine.clone()).ensure(&plan(1)).await.unwrap();
    machine.crash();
    let list = FakeDriver::new(machine.clone()).list().await.unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!(list[0].state, SandboxState::Exited(None));
    assert_eq!(list[0].message, "the host was restarted");
}
