//! What can go wrong with a VPC on this host.

use std::io;

use driver::DriverError;
use nft::NftError;
use sys::netlink::NetlinkError;

#[derive(Debug, thiserror::Error)]
pub enum VpcError {
    /// The plan is wrong; trying again does not help.
    #[error("{0}")]
    Invalid(String),
    #[error("{what}: {source}")]
    Network { what: String, source: NetlinkError },
    #[error("{what}: {source}")]
    Filter { what: String, source: NftError },
    #[error("{what}: {source}")]
    System { what: String, source: io::Error },
    #[error("work in a network namespace: {0}")]
    Namespace(#[from] io::Error),
}

impl VpcError {
    pub(crate) fn network(what: impl Into<String>) -> impl FnOnce(NetlinkError) -> Self {
        let what = what.into();
        move |source| Self::Network { what, source }
    }

    pub(crate) fn filter(what: impl Into<String>) -> impl FnOnce(NftError) -> Self {
        let what = what.into();
        move |source| Self::Filter { what, source }
    }

    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }

    /// As the agent hears it.
    pub(crate) fn about(self, vpc: &str) -> DriverError {
        match self {
            Self::Invalid(why) => DriverError::Invalid(format!("network {vpc}: {why}")),
            other => DriverError::failed(format!("network {vpc}"), other),
        }
    }
}
