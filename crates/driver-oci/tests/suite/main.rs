//! The container driver against the real runtime, on this host. Needs root, runc and conmon.

mod inside;
mod life;
mod support;
