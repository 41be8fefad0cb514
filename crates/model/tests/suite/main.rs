//! The model as clients meet it: documents in and out, and what is said of those that are wrong.

// Helpers of tests are tests, too; the lint knows only functions marked as such.
#![allow(clippy::unwrap_used)]

mod conditions;
mod documents;
mod names;
mod network_samples;
mod network_values;
mod networks;
mod quantities;
mod samples;
mod selectors;
mod timestamps;
mod validation;
