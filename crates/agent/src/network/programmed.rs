//! What the driver has programmed: news that change nothing of a plan cost nothing.

use std::collections::HashMap;
use std::time::Duration;

use driver::{PortLink, VpcPlan};
use model::Uid;
use parking_lot::Mutex;
use tokio::time::Instant;

/// How long what was programmed is believed to be still so. The next news after that has it looked at again.
const BELIEVED: Duration = Duration::from_secs(30);

#[derive(Default)]
pub(super) struct Programmed {
    networks: Mutex<HashMap<Uid, Network>>,
}

struct Network {
    plan: VpcPlan,
    links: Vec<PortLink>,
    at: Instant,
}

impl Programmed {
    /// The links of a network that was programmed so a moment ago.
    pub(super) fn links(&self, plan: &VpcPlan) -> Option<Vec<PortLink>> {
        let networks = self.networks.lock();
        let known = networks.get(&plan.uid)?;
        (known.at.elapsed() < BELIEVED && known.plan == *plan).then(|| known.links.clone())
    }

    pub(super) fn note(&self, plan: &VpcPlan, links: &[PortLink]) {
        let network = Network { plan: plan.clone(), links: links.to_vec(), at: Instant::now() };
        self.networks.lock().insert(plan.uid.clone(), network);
    }

    /// To be called before anything is changed: what is half programmed is not known.
    pub(super) fn forget(&self, network: &Uid) {
        self.networks.lock().remove(network);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_the_same_plan_is_believed_and_not_for_long() {
        let programmed = Programmed::default();
        let plan = VpcPlan { uid: Uid::default(), vni: 7, ..VpcPlan::default() };
        assert!(programmed.links(&plan).is_none(), "nothing was programmed");
        programmed.note(&plan, &[]);
        assert!(programmed.links(&plan).is_some());
        assert!(programmed.links(&VpcPlan { vni: 8, ..plan.clone() }).is_none(), "another plan");
        tokio::time::advance(BELIEVED).await;
        assert!(programmed.links(&plan).is_none(), "too long ago");
        programmed.note(&plan, &[]);
        programmed.forget(&plan.uid);
        assert!(programmed.links(&plan).is_none(), "being changed");
    }
}
