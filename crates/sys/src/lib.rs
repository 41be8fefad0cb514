//! sys

pub mod inherit;
pub mod jail;
pub mod mount;
pub mod namespace;
pub mod pidfd;
