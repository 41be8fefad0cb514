//! A signature as it was presented: found, held to the rules, and compared.

use std::collections::BTreeMap;

use model::Timestamp;
use ring::{digest, hmac};

use super::{EXPIRES_MAX_SECONDS, SKEW_MAX_SECONDS, canonical};
use crate::sealed::Secret;

pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SIGNATURE: &str = "X-Amz-Signature";
/// Most headers that one signature may cover.
const SIGNED_HEADERS_MAX: usize = 100;
/// What is said of each only once, or not at all.
const SINGLE_HEADERS: [&str; 6] =
    ["host", "authorization", "x-amz-date", "date", "x-amz-content-sha256", "x-amz-security-token"];

/// A request as it came over the wire.
#[derive(Debug, Clone)]
pub struct Message<'a> {
    pub method: &'a str,
    /// As it was sent, encoded.
    pub path: &'a str,
    /// As it was sent, without the question mark.
    pub query: &'a str,
    /// Names in lower case, in the order of the wire. `host` is among them, also where the protocol has another word.
    pub headers: Vec<(&'a str, &'a [u8])>,
    pub body: &'a [u8],
}

/// Why a signature is refused. Nothing here says whether a key exists.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("the request is not signed")]
    Missing,
    #[error("{0}")]
    Incomplete(String),
    #[error("{0}")]
    Expired(String),
    /// Of another region or service.
    #[error("{0}")]
    Scope(String),
    /// Temporary credentials whose time is over; only for who has signed rightly.
    #[error("The security token included in the request is expired")]
    ExpiredToken,
    /// The key is not known, or did not sign this.
    #[error("the access key or its signature is not valid")]
    Refused,
    /// Only for who has signed rightly.
    #[error("{0}")]
    NotUsable(String),
}

/// A signature and what it covers.
#[derive(Debug, Clone)]
pub struct Presented {
    pub access_key_id: String,
    pub region: String,
    pub service: String,
    /// The token of temporary credentials; signed, as everything else.
    pub token: Option<String>,
    /// Parameters of the query, decoded, without those of the signature.
    pub parameters: Vec<(String, String)>,
    day: String,
    signature: [u8; 32],
    /// What is signed.
    text: String,
}

/// The words of a signature, from either place.
struct Words<'a> {
    credential: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
    date: &'a str,
    /// In seconds; only for the query's form.
    expires: Option<&'a str>,
}

