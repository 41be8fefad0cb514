//! The peer between hosts: the overlay network of a Docker swarm of two, on the same kind of hosts.

use driver_vpc::lab::Lab;

use super::ends::{Ends, Seen};
use crate::Result;
use crate::container::SPEAK;
use crate::docker::Docker;

const NETWORK: &str = "overlay";

/// Two hosts, a Docker daemon and a container on each.
pub(super) struct Overlay {
    ends: Ends,
    // The daemons end before the hosts they are on.
    _dockers: [Docker; 2],
    _lab: Lab,
}

impl Overlay {
    pub(super) async fn make(image: &[u8]) -> Result<Self> {
        let lab = Lab::new(2);
        let on = |host: usize| (lab.hosts[host].namespace.clone(), lab.hosts[host].underlay);
        let ((first, address), (second, other)) = (on(0), on(1));
        let mut dockers =
            [Docker::start_with_networks(&first).await?, Docker::start_with_networks(&second).await?];
        let token = dockers[0].begin_swarm(address).await?;
        dockers[1].join_swarm(other, address, &token).await?;
        dockers[0].create_overlay(NETWORK).await?;
        let mut ends = Vec::new();
        for docker in &mut dockers {
            docker.import(image).await?;
            let container = docker.run_in(NETWORK, &SPEAK).await?;
            ends.push(docker.end(&container).await?);
        }
        let [from, to] = <[_; 2]>::try_from(ends).map_err(|_| "two ends were made")?;
        Ok(Self { ends: Ends { from, to }, _dockers: dockers, _lab: lab })
    }

    pub(super) fn look(&self) -> Result<Seen> {
        self.ends.look()
    }
}
