//! What the cloud is told of this host's networks: where ports are, and which addresses of the outside end here.

use std::sync::Arc;

use driver::PortLink;
use model::ApiError;
use model::network::{Address, FloatingIp, Gateway, Port, PortState};

use super::{NetworkError, Networks};

impl Networks {
    /// Where the port is now, when that is news.
    pub(super) async fn report(&self, port: &Arc<Port>, link: &PortLink) -> Result<(), NetworkError> {
        let mut changed = (**port).clone();
        changed.status.host.clone_from(&self.inner.host);
        changed.status.host_address = self.inner.underlay.map(Address);
        changed.status.state = PortState::Up;
        changed.status.device.clone_from(&link.device);
        changed.status.observed_generation = port.metadata.generation;
        if changed.status == port.status {
            return Ok(());
        }
        settled(self.inner.client.project::<Port>(&port.metadata.namespace).update_status(&changed).await)
    }

    /// Says that this host answers for the address, when that is news.
    pub(super) async fn report_floating(&self, floating: &Arc<FloatingIp>) -> Result<(), NetworkError> {
        if floating.status.host == self.inner.host {
            return Ok(());
        }
        let mut changed = (**floating).clone();
        changed.status.host.clone_from(&self.inner.host);
        let project = self.inner.client.project::<FloatingIp>(&floating.metadata.namespace);
        settled(project.update_status(&changed).await)
    }

    /// Says that this host translates for the gateway, when that is news.
    pub(super) async fn report_gateway(&self, gateway: &Arc<Gateway>) -> Result<(), NetworkError> {
        let own = self.inner.underlay.map(Address);
        if gateway.status.host_address == own {
            return Ok(());
        }
        let mut changed = (**gateway).clone();
        changed.status.host_address = own;
        let project = self.inner.client.project::<Gateway>(&gateway.metadata.namespace);
        settled(project.update_status(&changed).await)
    }
}

/// A report on what changed or went meanwhile is given up: the object's own event brings us back.
fn settled<T>(report: Result<T, ApiError>) -> Result<(), NetworkError> {
    match report {
        Err(e) if !e.is_conflict() && !e.is_not_found() => Err(e.into()),
        _ => Ok(()),
    }
}
