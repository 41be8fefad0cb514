//! Who answers names for a guest that is about to start.

use std::net::{IpAddr, SocketAddr};

use model::compute::{Instance, port_names};
use model::network::SubnetMode;

use super::plan::gateways;
use super::{NetworkError, Networks, zones};

/// Who answers names in a guest's network.
#[derive(Debug, Clone)]
pub(crate) struct Resolver {
    pub(crate) servers: Vec<IpAddr>,
    pub(crate) domain: String,
}

impl Networks {
    /// Who answers names on the first card of an instance, if it has one. The card does not have to be made yet.
    pub(crate) async fn resolver(&self, instance: &Instance) -> Result<Option<Resolver>, NetworkError> {
        let Some(first) = port_names(instance).into_iter().next() else { return Ok(None) };
        self.synced().await;
        let objects = &self.inner.objects;
        let project = &instance.metadata.namespace;
        let find = || {
            let port = objects.ports.get(&format!("{project}/{first}"))?;
            let subnet = objects.subnets.get(&format!("{project}/{}", port.spec.subnet))?;
            let vpc = objects.vpcs.get(&format!("{project}/{}", subnet.spec.vpc))?;
            Some((subnet, vpc))
        };
        // The cache may be a moment behind. Without an answer nothing is begun: a container keeps what it is made with.
        let (subnet, vpc) = find().ok_or_else(|| NetworkError::NoPort(first.clone()))?;
        let servers = match subnet.spec.mode {
            SubnetMode::Bridge => zones::upstreams(&vpc).iter().map(SocketAddr::ip).collect(),
            SubnetMode::Routed => gateways(&subnet),
        };
        let options = objects.options.get(&format!("{project}/{}", vpc.spec.dhcp_options));
        Ok(Some(match options {
            Some(options) => {
                Resolver { servers: options.spec.resolvers(&servers), domain: options.spec.domain.clone() }
            }
            None => Resolver { servers, domain: zones::domain(&vpc) },
        }))
    }
}
