//! The container driver against the real runtime, on this host. Needs root, runc and conmon.

mod conformance;
mod inside;
mod life;
mod support;
