//! Pulling from a registry: the OCI distribution API, read only.
//!
//! The caller brings the HTTP agent, for it is the caller who knows which addresses may be talked to. A
//! registry is named in full; there is no default one.

use std::collections::HashMap;
use std::fmt;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use serde::Deserialize;
use ureq::Agent;
use ureq::http::StatusCode;

use super::archive::{self, Documents, Imported};
use super::document::{
    DOCKER_INDEX_TYPE, DOCKER_MANIFEST_TYPE, Descriptor, INDEX_TYPE, Index, MANIFEST_TYPE, parse,
    parse_digest,
};
use super::error::OciError;
use super::import::{pick, read_bounded};
use super::limits::Limits;
use super::source::verify;
use crate::digest::Digest;

/// Longest answer of a token server.
const TOKEN_BYTES_MAX: u64 = 64 << 10;

/// `HOST[:PORT]/REPOSITORY[:TAG|@sha256:HEX]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub host: String,
    pub repository: String,
    pub version: Version,
}

/// Which manifest of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Version {
    Tag(String),
    Digest(Digest),
}

/// For registries that ask who calls.
#[derive(Clone)]
pub struct Credentials {
    pub user: String,
    pub password: String,
}

/// One image to pull.
#[derive(Debug, Clone)]
pub struct PullRequest {
    pub reference: Reference,
    pub credentials: Option<Credentials>,
    /// Speak HTTP without TLS: for registries on this very host.
    pub plain_http: bool,
}

/// Fetches an image and writes the archive to `to`.
pub fn pull(agent: &Agent, request: &PullRequest, to: &Path, limits: &Limits) -> Result<Imported, OciError> {
    let mut registry = Registry { agent, request, authorization: None };
    let (descriptor, manifest) = registry.manifest(limits)?;
    let documents = Documents::new(descriptor, manifest, limits, |config| {
        let bytes = read_bounded(registry.blob(config.digest)?, "configuration", limits.document_bytes)?;
        verify("configuration", config.digest, Digest::of(&bytes)).map(|()| bytes)
    })?;
    archive::write(to, documents, |layer| Ok(Box::new(registry.blob(layer.digest)?)))
}

struct Registry<'a> {
    agent: &'a Agent,
    request: &'a PullRequest,
    /// Learned from the first refusal.
    authorization: Option<String>,
}

#[derive(Deserialize)]
struct Token {
    #[serde(alias = "access_token")]
    token: String,
}

impl Registry<'_> {
    /// The verified manifest for this host.
    fn manifest(&mut self, limits: &Limits) -> Result<(Descriptor, Vec<u8>), OciError> {
        let (version, expected) = match &self.request.reference.version {
            Version::Tag(tag) => (tag.clone(), None),
            Version::Digest(digest) => (format!("sha256:{digest}"), Some(*digest)),
        };
        let found = self.document(&version, expected, limits)?;
        if !found.0.is_index() {
            return Ok(found);
        }
        let index: Index = parse("image index", &found.1)?;
        let chosen = pick(index.manifests, None)?;
        self.document(&format!("sha256:{}", chosen.digest), Some(chosen.digest), limits)
    }

    fn document(
        &mut self,
        version: &str,
        expected: Option<Digest>,
        limits: &Limits,
    ) -> Result<(Descriptor, Vec<u8>), OciError> {
        let accept = [MANIFEST_TYPE, DOCKER_MANIFEST_TYPE, INDEX_TYPE, DOCKER_INDEX_TYPE].join(", ");
        let response = self.get(&format!("manifests/{version}"), &accept)?;
        let media_type =
            response.headers().get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
        let bytes = read_bounded(response.into_body().into_reader(), "manifest", limits.document_bytes)?;
        let found = Digest::of(&bytes);
        verify(&format!("manifest {version}"), expected.unwrap_or(found), found)?;
        Ok((Descriptor::new(&media_type, found, bytes.len() as u64), bytes))
    }

    /// A blob as it comes, unverified.
    fn blob(&mut self, digest: Digest) -> Result<impl Read + 'static, OciError> {
        Ok(self.get(&format!("blobs/sha256:{digest}"), "*/*")?.into_body().into_reader())
    }

    fn get(&mut self, path: &str, accept: &str) -> Result<ureq::http::Response<ureq::Body>, OciError> {
        let Reference { host, repository, .. } = &self.request.reference;
        let scheme = if self.request.plain_http { "http" } else { "https" };
        let url = format!("{scheme}://{host}/v2/{repository}/{path}");
        let mut response = self.send(&url, accept, self.authorization.as_deref())?;
        if response.status() == StatusCode::UNAUTHORIZED {
            let challenge = response.headers().get("www-authenticate").and_then(|v| v.to_str().ok());
            let authorization = self.authorize(challenge.unwrap_or_default())?;
            response = self.send(&url, accept, Some(&authorization))?;
            self.authorization = Some(authorization);
        }
        match response.status() {
            StatusCode::OK => Ok(response),
            StatusCode::NOT_FOUND => Err(self.failed(format!("{repository} has no {path}"))),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(self.failed(format!("{repository} is not readable with these credentials")))
            }
            status => Err(self.failed(format!("GET {path}: {status}"))),
        }
    }

    fn send(
        &self,
        url: &str,
        accept: &str,
        authorization: Option<&str>,
    ) -> Result<ureq::http::Response<ureq::Body>, OciError> {
        let mut request = self.agent.get(url).header("accept", accept);
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        // The agent's own rule for redirects takes credentials away from another host.
        request.config().http_status_as_error(false).build().call().map_err(|e| self.failed(e))
    }

    /// What to say after a refusal, by RFC 7617 or the distribution project's token protocol.
    fn authorize(&self, challenge: &str) -> Result<String, OciError> {
        let basic = self.request.credentials.as_ref().map(Credentials::basic);
        let (scheme, fields) = parse_challenge(challenge);
        if scheme.eq_ignore_ascii_case("basic") {
            return basic.ok_or_else(|| self.failed("it wants a user and a password"));
        }
        let Some(realm) = fields.get("realm").filter(|_| scheme.eq_ignore_ascii_case("bearer")) else {
            return Err(self.failed(format!("it asks for an unknown authentication: {challenge:?}")));
        };
        if !self.request.plain_http && !realm.starts_with("https://") {
            return Err(self.failed("its token server is not reached over TLS"));
        }
        let mut request = self.agent.get(realm);
        let scope = format!("repository:{}:pull", self.request.reference.repository);
        if let Some(service) = fields.get("service") {
            request = request.query("service", service);
        }
        request = request.query("scope", fields.get("scope").unwrap_or(&scope));
        if let Some(basic) = basic {
            request = request.header("authorization", basic);
        }
        let response = request.call().map_err(|e| self.failed(format!("its token server: {e}")))?;
        let bytes = read_bounded(response.into_body().into_reader(), "token", TOKEN_BYTES_MAX)?;
        let token: Token = parse("token", &bytes)?;
        Ok(format!("Bearer {}", token.token))
    }

    fn failed(&self, why: impl fmt::Display) -> OciError {
        OciError::Registry { host: self.request.reference.host.clone(), why: why.to_string() }
    }
}

