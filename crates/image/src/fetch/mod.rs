//! Downloads: one file over HTTP into the cache's staging area, resumed where it broke off, held against its
//! declared digest. Owns retries and limits; [`egress`] owns where a connection may go.

mod egress;

use std::io::{self, Read, Write};
use std::thread;
use std::time::Duration;

use ureq::http::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_RANGE, LAST_MODIFIED, RANGE,
};
use ureq::http::{HeaderMap, Response, StatusCode};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body};

use crate::cache::{Arrival, Cache, CacheError, Staging};
use crate::digest::Digest;
use crate::task::Task;

pub use egress::{Egress, EgressError, Network};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
const RESPONSE_TIMEOUT: Duration = Duration::from_mins(1);
/// A source that sends nothing for this long is gone.
const STALL_TIMEOUT: Duration = Duration::from_mins(1);
const REDIRECTS_MAX: u32 = 5;
/// Attempts in a row that bring no byte.
const FRUITLESS_MAX: u32 = 4;
const FRUITLESS_PAUSE: Duration = Duration::from_millis(500);
const CHUNK: usize = 256 << 10;

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("{url:?} is not a download address; begin with https:// or http://")]
    Scheme { url: String },
    #[error(transparent)]
    Egress(#[from] EgressError),
    #[error("{url} answers {status}")]
    Status { url: String, status: u16 },
    #[error("{url} is larger than the {max} bytes allowed here")]
    TooLarge { url: String, max: u64 },
    #[error("cannot download {url}")]
    Http { url: String, source: Box<ureq::Error> },
    #[error("the download of {url} breaks off again and again")]
    Broken { url: String, source: io::Error },
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error("the download was cancelled")]
    Cancelled,
}

/// Downloads `url` into the cache's staging area: at most `size_max` bytes, with the declared digest if one is
/// given.
pub fn fetch(
    cache: &Cache,
    url: &str,
    sha256: Option<Digest>,
    size_max: u64,
    egress: &Egress,
    task: &Task,
) -> Result<Arrival, FetchError> {
    if !["https://", "http://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(FetchError::Scheme { url: url.to_owned() });
    }
    let download = Download { agent: agent(egress), url, size_max, is_declared: sha256.is_some(), task };
    let mut staging = cache.stage()?;
    download.run(&mut staging)?;
    Ok(staging.finish(sha256)?)
}

/// An HTTP client that goes only where `egress` permits.
pub(crate) fn agent(egress: &Egress) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(REDIRECTS_MAX)
        .max_redirects_will_error(true)
        // A proxy would resolve names in our place, past the check.
        .proxy(None)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_resolve(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(RESPONSE_TIMEOUT))
        .timeout_per_read(Some(STALL_TIMEOUT))
        .build();
    Agent::with_parts(config, DefaultConnector::default(), egress.clone())
}

struct Download<'a> {
    agent: Agent,
    url: &'a str,
    size_max: u64,
    is_declared: bool,
    task: &'a Task,
}

/// How one attempt ended.
enum Attempt {
    Complete,
    /// The source may be asked for the rest.
    Interrupted(FetchError),
}

