//! The scheduler as its users see it: against a reference that scans everything, and in sentences.

// Helpers of tests may panic as tests may.
#![allow(clippy::unwrap_used)]

mod bindings;
mod preemption;
mod properties;
mod reference;
mod sentences;
mod world;
