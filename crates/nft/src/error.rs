//! Why the kernel did not take a batch, or could not be read.

use nix::errno::Errno;
use sys::netlink::NetlinkError;

#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// Nothing of the batch took effect.
    #[error("nf_tables refused to {operation}, number {number} of {of} in the batch: {source}")]
    Refused { operation: String, number: usize, of: usize, source: NetlinkError },
    /// Every operation was taken, but not all of them together; nothing took effect.
    #[error("nf_tables refused a batch of {of} as a whole: {source}")]
    Commit { of: usize, source: NetlinkError },
    #[error("nf_tables gave no answer to a batch of {of}; read the table before trying again")]
    Unanswered { of: usize },
    #[error("cannot {what} of nf_tables: {source}; is the kernel built with CONFIG_NF_TABLES?")]
    Read { what: &'static str, source: NetlinkError },
}

impl NftError {
    /// Somebody else has committed since the generation that the batch was made for.
    pub fn is_outdated(&self) -> bool {
        matches!(self, Self::Commit { source, .. } if source.is(Errno::ERESTART))
    }

    pub(crate) fn read(what: &'static str) -> impl FnOnce(NetlinkError) -> Self {
        move |source| Self::Read { what, source }
    }
}
