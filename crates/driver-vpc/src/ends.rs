//! Which ports' other ends were seen to be right, and have not changed since. One socket in the VPC's namespace hears of
//! changes in the namespaces of all its ports' other ends, and the table of mounts says when another namespace is kept in
//! the place of one.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use driver::{Link as PlannedLink, PortPlan};
use model::Uid;
use sys::mounts::{Mounted, Mounts, mount_at};
use sys::netlink::Places;

use crate::error::VpcError;
use crate::links::Found;
use crate::rtnl::Ear;

/// Device and inode of a namespace: no other that is alive has the same.
pub(crate) type Identity = (u64, u64);

#[derive(Debug)]
pub(crate) struct Ends {
    places: Places,
    mounts: Mounts,
    settled: HashMap<Uid, Settled>,
}

#[derive(Debug)]
struct Settled {
    port: PortPlan,
    mtu: u16,
    sandbox: Identity,
    /// The mount that keeps the sandbox, and where that is; nothing where the kernel does not number mounts.
    kept: Option<(u64, PathBuf)>,
    /// The number that the VPC's namespace gives the sandbox.
    number: i32,
}

impl Ends {
    /// In the VPC's namespace, which the calling thread is in. Links are listed after this, for then the kernel numbers
    /// the namespaces of their other ends.
    pub(crate) fn open() -> Result<Self, VpcError> {
        let mounts = Mounts::open().map_err(VpcError::system("follow what is mounted"))?;
        Ok(Self { places: Ear::elsewhere()?, mounts, settled: HashMap::new() })
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
        match self.mounts.look() {
            Ok(Mounted::Nothing) => {}
            Ok(Mounted::Changed { gone, new }) => self.settled.retain(|_, settled| {
                let stays = |(mount, place): &(u64, PathBuf)| !gone.contains(mount) && !new.contains(place);
                settled.kept.as_ref().is_some_and(stays) || settled.is_kept()
            }),
            Ok(Mounted::Something) => self.settled.retain(|_, settled| settled.is_kept()),
            Err(e) => {
                tracing::debug!(error = %e, "what is mounted cannot be listed");
                self.settled.clear();
            }
        }
    }

    /// Whether nothing need be done at a port's other end, as far as is known.
    pub(crate) fn is_settled(&self, port: &PortPlan, mtu: u16, found: &Found) -> bool {
        let (Some(settled), PlannedLink::Veth { .. }) = (self.settled.get(&port.uid), &port.link) else {
            return matches!(port.link, PlannedLink::Tap { .. });
        };
        let number = found.ports.get(&port.uid).and_then(|link| link.other_namespace);
        (settled.mtu, Some(settled.number)) == (mtu, number) && settled.port == *port
    }

    /// Remembers a port whose other end has just been set up in this sandbox.
    pub(crate) fn settle(&mut self, port: &PortPlan, mtu: u16, sandbox: Identity, number: Option<i32>) {
        let (Some(number), PlannedLink::Veth { namespace, .. }) = (number, &port.link) else { return };
        // What comes in its place after this is told at the next look.
        let kept = mount_at(namespace).ok().zip(namespace.canonicalize().ok());
        let settled = Settled { port: port.clone(), mtu, sandbox, kept, number };
        if settled.is_kept() {
            self.settled.insert(port.uid.clone(), settled);
        }
    }

    /// Forgets ports that are no longer planned.
    pub(crate) fn keep(&mut self, ports: &[PortPlan]) {
        if self.settled.len() > ports.len() {
            let planned: HashSet<&Uid> = ports.iter().map(|port| &port.uid).collect();
            self.settled.retain(|uid, _| planned.contains(uid));
        }
    }
}

impl Settled {
    /// Whether its sandbox still is where the plan has it.
    fn is_kept(&self) -> bool {
        let PlannedLink::Veth { namespace, .. } = &self.port.link else { return false };
        identity_at(namespace) == Some(self.sandbox)
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
