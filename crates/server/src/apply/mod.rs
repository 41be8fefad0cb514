//! Server-side apply: many hands on one object, each owning the fields it states. Pure functions over JSON values,
//! guided by the kind's schema (Kubernetes KEP-555, structured merge and diff).
//!
//! Departures from Kubernetes, on purpose: an object that nobody tracked has no owner, so the first to apply
//! meets no conflict; and what nobody owns stays when an owner lets go of its neighbours, because the cloud's own
//! components write without being tracked. Nulls in an applied object count as not stated.

mod fields;
mod managers;
mod merge;
mod server_side;
mod shape;

pub(crate) use server_side::{Apply, Update, apply, track_update};

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
