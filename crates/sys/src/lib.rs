//! sys

pub mod inherit;
pub mod mount;
pub mod namespace;
pub mod pidfd;
