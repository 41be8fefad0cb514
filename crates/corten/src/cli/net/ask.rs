//! Asking hosts whether they have a VPC as it should be.

use client::networks::NetworkCheck;
use http_body_util::{BodyExt, Limited};
use model::network::Vpc;

use crate::cli::api::Cloud;
use crate::cli::kind::{self, Target};
use crate::failure::Failure;

/// Most bytes of one host's answer.
const ANSWER_MAX_BYTES: usize = 16 << 20;

/// A host's word on a VPC of a project.
pub(super) async fn check(
    cloud: &Cloud,
    project: &str,
    vpc: &str,
    host: &str,
    repair: bool,
) -> Result<NetworkCheck, Failure> {
    let target = Target::new(kind::of::<Vpc>(), vpc)?;
    let path = target.kind.info.path(Some(project), Some(target.name));
    let path = format!("{path}/check?host={}&repair={repair}", client::percent_encode(host));
    let body = Limited::new(cloud.get(&path, "application/json").await?.into_body(), ANSWER_MAX_BYTES);
    let answer = body.collect().await;
    let answer = answer.map_err(|e| Failure::failed(format!("the answer of host {host} broke off: {e}")))?;
    serde_json::from_slice(&answer.to_bytes())
        .map_err(|e| Failure::failed(format!("the answer of host {host} cannot be read: {e}")))
}
