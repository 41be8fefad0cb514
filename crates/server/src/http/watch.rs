//! Watches on the wire: one JSON object a line, as long as the watch lasts.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use client::{WatchEvent, WatchStream};
use futures::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use model::{ApiError, KindEntry, Timestamp};

use super::body::Body;
use super::table;

/// How events are to be written.
pub(crate) struct Form {
    pub(crate) kind: &'static KindEntry,
    /// As tables, with this `includeObject`.
    pub(crate) table: Option<String>,
    pub(crate) now: Box<dyn Fn() -> Timestamp + Send + Sync>,
}

pub(crate) fn body(events: WatchStream, form: Form) -> Body {
    let mut first = true;
    let frames = events.map(move |event| {
        let line = event.and_then(|event| line(&event, &form, std::mem::take(&mut first)));
        let line = line.unwrap_or_else(|e| error_line(&e));
        Ok::<_, io::Error>(Frame::data(line))
    });
    BodyExt::boxed(StreamBody::new(SyncStream::new(frames)))
}

fn line(event: &WatchEvent, form: &Form, first: bool) -> Result<Bytes, ApiError> {
    let object = match &form.table {
        Some(include) => table::from_event(form.kind, event, include, first, (form.now)())?,
        None => event.object.clone(),
    };
    let mut out = BytesMut::with_capacity(object.len() + 40);
    out.put_slice(b"{\"type\":\"");
    out.put_slice(event.kind.as_str().as_bytes());
    out.put_slice(b"\",\"object\":");
    out.put_slice(&object);
    out.put_slice(b"}\n");
    Ok(out.freeze())
}

fn error_line(error: &ApiError) -> Bytes {
    format!("{{\"type\":\"ERROR\",\"object\":{}}}\n", error.to_json()).into()
}

/// Bodies must be `Sync`, though only one task ever reads one: a lock that is never contended makes it so.
pub(crate) struct SyncStream<S>(parking_lot::Mutex<S>);

impl<S> SyncStream<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self(parking_lot::Mutex::new(stream))
    }
}

impl<S: futures::Stream + Unpin> futures::Stream for SyncStream<S> {
    type Item = S::Item;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<S::Item>> {
        self.get_mut().0.get_mut().poll_next_unpin(context)
    }
}
