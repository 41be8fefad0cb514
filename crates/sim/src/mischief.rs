//! Mischief: the large faults. Each is seen through to its end by a task of its own, so that several overlap.

use std::sync::Arc;

use driver::DriverError;
use driver::fake::Manners;
use store::Store;

use crate::cloud::Cloud;
use crate::dice::Dice;
use crate::host::SimHost;

#[derive(Clone)]
pub(crate) struct Mischief {
    cloud: Arc<Cloud>,
    dice: Dice,
}

impl Mischief {
    pub(crate) fn new(cloud: Arc<Cloud>, dice: Dice) -> Self {
        Self { cloud, dice }
    }

    /// One thing goes wrong, and in time right again.
    pub(crate) async fn act(self) {
        let hosts = self.cloud.hosts();
        let Some(host) = self.dice.pick(&hosts) else { return };
        let what = match self.dice.within(0..100) {
            0..12 => self.restart_control_plane().await,
            12..27 => self.restart_agent(host).await,
            27..35 => self.restart_machine(host).await,
            35..50 => self.cut(host).await,
            50..68 => self.guest_ends(host),
            68..78 => self.guest_hangs(host).await,
            78..84 => self.manners(host),
            84..94 => self.start_fails(host),
            94..97 => self.full_store().await,
            _ => self.compact().await,
        };
        self.cloud.weather.count(what);
    }

    /// Undoes whatever mischief may have left.
    pub(crate) async fn make_good(&self) {
        self.cloud.weather.set_store_full(false);
        for host in self.cloud.hosts() {
            host.link.set_cut(false);
            let machine = host.machine();
            machine.set_manners(Manners::default());
            for sandbox in host.sandboxes().await.unwrap_or_default() {
                machine.hang(&sandbox.uid, false);
            }
            host.start_agent();
        }
    }

    async fn restart_control_plane(&self) -> &'static str {
        if self.cloud.control.server().is_none() {
            return "mischief that came too late";
        }
        self.cloud.control.kill();
        self.pause(20_000).await;
        self.cloud.control.start().await;
        "control plane restarts"
    }

    async fn restart_agent(&self, host: &Arc<SimHost>) -> &'static str {
        if !host.has_agent() {
            return "mischief that came too late";
        }
        host.kill_agent().await;
        self.pause(60_000).await;
        host.start_agent();
        "agent restarts"
    }

    async fn restart_machine(&self, host: &Arc<SimHost>) -> &'static str {
        host.lose_power(self.dice.per_mille(500)).await;
        self.pause(120_000).await;
        host.start_agent();
        "machine losses"
    }

    async fn cut(&self, host: &Arc<SimHost>) -> &'static str {
        host.link.set_cut(true);
        self.pause(120_000).await;
        host.link.set_cut(false);
        "partitions"
    }

    fn guest_ends(&self, host: &Arc<SimHost>) -> &'static str {
        let machine = host.machine();
        let Some(plan) = self.dice.pick(&machine.running()).cloned() else { return "hosts without guests" };
        let code = self.dice.pick(&[Some(0), Some(1), None]).copied().flatten();
        machine.exit(&plan.uid, code, "it ended by itself");
        "guests that ended"
    }

    async fn guest_hangs(&self, host: &Arc<SimHost>) -> &'static str {
        let machine = host.machine();
        let Some(plan) = self.dice.pick(&machine.running()).cloned() else { return "hosts without guests" };
        machine.hang(&plan.uid, true);
        self.pause(90_000).await;
        machine.hang(&plan.uid, false);
        "guests that hung"
    }

    fn manners(&self, host: &Arc<SimHost>) -> &'static str {
        let manners = Manners {
            start: self.dice.millis(0..3000),
            shutdown: self.dice.per_mille(600).then(|| self.dice.millis(0..20_000)),
        };
        let machine = host.machine();
        machine.set_manners(manners);
        if let Some(plan) = self.dice.pick(&machine.running()) {
            machine.set_manners_of(&plan.uid, manners);
        }
        "guests with bad manners"
    }

    fn start_fails(&self, host: &Arc<SimHost>) -> &'static str {
        let error = match self.dice.within(0..3) {
            0 => DriverError::failed("starting", "no such device"),
            1 => DriverError::TimedOut { what: "starting".into(), seconds: 30 },
            _ => DriverError::Invalid("this machine model is not known".into()),
        };
        host.machine().fail_next_start(error);
        "starts that failed"
    }

    async fn full_store(&self) -> &'static str {
        self.cloud.weather.set_store_full(true);
        self.pause(30_000).await;
        self.cloud.weather.set_store_full(false);
        "times the store was full"
    }

    async fn compact(&self) -> &'static str {
        // An error would only mean that history is gone already.
        let _ = self.cloud.store.compact(self.cloud.store.revision()).await;
        "compactions"
    }

    async fn pause(&self, most_ms: u64) {
        tokio::time::sleep(self.dice.millis(1..most_ms)).await;
    }
}
