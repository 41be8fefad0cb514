//! HAProxy for real, in namespaces of its own: needs root.

#![allow(clippy::unwrap_used, reason = "helpers of tests, too")]

mod support;

mod balancing;
mod faults;