impl Credentials {
    fn basic(&self) -> String {
        use base64::Engine;
        let pair = format!("{}:{}", self.user, self.password);
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}, ...)", self.user)
    }
}

impl FromStr for Reference {
    type Err = OciError;

    fn from_str(text: &str) -> Result<Self, OciError> {
        let wrong = || OciError::Choice(format!("{text:?} is no image reference; write HOST/NAME:TAG"));
        let (host, rest) = text.split_once('/').ok_or_else(wrong)?;
        let (repository, version) = match rest.split_once('@') {
            Some((name, digest)) => {
                let name = name.split(':').next().unwrap_or(name);
                (name, Version::Digest(parse_digest(digest).map_err(|_| wrong())?))
            }
            None => match rest.rsplit_once(':') {
                Some((name, tag)) => (name, Version::Tag(tag.to_owned())),
                None => (rest, Version::Tag("latest".to_owned())),
            },
        };
        let is_host = (host.contains(['.', ':']) || host == "localhost")
            && host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b':' | b'-' | b'[' | b']'));
        let is_part = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
        };
        let is_tag = |tag: &str| {
            (1..=128).contains(&tag.len())
                && !tag.starts_with(['.', '-'])
                && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        let tag_is_right = match &version {
            Version::Tag(tag) => is_tag(tag),
            Version::Digest(_) => true,
        };
        if !is_host || !repository.split('/').all(is_part) || !tag_is_right {
            return Err(wrong());
        }
        Ok(Self { host: host.to_owned(), repository: repository.to_owned(), version })
    }
}

/// The scheme and the `key="value"` fields of a `WWW-Authenticate` header.
fn parse_challenge(text: &str) -> (&str, HashMap<&str, String>) {
    let (scheme, mut rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    let mut fields = HashMap::new();
    while let Some((key, after)) = rest.split_once("=\"") {
        let Some((value, next)) = after.split_once('"') else { break };
        fields.insert(key.trim_matches([',', ' ']), value.to_owned());
        rest = next;
    }
    (scheme, fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(&str, &str, &str)>) {
        let found = text.parse::<Reference>().ok().map(|r| {
            let version = match r.version {
                Version::Tag(tag) => tag,
                Version::Digest(digest) => digest.to_string()[..4].to_owned(),
            };
            (r.host, r.repository, version)
        });
        let expected = expected.map(|(h, r, v)| (h.to_owned(), r.to_owned(), v.to_owned()));
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn references_are_read_in_full() {
        check("registry.example.org/a/b:1.2", Some(("registry.example.org", "a/b", "1.2")));
        check("localhost:5000/a", Some(("localhost:5000", "a", "latest")));
        let digest = format!("r.example.org/a@sha256:{}", "ab".repeat(32));
        check(&digest, Some(("r.example.org", "a", "abab")));
    }

    #[test]
    fn what_could_become_another_url_is_no_reference() {
        for text in [
            "busybox",
            "library/busybox",
            "r.example.org/../x",
            "r.example.org/a?b",
            "u@r.example.org/a",
            "r.example.org/a:",
            "r.example.org/A",
            "r.example.org/a:t/../../x",
            "r.example.org//a",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn challenges_are_split() {
        let (scheme, fields) =
            parse_challenge(r#"Bearer realm="https://a/token",service="r",scope="x:y:pull,push""#);
        assert_eq!(
            (scheme, fields["realm"].as_str(), fields["scope"].as_str()),
            ("Bearer", "https://a/token", "x:y:pull,push")
        );
    }
}
