//! The scheduler as its users see it: against a reference that scans everything, and in sentences.

mod bindings;
mod preemption;
mod properties;
mod reference;
mod sentences;
mod world;
