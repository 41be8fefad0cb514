//! nf_tables of the running kernel, in network namespaces of their own. Needs root, and `nft` as the second
//! opinion on what was made.

#![allow(clippy::unwrap_used, reason = "helpers of tests, too")]

mod batches;
mod listings;
mod support;
mod tables;
