//! All parts of one simulated cloud, and how they are put together.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use client::Client;
use identity::{Authentication, Principal};
use model::{Bytes, CpuMillis, Resources, Uid};
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::control::ControlPlane;
use crate::dice::Dice;
use crate::host::{Parts, SimHost};
use crate::ledger::Ledger;
use crate::scenario::Options;
use crate::store::SimStore;
use crate::weather::Weather;
use crate::wire::Link;

pub(crate) struct Cloud {
    pub(crate) clock: Arc<Clock>,
    pub(crate) weather: Arc<Weather>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) store: Arc<SimStore>,
    pub(crate) control: Arc<ControlPlane>,
    /// What users see of the cloud.
    pub(crate) client: Client,
    /// Uids whose deletion was acknowledged.
    pub(crate) deleted: Mutex<BTreeSet<Uid>>,
    hosts: Mutex<BTreeMap<String, Arc<SimHost>>>,
    /// Names of machines that were scrapped.
    scrapped: Mutex<BTreeSet<String>>,
    images: Arc<image::Cache>,
    /// Guests have network cards.
    pub(crate) networked: bool,
    dir: PathBuf,
    dice: Dice,
}

impl Cloud {
    pub(crate) fn new(dice: &Dice, dir: PathBuf, options: Options) -> Result<Arc<Self>, image::CacheError> {
        let Options { traced, networked, .. } = options;
        let clock = Clock::new(dice.fork(), networked);
        let weather: Arc<Weather> = Arc::default();
        let ledger = Ledger::new(Arc::clone(&clock), traced);
        let store = SimStore::new(dice.fork(), Arc::clone(&weather), Arc::clone(&ledger));
        let control = ControlPlane::new(Arc::clone(&store), Arc::clone(&clock));
        let link = Link::new(dice.fork(), Arc::clone(&weather));
        Ok(Arc::new(Self {
            client: link.client(Arc::clone(&control), administrator()),
            images: Arc::new(image::Cache::open(dir.join("images"))?),
            clock,
            weather,
            ledger,
            store,
            control,
            deleted: Mutex::default(),
            hosts: Mutex::default(),
            scrapped: Mutex::default(),
            networked,
            dir,
            dice: dice.fork(),
        }))
    }

    /// Adds a machine and starts its agent.
    pub(crate) fn add_host(&self) {
        let mut hosts = self.hosts.lock();
        let number = hosts.len() + self.scrapped.lock().len();
        let name = format!("h{number}");
        // Between hosts; no two ever have the same.
        let [.., high, low] = number.to_be_bytes();
        let capacity = Resources {
            cpu: CpuMillis::cores(self.dice.within(2..9)),
            memory: Bytes::mib(self.dice.within(4..17) * 512),
            disk: Bytes::gib(100),
        };
        let host = SimHost::new(Parts {
            capacity,
            dir: self.dir.join(&name),
            images: Arc::clone(&self.images),
            link: Link::new(self.dice.fork(), Arc::clone(&self.weather)),
            control: Arc::clone(&self.control),
            clock: Arc::clone(&self.clock),
            underlay: self.networked.then(|| IpAddr::from([172, 31, high, low])),
            name: name.clone(),
        });
        host.start_agent();
        hosts.insert(name, host);
    }

    /// Takes a machine away for good, with everything on it.
    pub(crate) async fn scrap_host(&self, name: &str) {
        let host = self.hosts.lock().remove(name);
        if let Some(host) = host {
            self.scrapped.lock().insert(name.to_owned());
            host.scrap().await;
        }
    }

    pub(crate) fn hosts(&self) -> Vec<Arc<SimHost>> {
        self.hosts.lock().values().cloned().collect()
    }

    pub(crate) fn scrapped(&self) -> Vec<String> {
        self.scrapped.lock().iter().cloned().collect()
    }

    /// Looks at all machines at once: no instance may run on two.
    pub(crate) fn watch_machines(&self) {
        let mut seen: BTreeMap<Uid, String> = BTreeMap::new();
        for host in self.hosts() {
            for plan in host.machine().running() {
                if let Some(other) = seen.insert(plan.uid.clone(), host.name.clone()) {
                    let what = format!("{} ({}) runs on {other} and on {}", plan.label, plan.uid, host.name);
                    self.ledger.breach(what);
                }
            }
        }
    }
}

fn administrator() -> Principal {
    Principal {
        user: "operator".into(),
        groups: vec![identity::ADMINS.to_owned()],
        how: Authentication::Certificate { serial: "simulated".into() },
    }
}
