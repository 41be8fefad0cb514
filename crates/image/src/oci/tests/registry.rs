//! A pull from a registry that asks for a token, sends one platform of several, and may lie.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use crate::digest::Digest;
use crate::oci::source::Source;
use crate::oci::{Limits, OciError, PullRequest, build, inspect, pull};

const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";

/// Serves these paths to whoever has fetched a token first.
fn serve(files: HashMap<String, (String, Vec<u8>)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let host = listener.local_addr().expect("address").to_string();
    let (files, own) = (Arc::new(files), host.clone());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (files, own) = (Arc::clone(&files), own.clone());
            thread::spawn(move || answer(stream, &files, &own));
        }
    });
    host
}

fn answer(mut stream: TcpStream, files: &HashMap<String, (String, Vec<u8>)>, host: &str) {
    let mut lines = BufReader::new(stream.try_clone().expect("stream")).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let path = first.split(' ').nth(1).unwrap_or_default();
    let knows = headers.iter().any(|line| line.eq_ignore_ascii_case("authorization: Bearer secret"));
    let (status, extra, body) = if path == "/token?service=demo&scope=repository%3Ateam%2Fapp%3Apull" {
        ("200 OK", String::new(), br#"{"token":"secret"}"#.to_vec())
    } else if !knows {
        let challenge =
            format!("www-authenticate: Bearer realm=\"http://{host}/token\",service=\"demo\"\r\n");
        ("401 Unauthorized", challenge, Vec::new())
    } else {
        match files.get(path) {
            Some((kind, body)) => ("200 OK", format!("content-type: {kind}\r\n"), body.clone()),
            None => ("404 Not Found", String::new(), Vec::new()),
        }
    };
    let head =
        format!("HTTP/1.1 {status}\r\n{extra}content-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
}

/// The busybox image as a registry has it, behind an index of two platforms.
fn files() -> HashMap<String, (String, Vec<u8>)> {
    let folder = tempfile::tempdir().expect("folder");
    let archive = folder.path().join("image");
    let imported = build::busybox(&archive).expect("build");
    let source = Source::open(&archive, &Limits::default()).expect("archive");
    let manifest = source.blob_document(imported.manifest, &Limits::default()).expect("manifest");
    let document: serde_json::Value = serde_json::from_slice(&manifest).expect("manifest");
    let mut files = HashMap::new();
    let mut blobs = vec![&document["config"]];
    blobs.extend(document["layers"].as_array().expect("layers"));
    for blob in blobs {
        let text = blob["digest"].as_str().expect("digest");
        let digest = text.strip_prefix("sha256:").and_then(|hex| hex.parse().ok()).expect("digest");
        let mut bytes = Vec::new();
        std::io::copy(&mut source.blob(digest).expect("blob").0, &mut bytes).expect("blob");
        files.insert(format!("/v2/team/app/blobs/{text}"), ("application/octet-stream".to_owned(), bytes));
    }
    let entry = |architecture: &str, digest: Digest| {
        serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": format!("sha256:{digest}"), "size": manifest.len(),
            "platform": { "os": "linux", "architecture": architecture },
        })
    };
    let here = crate::oci::import::architecture();
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [
        entry("s390x", Digest::of(b"other")), entry(here, imported.manifest),
    ]});
    files.insert(
        "/v2/team/app/manifests/v1".to_owned(),
        (INDEX_TYPE.to_owned(), index.to_string().into_bytes()),
    );
    let path = format!("/v2/team/app/manifests/sha256:{}", imported.manifest);
    files.insert(path, ("application/vnd.oci.image.manifest.v1+json".to_owned(), manifest));
    files
}

fn pull_from(host: &str, to: &std::path::Path, tag: &str) -> Result<crate::oci::Imported, OciError> {
    let request = PullRequest {
        reference: format!("{host}/team/app:{tag}").parse()?,
        credentials: None,
        plain_http: true,
    };
    pull(&ureq::Agent::new_with_defaults(), &request, to, &Limits::default())
}

#[test]
fn an_image_is_pulled_with_a_token() {
    let host = serve(files());
    let folder = tempfile::tempdir().expect("folder");
    let to = folder.path().join("pulled");
    pull_from(&host, &to, "v1").expect("pull");
    assert_eq!(inspect(&to, &Limits::default()).expect("inspect").cmd, ["sh"]);
    let missing = pull_from(&host, &to, "v2").expect_err("no such tag");
    assert!(missing.to_string().contains("team/app has no manifests/v2"), "{missing}");
}

#[test]
fn a_registry_that_lies_is_caught() {
    let honest = files();
    for path in honest.keys().filter(|path| path.contains("sha256:")) {
        let mut files = honest.clone();
        let bytes = &mut files.get_mut(path).expect("file").1;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        let folder = tempfile::tempdir().expect("folder");
        let to = folder.path().join("pulled");
        let result = pull_from(&serve(files), &to, "v1");
        assert!(matches!(result, Err(OciError::WrongDigest { .. })), "{path}: {result:?}");
        assert!(!to.exists());
    }
}