impl Download<'_> {
    fn run(&self, staging: &mut Staging) -> Result<(), FetchError> {
        let mut fruitless = 0;
        let mut validator = None;
        loop {
            let before = staging.written();
            let error = match self.attempt(staging, &mut validator)? {
                Attempt::Complete => return Ok(()),
                Attempt::Interrupted(error) => error,
            };
            if staging.written() > before {
                fruitless = 0;
                continue;
            }
            fruitless += 1;
            if fruitless >= FRUITLESS_MAX {
                return Err(error);
            }
            thread::sleep(FRUITLESS_PAUSE * 2_u32.pow(fruitless));
        }
    }

    /// Asks for what is missing and writes it.
    fn attempt(&self, staging: &mut Staging, validator: &mut Option<String>) -> Result<Attempt, FetchError> {
        // The rest may be glued to the start only if something tells that both are of one file.
        if staging.written() > 0 && validator.is_none() && !self.is_declared {
            staging.restart()?;
        }
        let at = staging.written();
        let response = match self.request(at, validator.as_deref()) {
            Ok(response) => response,
            Err(ureq::Error::Other(other)) => {
                return match other.downcast::<EgressError>() {
                    Ok(egress) => Err((*egress).into()),
                    Err(other) => Err(self.http(ureq::Error::Other(other))),
                };
            }
            Err(error @ (ureq::Error::Io(_) | ureq::Error::Timeout(_) | ureq::Error::Protocol(_))) => {
                return Ok(Attempt::Interrupted(self.http(error)));
            }
            Err(error) => return Err(self.http(error)),
        };
        match response.status() {
            StatusCode::OK => {
                // The whole file, even if only a part was asked for: it changed, or the source knows no parts.
                if at > 0 {
                    staging.restart()?;
                }
                *validator = strong_validator(response.headers());
            }
            StatusCode::PARTIAL_CONTENT if at > 0 && starts_at(response.headers(), at) => {}
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                return Ok(Attempt::Interrupted(self.status(status)));
            }
            // The part asked for does not exist: the file shrank. Begin again.
            status @ (StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::PARTIAL_CONTENT) if at > 0 => {
                staging.restart()?;
                *validator = None;
                return Ok(Attempt::Interrupted(self.status(status)));
            }
            status => return Err(self.status(status)),
        }
        self.receive(response, staging)
    }

    fn request(&self, at: u64, validator: Option<&str>) -> Result<Response<Body>, ureq::Error> {
        // Encoded bytes would be neither what the digest is of nor countable in ranges.
        let mut request = self.agent.get(self.url).header(ACCEPT_ENCODING, "identity");
        if at > 0 {
            request = request.header(RANGE, format!("bytes={at}-"));
            if let Some(validator) = validator {
                request = request.header(IF_RANGE, validator);
            }
        }
        request.call()
    }

    fn receive(&self, response: Response<Body>, staging: &mut Staging) -> Result<Attempt, FetchError> {
        let too_large = || FetchError::TooLarge { url: self.url.to_owned(), max: self.size_max };
        let length = number(response.headers(), CONTENT_LENGTH.as_str());
        let total = length.map(|length| staging.written().saturating_add(length));
        if total.is_some_and(|total| total > self.size_max) {
            return Err(too_large());
        }
        let mut body = response.into_body().into_with_config().limit(u64::MAX).reader();
        let mut chunk = vec![0; CHUNK];
        loop {
            if self.task.cancel.is_cancelled() {
                return Err(FetchError::Cancelled);
            }
            let n = match body.read(&mut chunk) {
                Ok(0) if total.is_none_or(|total| staging.written() == total) => {
                    return Ok(Attempt::Complete);
                }
                Ok(0) => return Ok(Attempt::Interrupted(self.broken(io::ErrorKind::UnexpectedEof.into()))),
                Ok(n) => n,
                Err(source) => return Ok(Attempt::Interrupted(self.broken(source))),
            };
            if staging.written() + n as u64 > self.size_max {
                return Err(too_large());
            }
            staging.write_all(&chunk[..n]).map_err(|source| staging.failed(source))?;
            self.task.report(staging.written(), total);
        }
    }

    fn http(&self, source: ureq::Error) -> FetchError {
        FetchError::Http { url: self.url.to_owned(), source: Box::new(source) }
    }

    fn status(&self, status: StatusCode) -> FetchError {
        FetchError::Status { url: self.url.to_owned(), status: status.as_u16() }
    }

    fn broken(&self, source: io::Error) -> FetchError {
        FetchError::Broken { url: self.url.to_owned(), source }
    }
}

/// What `If-Range` may carry (RFC 9110, 13.1.5): a strong entity tag, or a date.
fn strong_validator(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::to_owned);
    text(ETAG).filter(|tag| !tag.starts_with("W/")).or_else(|| text(LAST_MODIFIED))
}

/// Whether a partial answer begins at byte `at`: `bytes AT-LAST/TOTAL`.
fn starts_at(headers: &HeaderMap, at: u64) -> bool {
    let range = headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    range
        .and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.trim().parse::<u64>().ok())
        .is_some_and(|first| first == at)
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}
