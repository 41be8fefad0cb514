//! Calls of AWS's query protocol.

use bytes::Bytes;
use http_body_util::BodyExt;
use identity::Secret;
use identity::aws::{Signing, sha256};

use crate::Result;
use crate::line::{Line, Outgoing};

const VERSION: &str = "2016-11-15";
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// The host that moto takes for EC2's.
pub(super) const MOTO_HOST: &str = "ec2.us-east-1.amazonaws.com";

/// Moto takes any key.
pub(super) fn moto_key() -> Signing {
    Signing {
        access_key_id: "AKIABENCHBENCHBENCH0".into(),
        secret: Secret::new("secret"),
        region: "us-east-1".into(),
        service: "ec2".into(),
    }
}

/// Sends the parameters of a request, encoded. Any answer but success is an error.
pub(super) async fn call(line: &mut Line, parameters: &str) -> Result<String> {
    let body = format!("{parameters}&Version={VERSION}");
    let payload = sha256(body.as_bytes());
    let response = line
        .send(Outgoing {
            method: "POST",
            path: "/",
            query: "",
            header: ("content-type", FORM),
            payload: &payload,
            body: Bytes::from(body),
        })
        .await?;
    let status = response.status();
    let text = String::from_utf8(response.into_body().collect().await?.to_bytes().to_vec())?;
    if status.is_success() { Ok(text) } else { Err(format!("{status} to {parameters}: {text}").into()) }
}
