//! S3's protocol in, objects and our Bucket kind out, errors mapped back. Translation only: bytes are `objects`'s, buckets are
//! made and changed through `client`, and who may do what is asked of the cloud.
//!
//! `guard` refuses what no verifier should have to think about, `s3s` verifies signatures and speaks the protocol,
//! `access` finds the caller's bucket and asks whether he may; only then one of the `operations` runs.

#![expect(clippy::unused_async, reason = "the table of operations awaits each of them")]
#![allow(clippy::wildcard_imports, reason = "the protocol's types are many, and carry its own names")]

mod access;
mod acl;
mod actions;
mod bucket;
mod cloud;
mod copying;
mod cors;
mod ending;
mod failure;
mod guard;
mod intake;
mod keeping;
mod lifecycle;
mod listing;
mod locks;
mod multipart;
mod operations;
mod permission;
mod reading;
mod sealing;
mod service;
mod settings;
mod tagging;
mod words;
mod writing;

pub use cloud::Cloud;
pub use service::S3;