impl Presented {
    /// Whether a request claims to be signed in this way or an older one, by its head alone.
    pub fn is_claimed<'h>(query: &str, authorization: impl IntoIterator<Item = &'h [u8]>) -> bool {
        let by_header = authorization.into_iter().any(|value| value.starts_with(b"AWS"));
        let claims = |pair: &str| {
            ["X-Amz-Algorithm=", "X-Amz-Signature=", "X-Amz-Credential=", "AWSAccessKeyId="]
                .iter()
                .any(|key| pair.starts_with(key))
        };
        by_header || query.split('&').any(claims)
    }

    /// Finds the signature and holds it to every rule that needs no key.
    pub fn read(message: &Message<'_>, now: Timestamp) -> Result<Self, SignatureError> {
        let headers = gather(message)?;
        let pairs = canonical::query_pairs(message.query)?;
        let one = |name: &str| headers.get(name).and_then(|values| values.first()).map(Vec::as_slice);
        let header = one("authorization").map(text).transpose()?;
        let in_query = pairs.iter().any(|(key, _)| key.starts_with("X-Amz-"));
        let words = match (header, in_query) {
            (Some(_), true) => {
                return Err(incomplete(
                    "the request is signed in its header and in its query: keep one of them",
                ));
            }
            (Some(header), false) => {
                let date = one("x-amz-date").map(text).transpose()?;
                let date = date.ok_or_else(|| incomplete("X-Amz-Date must be among the headers"))?;
                from_header(header, date)?
            }
            (None, true) => from_query(&pairs)?,
            (None, false) => return Err(SignatureError::Missing),
        };
        let scope: Vec<&str> = words.credential.split('/').collect();
        let [id, day, region, service, "aws4_request"] = scope.as_slice() else {
            return Err(incomplete("Credential must be KEY/DATE/REGION/SERVICE/aws4_request"));
        };
        check_time(&words, day, now)?;
        let body = hex(digest::digest(&digest::SHA256, message.body).as_ref());
        // The hash that was sent chooses nothing: it is that of the body, or the request is refused.
        if one("x-amz-content-sha256").is_some_and(|sent| sent != body.as_bytes()) {
            return Err(incomplete("X-Amz-Content-Sha256 is not the SHA-256 of the body"));
        }
        let signed = signed_headers(words.signed_headers, &headers)?;
        let canonical_query = canonical::query(&pairs, SIGNATURE);
        let mut request: Vec<u8> = Vec::with_capacity(512 + canonical_query.len());
        for part in [message.method, "\n", &canonical::path(message.path), "\n", &canonical_query, "\n"] {
            request.extend_from_slice(part.as_bytes());
        }
        request.extend_from_slice(&signed);
        for part in ["\n", words.signed_headers, "\n", &body] {
            request.extend_from_slice(part.as_bytes());
        }
        let digest = hex(digest::digest(&digest::SHA256, &request).as_ref());
        let signing = format!("{ALGORITHM}\n{}\n{day}/{region}/{service}/aws4_request\n{digest}", words.date);
        let signature = from_hex(words.signature)
            .ok_or_else(|| incomplete("Signature must be 64 hexadecimal digits in lower case"))?;
        let token = match header {
            Some(_) => one("x-amz-security-token").map(text).transpose()?.map(str::to_owned),
            None => the_only(&pairs, "X-Amz-Security-Token")?,
        };
        let parameters = pairs.iter().filter(|(key, _)| !key.starts_with("X-Amz-")).cloned().collect();
        Ok(Self {
            access_key_id: (*id).to_owned(),
            region: (*region).to_owned(),
            service: (*service).to_owned(),
            token,
            parameters,
            day: (*day).to_owned(),
            signature,
            text: signing,
        })
    }

    /// Whether whoever has this secret signed this message. Takes the same time for every secret.
    pub fn is_signed_with(&self, secret: &Secret) -> bool {
        let mut key = format!("AWS4{}", secret.expose()).into_bytes();
        for part in [self.day.as_str(), &self.region, &self.service, "aws4_request"] {
            key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), part.as_bytes()).as_ref().to_vec();
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        hmac::verify(&key, self.text.as_bytes(), &self.signature).is_ok()
    }
}

type Headers<'a> = BTreeMap<&'a str, Vec<Vec<u8>>>;

/// Headers by name, values folded. What may come only once comes only once.
fn gather<'a>(message: &Message<'a>) -> Result<Headers<'a>, SignatureError> {
    let mut headers: Headers<'a> = BTreeMap::new();
    for (name, value) in &message.headers {
        let mut folded = Vec::with_capacity(value.len());
        canonical::header_value(value, &mut folded);
        headers.entry(name).or_default().push(folded);
    }
    for name in SINGLE_HEADERS {
        if headers.get(name).is_some_and(|values| values.len() > 1) {
            return Err(incomplete(format!("the header {name} comes more than once")));
        }
    }
    Ok(headers)
}

fn from_header<'a>(header: &'a str, date: &'a str) -> Result<Words<'a>, SignatureError> {
    let rest = header
        .strip_prefix(ALGORITHM)
        .filter(|rest| rest.starts_with(' '))
        .ok_or_else(|| incomplete(format!("only {ALGORITHM} is understood in the Authorization header")))?;
    let mut found: BTreeMap<&str, &str> = BTreeMap::new();
    for part in rest.split(',') {
        let (key, value) = part
            .trim()
            .split_once('=')
            .ok_or_else(|| incomplete("the Authorization header cannot be read"))?;
        if found.insert(key, value).is_some() {
            return Err(incomplete(format!("the Authorization header has {key} twice")));
        }
    }
    let mut take =
        |key: &str| found.remove(key).ok_or_else(|| incomplete(format!("Authorization needs {key}")));
    let words = Words {
        credential: take("Credential")?,
        signed_headers: take("SignedHeaders")?,
        signature: take("Signature")?,
        date,
        expires: None,
    };
    if !found.is_empty() {
        return Err(incomplete("the Authorization header has a part that is not known"));
    }
    Ok(words)
}

