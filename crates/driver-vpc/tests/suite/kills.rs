//! A process that is killed in the middle of its work, again and again: whoever comes next finds something to go on from,
//! and takes all of it away. The seed is printed with a failure; `CORTEN_SEED` repeats it.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use driver::{NetworkDriver, RulePlan, VpcPlan};
use driver_vpc::{VpcDriver, VpcOptions};

use crate::life::{full_plan, traces};
use crate::support::{Lab, everything};

/// Holds the folder of the child's orders; unset for whoever is no child.
const CHILD: &str = "CORTEN_TEST_KILLED";
const SEED: &str = "CORTEN_SEED";
const KILLS: usize = 100;
/// The longest that a child works before it is killed.
const WORKS_FOR_MICROS: u64 = 80_000;

/// xorshift64: the same numbers for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }
}

/// One VPC in several states, each of which differs from the others in what a turn changes.
fn states(lab: &Lab) -> Vec<VpcPlan> {
    let whole = full_plan(lab);
    let mut one_port = whole.clone();
    one_port.ports.truncate(1);
    let mut inside = whole.clone();
    inside.uplink = None;
    inside.tables.clear();
    let mut alone = whole.clone();
    alone.remotes.clear();
    alone.underlay = None;
    let mut narrow = whole.clone();
    narrow.mtu = 1400;
    narrow.vni += 1;
    narrow.groups[0].members.truncate(1);
    narrow.groups[0].ingress = vec![RulePlan { protocol: driver::Protocol::Tcp(1, 9), peer: everything() }];
    let mut unchecked = whole.clone();
    unchecked.ports[1].source_check = false;
    unchecked.ports[1].rate_bits = None;
    unchecked.ports.remove(0);
    vec![whole, one_port, inside, alone, narrow, unchecked]
}

fn options(lab: &Lab) -> VpcOptions {
    VpcOptions { pool_size: 1, ..lab.hosts[0].options.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_after_a_killed_one_puts_it_right() {
    let lab = Lab::new(2);
    let host = &lab.hosts[0];
    let before = traces(&host.namespace);
    let seed = std::env::var(SEED).ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) << 20 | 1);
    let states = states(&lab);
    let orders = tempfile::tempdir().unwrap();
    let options = options(&lab);
    let order = (&options.run_dir, options.host_namespace.as_ref().unwrap(), &states);
    std::fs::write(orders.path().join("orders"), serde_json::to_vec(&order).unwrap()).unwrap();
    let mut random = Random(seed);
    for round in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kills::child", "--nocapture"])
            .env(CHILD, orders.path())
            .env(SEED, (random.next() | 1).to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The first word is the test runner's, which begins the child right then.
        let mut word = [0; 1];
        child.stdout.take().unwrap().read_exact(&mut word).unwrap();
        std::thread::sleep(Duration::from_micros(random.next() % WORKS_FOR_MICROS));
        child.kill().unwrap();
        child.wait().unwrap();
        let successor = VpcDriver::new(options.clone());
        let told = format!("round {round} of seed {seed}");
        // Some go on from what is there, others take it away at once.
        if random.below(4) > 0 {
            let plan = &states[random.below(states.len())];
            successor.ensure(plan).await.unwrap_or_else(|e| panic!("{told}: {e}"));
            assert_eq!(successor.check(plan).await.unwrap(), [], "{told}");
        }
        if random.below(3) == 0 || round + 1 == KILLS {
            successor.delete(&states[0].uid).await.unwrap_or_else(|e| panic!("{told}: {e}"));
            assert_eq!(traces(&host.namespace), before, "{told}");
            assert_eq!(successor.list().await.unwrap(), [], "{told}");
        }
        successor.drain_pool().await.unwrap();
    }
    assert!(std::fs::read_dir(options.run_dir.join("vpcs")).unwrap().next().is_none());
}

/// Works until it is killed.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Ok(folder) = std::env::var(CHILD) else { return };
    let orders = std::fs::read(PathBuf::from(folder).join("orders")).unwrap();
    let (run_dir, host_namespace, states): (PathBuf, PathBuf, Vec<VpcPlan>) =
        serde_json::from_slice(&orders).unwrap();
    let host_namespace = Some(host_namespace);
    let driver =
        VpcDriver::new(VpcOptions { run_dir, host_namespace, pool_size: 1, ..VpcOptions::default() });
    let mut random = Random(std::env::var(SEED).unwrap().parse().unwrap());
    loop {
        if random.below(6) == 0 {
            driver.delete(&states[0].uid).await.unwrap();
        }
        driver.ensure(&states[random.below(states.len())]).await.unwrap();
    }
}
