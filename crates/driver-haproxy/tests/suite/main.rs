//! HAProxy for real, in namespaces of its own: needs root.

mod support;

mod balancing;
mod faults;
