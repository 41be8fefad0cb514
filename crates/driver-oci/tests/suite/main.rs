//! The container driver against the real runtime, on this host. Needs root, runc, crun and conmon.

mod conformance;
mod inside;
mod life;
mod support;
