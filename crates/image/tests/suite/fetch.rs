//! Downloads: resumed, bounded, verified, and never to a place they may not go.

use std::sync::{Arc, Mutex};

use image::{Cache, Digest, Egress, FetchError, Task, fetch};

use crate::server::{Server, answer, serve};

const SIZE_MAX: u64 = 1 << 20;

struct Case {
    _dir: tempfile::TempDir,
    cache: Cache,
    loopback: Egress,
}

fn case() -> Case {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    Case { _dir: dir, cache, loopback: Egress::allowing(["127.0.0.0/8".parse().unwrap()]) }
}

impl Case {
    fn fetch(&self, server: &Server, sha256: Option<Digest>) -> Result<Vec<u8>, FetchError> {
        let task = Task::default();
        let arrival = fetch(&self.cache, &server.url, sha256, SIZE_MAX, &self.loopback, &task)?;
        Ok(std::fs::read(arrival.path()).unwrap())
    }
}

#[test]
fn a_download_that_breaks_off_goes_on_where_it_stopped() {
    let server = serve(vec![
        answer("200 OK", &["Content-Length: 10", "ETag: \"one\""], b"01234"),
        answer("206 Partial Content", &["Content-Length: 5", "Content-Range: bytes 5-9/10"], b"56789"),
    ]);
    let bytes = case().fetch(&server, Some(Digest::of(b"0123456789"))).unwrap();
    assert_eq!(bytes, b"0123456789");
    let requests = server.requests();
    assert!(!requests[0].iter().any(|line| line.starts_with("range")), "{requests:?}");
    assert!(requests[1].contains(&"range: bytes=5-".into()), "{requests:?}");
    assert!(requests[1].contains(&"if-range: \"one\"".into()), "{requests:?}");
}

#[test]
fn a_file_that_changed_meanwhile_is_fetched_anew() {
    let server = serve(vec![
        answer("200 OK", &["Content-Length: 10", "ETag: \"one\""], b"01234"),
        answer("200 OK", &["Content-Length: 3", "ETag: \"two\""], b"new"),
    ]);
    assert_eq!(case().fetch(&server, None).unwrap(), b"new");
}

#[test]
fn nothing_is_glued_together_without_proof() {
    // No validator and no digest: the second request must ask for the whole file.
    let server = serve(vec![
        answer("200 OK", &["Content-Length: 10"], b"01234"),
        answer("200 OK", &["Content-Length: 10"], b"abcdefghij"),
    ]);
    assert_eq!(case().fetch(&server, None).unwrap(), b"abcdefghij");
    let requests = server.requests();
    assert!(!requests[1].iter().any(|line| line.starts_with("range")), "{requests:?}");
}

#[test]
fn other_bytes_than_declared_are_refused() {
    let server = serve(vec![answer("200 OK", &["Content-Length: 3"], b"abd")]);
    let error = case().fetch(&server, Some(Digest::of(b"abc"))).unwrap_err();
    assert!(error.to_string().contains("was declared"), "{error}");
}

#[test]
fn more_bytes_than_allowed_are_refused() {
    let announced = serve(vec![answer("200 OK", &["Content-Length: 99999999"], b"")]);
    assert!(matches!(case().fetch(&announced, None), Err(FetchError::TooLarge { .. })));
    let body = vec![b'x'; (1 << 20) + 1];
    let endless = serve(vec![answer("200 OK", &[], &body)]);
    assert!(matches!(case().fetch(&endless, None), Err(FetchError::TooLarge { .. })));
}

#[test]
fn what_the_server_refuses_is_said() {
    let server = serve(vec![answer("404 Not Found", &["Content-Length: 0"], b"")]);
    let error = case().fetch(&server, None).unwrap_err();
    assert_eq!(error.to_string(), format!("{} answers 404", server.url));
}

#[test]
fn a_private_address_is_refused_before_a_byte_is_sent() {
    let server = serve(vec![answer("200 OK", &["Content-Length: 6"], b"secret")]);
    let case = case();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"] {
        let url = server.url.replace("127.0.0.1", host);
        let error = fetch(&case.cache, &url, None, SIZE_MAX, &Egress::default(), &Task::default());
        let error = error.unwrap_err();
        assert!(matches!(error, FetchError::Egress(_)), "{host}: {error}");
    }
    assert!(server.requests().is_empty());
}

#[test]
fn a_redirect_is_checked_like_the_first_address() {
    let secret = serve(vec![answer("200 OK", &["Content-Length: 6"], b"secret")]);
    // 127.0.0.2 is as reachable as 127.0.0.1, but only the latter is allowed here.
    let elsewhere = format!("Location: {}", secret.url.replace("127.0.0.1", "127.0.0.2"));
    let server = serve(vec![answer("302 Found", &[&elsewhere, "Content-Length: 0"], b"")]);
    let case = Case { loopback: Egress::allowing(["127.0.0.1/32".parse().unwrap()]), ..case() };
    let error = case.fetch(&server, None).unwrap_err();
    assert!(matches!(error, FetchError::Egress(_)), "{error}");
    assert!(secret.requests().is_empty());
}

#[test]
fn a_redirect_to_another_scheme_is_refused() {
    let server =
        serve(vec![answer("302 Found", &["Location: file:///etc/shadow", "Content-Length: 0"], b"")]);
    assert!(case().fetch(&server, None).is_err());
    let case = case();
    let error =
        fetch(&case.cache, "file:///etc/shadow", None, SIZE_MAX, &Egress::default(), &Task::default());
    assert!(matches!(error, Err(FetchError::Scheme { .. })));
}

#[test]
fn a_ring_of_redirects_ends() {
    let again = |n: usize| answer("302 Found", &[&format!("Location: /{n}"), "Content-Length: 0"], b"");
    let server = serve((0..20).map(again).collect());
    assert!(case().fetch(&server, None).is_err());
    assert_eq!(server.requests().len(), 6, "the first request and five redirects");
}

#[test]
fn progress_is_told_and_cancelling_stops() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let task = Task::new(move |progress| sink.lock().unwrap().push((progress.done, progress.total)));
    let server = serve(vec![answer("200 OK", &["Content-Length: 3"], b"abc")]);
    let case = case();
    fetch(&case.cache, &server.url, None, SIZE_MAX, &case.loopback, &task).unwrap();
    assert_eq!(seen.lock().unwrap().last(), Some(&(3, Some(3))));

    task.cancel.cancel();
    let server = serve(vec![answer("200 OK", &["Content-Length: 3"], b"abc")]);
    let error = fetch(&case.cache, &server.url, None, SIZE_MAX, &case.loopback, &task).unwrap_err();
    assert!(matches!(error, FetchError::Cancelled), "{error}");
}
