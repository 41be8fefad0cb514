//! Bodies: reading them within bounds, and making them.

use std::io;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use model::{ApiError, Reason};

/// The body of an answer.
pub type Body = BoxBody<Bytes, io::Error>;

/// Most bytes of a call's body (objects are at most 1 MiB; patches and YAML need a little more).
const CALL_MAX_BYTES: usize = 3 << 20;

/// The body of a call, which has an end.
pub async fn read(body: Incoming) -> Result<Bytes, ApiError> {
    match Limited::new(body, CALL_MAX_BYTES).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(e) if e.is::<LengthLimitError>() => Err(ApiError::new(
            Reason::RequestEntityTooLarge,
            format!("the body is larger than {CALL_MAX_BYTES} bytes"),
        )),
        Err(e) => Err(ApiError::bad_request(format!("the body could not be read: {e}"))),
    }
}

pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}
