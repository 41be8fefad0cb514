//! Files on their way to the server.

use client::https::Body;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::progress::{Progress, transferred};

/// How many bytes of a file are read at once.
const CHUNK: usize = 256 * 1024;

pub(crate) type Reader = Box<dyn AsyncRead + Send + Sync + Unpin>;

/// A file as a body that says how far it has come; `what` it is.
pub(crate) fn body(reader: Reader, total: u64, what: &'static str, quiet: bool) -> Body {
    let state = (reader, 0_u64, Progress::new(quiet));
    let frames = futures::stream::unfold(state, move |(mut reader, sent, mut progress)| async move {
        let mut chunk = vec![0; CHUNK];
        match reader.read(&mut chunk).await {
            Ok(0) => None,
            Ok(n) => {
                chunk.truncate(n);
                let sent = sent + n as u64;
                progress.say(&format!("sending the {what}: {}", transferred(sent, total)));
                Some((Ok(Frame::data(chunk.into())), (reader, sent, progress)))
            }
            Err(e) => Some((Err(e), (reader, sent, progress))),
        }
    });
    BodyExt::boxed(StreamBody::new(Shared(std::sync::Mutex::new(Box::pin(frames)))))
}

/// Bodies must be `Sync`, though only one task ever reads one: a lock that is never contended makes it so.
struct Shared<S>(std::sync::Mutex<S>);

impl<S: futures::Stream + Unpin> futures::Stream for Shared<S> {
    type Item = S::Item;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<S::Item>> {
        let stream = self.get_mut().0.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        std::pin::Pin::new(stream).poll_next(context)
    }
}
