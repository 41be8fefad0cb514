//! The end of a body of signed chunks. The verifier takes a body for whole that stops after any of its chunks; here it
//! has to end with the one that has no bytes, whose signature the verifier then compares.

use bytes::Bytes;
use futures::StreamExt;
use http::request::Parts;
use http_body_util::{BodyStream, StreamBody};
use hyper::body::{Frame, Incoming};
use s3s::Body;

const SIGNED_CHUNKS: &[u8] = b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
/// How the last chunk begins, after the line before it.
const LAST: &[u8] = b"\r\n0;chunk-signature=";
/// The last chunk with its signature, and the line before it.
const TAIL_BYTES: usize = 128;

#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the body ended before its last chunk")]
    TooEarly,
    #[error("the body could not be read: {0}")]
    Wire(hyper::Error),
}

/// A body that fails where it ends too early.
pub(crate) fn checked(head: &Parts, body: Incoming) -> Body {
    let is_chunked =
        head.headers.get("x-amz-content-sha256").is_some_and(|value| value.as_bytes() == SIGNED_CHUNKS);
    if !is_chunked {
        return Body::from(body);
    }
    // An empty object is the last chunk alone.
    let start = (BodyStream::new(body), b"\r\n".to_vec());
    let frames = futures::stream::unfold(Some(start), |state| async move {
        let (mut frames, mut tail) = state?;
        match frames.next().await {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    keep(&mut tail, data);
                }
                Some((Ok(frame), Some((frames, tail))))
            }
            Some(Err(e)) => Some((Err(Broken::Wire(e)), None)),
            None if ends(&tail) => None,
            None => Some((Err::<Frame<Bytes>, Broken>(Broken::TooEarly), None)),
        }
    });
    Body::http_body_unsync(StreamBody::new(frames))
}

fn keep(tail: &mut Vec<u8>, data: &[u8]) {
    tail.extend_from_slice(&data[data.len().saturating_sub(TAIL_BYTES)..]);
    tail.drain(..tail.len().saturating_sub(TAIL_BYTES));
}

fn ends(tail: &[u8]) -> bool {
    tail.windows(LAST.len()).any(|window| window == LAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_ends_with_a_chunk_of_nothing() {
        let last = format!("0;chunk-signature={}\r\n\r\n", "a".repeat(64));
        let whole = format!("5;chunk-signature={}\r\nhello\r\n{last}", "b".repeat(64));
        for (text, expected) in
            [(last.as_str(), true), (&whole, true), (&whole[..whole.len() - last.len()], false)]
        {
            for size in [1, 7, 4096] {
                let mut tail = b"\r\n".to_vec();
                text.as_bytes().chunks(size).for_each(|data| keep(&mut tail, data));
                assert_eq!(ends(&tail), expected, "{text:?} by {size}");
            }
        }
    }
}
