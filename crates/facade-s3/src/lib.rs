//! S3's protocol in, objects and our Bucket kind out, errors mapped back. Translation only: bytes are `objects`'s, buckets are
//! made and removed through `client` as the caller, and who may do what is asked of the cloud.
//!
//! `guard` refuses what no verifier should have to think about, `s3s` verifies signatures and speaks the protocol,
//! `access` finds the caller's bucket and asks whether he may; only then one of the operations runs.

mod access;
mod cloud;
mod failure;
mod guard;
mod intake;
mod operations;
mod service;
mod words;

pub use cloud::Cloud;
pub use service::S3;
