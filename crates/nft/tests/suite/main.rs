//! nf_tables of the running kernel, in network namespaces of their own. Needs root, and `nft` as the second
//! opinion on what was made.

mod batches;
mod listings;
mod support;
mod tables;
