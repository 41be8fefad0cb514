//! The way of guests' connections from this host to the server: in this process, or over TLS to where it is.

use std::fmt;
use std::io;
use std::pin::Pin;

use agent::{Upstream, Way};
use async_trait::async_trait;
use client::https::Https;
use http::Method;
use identity::Principal;
use model::network::{Passage, VpcEndpoint};
use model::{ApiError, Reason, Resource};
use server::http::Face;

/// Bytes under way between a guest's relay and the server in the same process.
const PIPE: usize = 64 << 10;

/// The server of this process.
pub(crate) struct Here {
    face: Face,
    host: Principal,
}

impl Here {
    pub(crate) fn new(face: Face, host: Principal) -> Self {
        Self { face, host }
    }
}

impl fmt::Debug for Here {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Here").finish_non_exhaustive()
    }
}

#[async_trait]
impl Upstream for Here {
    async fn open(&self, passage: &Passage) -> io::Result<Pin<Box<dyn Way>>> {
        let admitted = self.face.admit(&self.host, passage.clone()).await;
        let (near, far) = tokio::io::duplex(PIPE);
        tokio::spawn(admitted.map_err(refusal)?.serve(far));
        Ok(Box::pin(near))
    }
}

/// A server elsewhere, which knows this host by its certificate.
#[derive(Debug)]
pub(crate) struct There {
    https: Https,
}

impl There {
    pub(crate) fn new(https: Https) -> Self {
        Self { https }
    }
}

#[async_trait]
impl Upstream for There {
    async fn open(&self, passage: &Passage) -> io::Result<Pin<Box<dyn Way>>> {
        let Passage { project, endpoint, uid, port, from } = passage;
        let object = VpcEndpoint::KIND.path(Some(project), Some(endpoint));
        let path = format!(
            "{object}/connect?uid={uid}&port={}&from={}",
            client::percent_encode(port),
            client::percent_encode(&from.to_string())
        );
        Ok(Box::pin(self.https.upgrade(Method::POST, &path).await.map_err(refusal)?))
    }
}

/// What is refused is refused for good; anything else may pass.
fn refusal(e: ApiError) -> io::Error {
    let kind = match e.reason {
        Reason::Forbidden | Reason::NotFound | Reason::BadRequest | Reason::TooManyRequests => {
            io::ErrorKind::PermissionDenied
        }
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, e)
}
