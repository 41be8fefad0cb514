//! Gateways that translate under an address of their own: a host for each, and another when that one is lost. What it does
//! is its host's affair; every other gateway is on all hosts.

use client::{ListParams, Recorder, Severity};
use model::network::Gateway;
use model::topology::Host;
use model::{ApiError, Condition, ConditionStatus, set_condition};
use reconcile::{Cache, Change, Outcome, Queue};

use crate::Context;
use crate::caches::Caches;
use crate::place::{LOOK_AGAIN, Silence, choose};

/// What hosts call the driver that makes networks.
const DRIVER: &str = "vpc";

struct Gateways {
    context: Context,
    recorder: Recorder,
    hosts: Cache<Host>,
    gateways: Cache<Gateway>,
    silence: Silence,
}

pub(crate) async fn run(context: Context, caches: Caches) {
    let queue = Queue::new();
    let gateways: Cache<Gateway> = {
        let queue = queue.clone();
        let listener = move |change: &Change<Gateway>| queue.add(change.object().metadata.key());
        Cache::start(context.client.all(), ListParams::default(), vec![Box::new(listener)])
    };
    let hosts = caches.hosts;
    {
        let (queue, gateways) = (queue.clone(), gateways.clone());
        hosts.listen(move |_| {
            for gateway in gateways.filter(Gateway::has_one_place) {
                queue.add(gateway.metadata.key());
            }
        });
    }
    tokio::join!(hosts.synced(), gateways.synced());
    let recorder = context.recorder("gateway-controller");
    let controller = Gateways { context, recorder, hosts, gateways, silence: Silence::default() };
    reconcile::run("gateway", queue, 4, |key| controller.reconcile(key)).await;
}

impl Gateways {
    async fn reconcile(&self, key: String) -> Result<Outcome, ApiError> {
        let Some(gateway) = self.gateways.get(&key).filter(|gateway| !gateway.metadata.is_deleting()) else {
            return Ok(Outcome::Done);
        };
        let mut changed = (*gateway).clone();
        let outcome = if gateway.has_one_place() {
            self.place(&mut changed)
        } else {
            changed.status.host.clear();
            changed.status.host_address = None;
            changed.status.conditions.retain(|condition| condition.kind != "Scheduled");
            Outcome::Done
        };
        if changed.status != gateway.status {
            let api = self.context.client.project::<Gateway>(&gateway.metadata.namespace);
            match api.update_status(&changed).await {
                // It changed meanwhile: its own event brings us back.
                Err(e) if e.is_conflict() || e.is_not_found() => return Ok(outcome),
                result => drop(result?),
            }
            self.tell(&gateway, &changed).await;
        }
        Ok(outcome)
    }

    /// Chooses a host where there is none, or a lost one.
    fn place(&self, gateway: &mut Gateway) -> Outcome {
        if let Some(outcome) = self.silence.stays(&self.hosts, &gateway.status.host) {
            return outcome;
        }
        let loads = self.gateways.all().into_iter().map(|gateway| gateway.status.host.clone());
        let (condition, outcome) = match choose(DRIVER, &self.hosts.all(), loads) {
            Ok(host) => {
                let message = format!("is on host {host}");
                gateway.status.host = host;
                // Others send there once the host has said where it is.
                gateway.status.host_address = None;
                (Condition::new("Scheduled", ConditionStatus::True, "Placed", message), Outcome::Done)
            }
            // Where it was is as good as nowhere, and may come back.
            Err(why) => {
                let condition = Condition::new("Scheduled", ConditionStatus::False, "NoHost", why);
                (condition, Outcome::RequeueAfter(LOOK_AGAIN))
            }
        };
        set_condition(&mut gateway.status.conditions, condition, (self.context.now)());
        outcome
    }

    async fn tell(&self, old: &Gateway, new: &Gateway) {
        let (was, is) = (&old.status.host, &new.status.host);
        if was == is || is.is_empty() {
            return;
        }
        let (severity, message) = if was.is_empty() {
            (Severity::Normal, format!("is on host {is}"))
        } else {
            (Severity::Warning, format!("moved to host {is}; host {was} is lost"))
        };
        self.recorder.record(new, severity, "Placed", &message).await;
    }
}
