//! Network cards that come and go while the machine runs. Which there are is asked of QEMU, never remembered.

use ::driver::{CardAccess, DriverError, NicPlan};
use async_trait::async_trait;
use model::Uid;
use model::compute::Machine;
use serde_json::json;

use crate::QemuDriver;
use crate::devices::{HOTPLUG_SLOTS, card_device, tap_network, virtio};
use crate::launch::{Tap, queues};
use crate::qmp::QmpError;
use crate::volumes::{Machinery, PERIPHERALS, text};

/// A network card in QEMU's own words.
struct Found {
    device: String,
    netdev: String,
}

/// Of what is plugged while the machine runs: named by its card's address.
fn netdev_of(mac: &str) -> String {
    format!("card-{}", mac.replace(':', ""))
}

impl Machinery {
    /// The card of this address.
    async fn card(&mut self, mac: &str) -> Result<Option<Found>, DriverError> {
        let devices = self.run("qom-list", json!({ "path": PERIPHERALS })).await?;
        let cards = devices.as_array().into_iter().flatten();
        let cards = cards.filter(|device| text(&device["type"]).contains("virtio-net"));
        let names: Vec<String> = cards.map(|device| text(&device["name"])).collect();
        for device in names {
            let path = format!("{PERIPHERALS}/{device}");
            let known = self.run("qom-get", json!({ "path": path, "property": "mac" })).await?;
            if text(&known).eq_ignore_ascii_case(mac) {
                let netdev = self.run("qom-get", json!({ "path": path, "property": "netdev" })).await?;
                return Ok(Some(Found { device, netdev: text(&netdev) }));
            }
        }
        Ok(None)
    }

    /// Makes the host's side of a card, over descriptors of its tap.
    async fn add_network(&mut self, netdev: &str, tap: &Tap) -> Result<(), DriverError> {
        let failed = |e| DriverError::failed("handing a tap to qemu", e);
        let mut names = Vec::new();
        for (sort, descriptors) in [("queue", tap.queues()), ("vhost", tap.vhost())] {
            let mut given = Vec::new();
            for (number, descriptor) in descriptors.into_iter().enumerate() {
                let name = format!("{netdev}-{sort}{number}");
                self.qmp.give(&name, descriptor).await.map_err(failed)?;
                given.push(name);
            }
            names.push(given);
        }
        let vhost = names.pop().unwrap_or_default();
        let queues = names.pop().unwrap_or_default();
        self.run("netdev_add", tap_network(netdev, &queues, &vhost)).await.map(drop)
    }

    /// Takes the host's side away; what is not there is away.
    async fn remove_network(&mut self, netdev: &str) -> Result<(), DriverError> {
        match self.qmp.execute("netdev_del", json!({ "id": netdev })).await {
            Ok(_) | Err(QmpError::Refused(_)) => Ok(()),
            Err(e) => Err(DriverError::failed("closing a tap", e)),
        }
    }
}

#[async_trait]
impl CardAccess for QemuDriver {
    async fn plug(&self, uid: &Uid, card: &NicPlan) -> Result<(), DriverError> {
        let NicPlan::Tap { mac, device, namespace } = card else {
            return Err(DriverError::Invalid("only a card at a tap can be plugged".into()));
        };
        let lock = self.lock(uid);
        let _changing = lock.lock().await;
        let mut machine = self.must_run(uid).await?;
        if machine.card(mac).await?.is_some() {
            return Ok(());
        }
        if machine.plan.vm.as_ref().is_none_or(|vm| vm.machine != Machine::Q35) {
            return Err(DriverError::Unsupported {
                driver: crate::NAME,
                what: "plug a network card into a microvm that runs: stop the instance first".into(),
            });
        }
        let netdev = netdev_of(mac);
        // What an attempt before this one left.
        machine.remove_network(&netdev).await?;
        let count = queues(&machine.plan);
        let (device, namespace) = (device.clone(), namespace.clone());
        let open = move || Tap::open(&device, namespace.as_deref(), count);
        let tap = tokio::task::spawn_blocking(open).await.unwrap_or_else(|e| Err(std::io::Error::other(e)));
        let tap = tap.map_err(|e| DriverError::failed("opening a tap", e))?;
        machine.add_network(&netdev, &tap).await?;
        let mut refusal = None;
        // From the last, for volumes that were there at the start have the first.
        for slot in (1..=HOTPLUG_SLOTS).rev() {
            let slot = format!("slot{slot}");
            let device = card_device(Machine::Q35, &netdev, mac, tap.queues().len(), Some(&slot));
            match machine.qmp.execute("device_add", device).await {
                Ok(_) => return machine.keep_plan(|vm| vm.nics.push(card.clone())),
                // The slot is taken, or still being emptied.
                Err(QmpError::Refused(why)) => refusal = Some(why),
                Err(e) => return Err(DriverError::failed("plugging a network card", e)),
            }
        }
        machine.remove_network(&netdev).await?;
        let what = format!(
            "plugging a {}: no slot is free; take a volume out, or stop the instance first",
            virtio(Machine::Q35, "net")
        );
        Err(DriverError::failed(what, refusal.unwrap_or_default()))
    }

    async fn unplug(&self, uid: &Uid, mac: &str) -> Result<(), DriverError> {
        let lock = self.lock(uid);
        let _changing = lock.lock().await;
        let Some(mut machine) = self.machinery(uid).await? else { return Ok(()) };
        match machine.card(mac).await? {
            Some(found) => {
                machine.take_out(&found.device, "network card", "stop the instance").await?;
                machine.remove_network(&found.netdev).await?;
            }
            // Taken out by an attempt before this one.
            None => machine.remove_network(&netdev_of(mac)).await?,
        }
        machine.keep_plan(|vm| {
            vm.nics.retain(|nic| !matches!(nic, NicPlan::Tap { mac: known, .. } if known == mac));
        })
    }
}
