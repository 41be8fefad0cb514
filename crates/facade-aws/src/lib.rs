//! AWS's protocol in, Corten's kinds out, errors mapped back: EC2, ELBv2, Auto Scaling, CloudWatch, IAM and STS as their own clients speak them. Translation
//! only: no store, no driver, no state. What a caller does, he does as himself, through `client`.
//!
//! `http` takes a request apart and has it verified, `actions` is the table of all that is answered, `ec2`, `elb`,
//! `scaling` and `iam` have a file per family of actions. Nothing below `http` sees a request whose signature was not verified.

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;

mod actions;
mod authorize;
mod cloud;
mod context;
mod describe;
mod ec2;
mod elb;
mod failure;
mod http;
mod iam;
mod ids;
mod monitoring;
mod page;
mod params;
mod scaling;
mod sts;
mod tags;
mod xml;

pub use actions::documentation;
pub use cloud::{Cloud, KeyType, NewKey, Session};
pub use http::Aws;
pub use model::REGION;
