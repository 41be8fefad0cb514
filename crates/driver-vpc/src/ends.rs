//! Which ports' other ends were seen to be right, and have not changed since. One socket in the VPC's namespace hears of
//! changes in the namespaces of all its ports' other ends.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use driver::{Link as PlannedLink, PortPlan};
use model::Uid;
use sys::netlink::Places;

use crate::error::VpcError;
use crate::links::Found;
use crate::rtnl::Ear;

/// Device and inode of a namespace: no other that is alive has the same.
pub(crate) type Identity = (u64, u64);

#[derive(Debug)]
pub(crate) struct Ends {
    places: Places,
    settled: HashMap<Uid, Settled>,
}

#[derive(Debug)]
struct Settled {
    port: PortPlan,
    mtu: u16,
    sandbox: Identity,
    /// The number that the VPC's namespace gives the sandbox.
    number: i32,
}

impl Ends {
    /// In the VPC's namespace, which the calling thread is in. Links are listed after this, for then the kernel numbers
    /// the namespaces of their other ends.
    pub(crate) fn open() -> Result<Self, VpcError> {
        Ok(Self { places: Ear::elsewhere()?, settled: HashMap::new() })
    }

    /// Forgets those whose other end has changed.
    pub(crate) fn look(&mut self) {
        match self.places.changed() {
            Ok(changed) => self.settled.retain(|_, settled| !changed.contains(&settled.number)),
            Err(e) => {
                tracing::debug!(error = %e, "what changed in containers' networks was more than could be heard");
                self.settled.clear();
            }
        }
    }

    /// Whether nothing need be done at a port's other end, as far as is known.
    pub(crate) fn is_settled(&self, port: &PortPlan, mtu: u16, found: &Found) -> bool {
        let (Some(settled), PlannedLink::Veth { namespace, .. }) = (self.settled.get(&port.uid), &port.link)
        else {
            return matches!(port.link, PlannedLink::Tap { .. });
        };
        let number = found.ports.get(&port.uid).and_then(|link| link.other_namespace);
        (settled.mtu, Some(settled.number)) == (mtu, number)
            && settled.port == *port
            && identity_at(namespace) == Some(settled.sandbox)
    }

    /// Remembers a port whose other end has just been set up in this sandbox.
    pub(crate) fn settle(&mut self, port: &PortPlan, mtu: u16, sandbox: Identity, number: Option<i32>) {
        let settled = number.map(|number| Settled { port: port.clone(), mtu, sandbox, number });
        self.settled.extend(settled.map(|settled| (port.uid.clone(), settled)));
    }

    /// Forgets ports that are no longer planned.
    pub(crate) fn keep(&mut self, ports: &[PortPlan]) {
        if self.settled.len() > ports.len() {
            let planned: HashSet<&Uid> = ports.iter().map(|port| &port.uid).collect();
            self.settled.retain(|uid, _| planned.contains(uid));
        }
    }
}

/// Of an open namespace.
pub(crate) fn identity(namespace: &File) -> Result<Identity, VpcError> {
    let found = namespace.metadata().map_err(VpcError::system("look at a network namespace"))?;
    Ok((found.dev(), found.ino()))
}

/// Of the namespace that is kept at `path`; of the empty file when there is none, which is no namespace's.
fn identity_at(path: &Path) -> Option<Identity> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}