fn from_query(pairs: &[(String, String)]) -> Result<Words<'_>, SignatureError> {
    let take = |key: &str| {
        let mut values = pairs.iter().filter(|(k, _)| k == key).map(|(_, value)| value.as_str());
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(value),
            (None, _) => Err(incomplete(format!("the query needs {key}"))),
            (Some(_), Some(_)) => Err(incomplete(format!("the query has {key} twice"))),
        }
    };
    if take("X-Amz-Algorithm")? != ALGORITHM {
        return Err(incomplete(format!("X-Amz-Algorithm must be {ALGORITHM}")));
    }
    Ok(Words {
        credential: take("X-Amz-Credential")?,
        signed_headers: take("X-Amz-SignedHeaders")?,
        signature: take(SIGNATURE)?,
        date: take("X-Amz-Date")?,
        expires: Some(take("X-Amz-Expires")?),
    })
}

/// A parameter of the query that comes once or not at all.
fn the_only(pairs: &[(String, String)], key: &str) -> Result<Option<String>, SignatureError> {
    let mut values = pairs.iter().filter(|(k, _)| k == key).map(|(_, value)| value.clone());
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(incomplete(format!("the query has {key} twice"))),
        (value, None) => Ok(value),
    }
}

fn check_time(words: &Words<'_>, day: &str, now: Timestamp) -> Result<(), SignatureError> {
    let at = instant(words.date).ok_or_else(|| incomplete("X-Amz-Date must look like 20300102T030405Z"))?;
    if words.date.get(..8) != Some(day) {
        return Err(incomplete("the date in Credential is not that of X-Amz-Date"));
    }
    let now = now.0.div_euclid(1000);
    if at > now + SKEW_MAX_SECONDS {
        return Err(SignatureError::Expired(format!(
            "the request is dated {}, which is not yet",
            words.date
        )));
    }
    let lasts =
        match words.expires {
            None => SKEW_MAX_SECONDS,
            Some(seconds) => seconds
                .parse()
                .ok()
                .filter(|seconds| (1..=EXPIRES_MAX_SECONDS).contains(seconds))
                .ok_or_else(|| incomplete(format!("X-Amz-Expires must be 1 to {EXPIRES_MAX_SECONDS}")))?,
        };
    if now > at + lasts {
        return Err(SignatureError::Expired(format!("the request is dated {} and has expired", words.date)));
    }
    Ok(())
}

/// The canonical headers. Host is signed, and every header that AWS gives a meaning to.
fn signed_headers(list: &str, headers: &Headers<'_>) -> Result<Vec<u8>, SignatureError> {
    let names: Vec<&str> = list.split(';').collect();
    if names.len() > SIGNED_HEADERS_MAX || !names.windows(2).all(|pair| pair[0] < pair[1]) {
        return Err(incomplete("SignedHeaders must be in order, each once"));
    }
    if !names.contains(&"host") {
        return Err(incomplete("host must be among the SignedHeaders"));
    }
    if let Some(name) = headers.keys().find(|name| name.starts_with("x-amz-") && !names.contains(name)) {
        return Err(incomplete(format!("the header {name} must be signed")));
    }
    let mut out = Vec::new();
    for name in names {
        let values = headers
            .get(name)
            .ok_or_else(|| incomplete(format!("the header {name:?} is signed, but not there")))?;
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        out.extend_from_slice(&values.join(&b','));
        out.push(b'\n');
    }
    Ok(out)
}

/// Seconds since the epoch of `20300102T030405Z`.
fn instant(date: &str) -> Option<i64> {
    let bytes = date.as_bytes();
    let form = bytes.len() == 16
        && bytes[8] == b'T'
        && bytes[15] == b'Z'
        && bytes.iter().enumerate().all(|(i, b)| matches!(i, 8 | 15) || b.is_ascii_digit());
    if !form {
        return None;
    }
    let iso = format!(
        "{}-{}-{}T{}:{}:{}Z",
        &date[..4],
        &date[4..6],
        &date[6..8],
        &date[9..11],
        &date[11..13],
        &date[13..15]
    );
    Timestamp::parse(&iso).map(|t| t.0.div_euclid(1000))
}

fn text(value: &[u8]) -> Result<&str, SignatureError> {
    std::str::from_utf8(value).map_err(|_| incomplete("a header of the signature is no text"))
}

fn incomplete(message: impl Into<String>) -> SignatureError {
    SignatureError::Incomplete(message.into())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let nibble = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let bytes: Option<Vec<u8>> =
        text.as_bytes().chunks(2).map(|pair| Some(nibble(pair[0])? << 4 | nibble(*pair.get(1)?)?)).collect();
    bytes?.try_into().ok()
}
