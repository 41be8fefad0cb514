//! What is refused before anything is verified: two signatures, old ones, and headers that no signature covers.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use model::REGION;
use s3s::{S3Error, S3Result, s3_error};

/// Where clients that know of no region say they are.
const DEFAULT_REGION: &str = "us-east-1";
const EXPIRES_MAX_SECONDS: u64 = 604_800;
/// What is said of each only once, or not at all.
const SINGLE: [&str; 7] = [
    "host",
    "authorization",
    "x-amz-date",
    "date",
    "x-amz-content-sha256",
    "x-amz-security-token",
    "x-amz-decoded-content-length",
];

/// The key that a request says it is signed with. It is not verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claimed {
    pub(crate) key: String,
    /// Of temporary credentials.
    pub(crate) token: Option<String>,
}

/// The service that a credential names, without a word on whether it is one.
pub(crate) fn claimed_service(head: &Parts) -> String {
    let header = head.headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or("");
    let query = pairs(head);
    let in_query = query.iter().find(|(key, _)| key == "X-Amz-Credential").map(|(_, value)| value.as_str());
    let in_header = part(header, "Credential");
    in_header.or(in_query).and_then(|c| c.split('/').rev().nth(1)).unwrap_or("").to_owned()
}

/// Holds the head of a request to the rules that need no key. Nothing is claimed by one that is not signed, or whose
/// signature is in its body.
pub(crate) fn check(head: &Parts) -> S3Result<Option<Claimed>> {
    let headers = &head.headers;
    for name in SINGLE {
        if headers.get_all(name).iter().nth(1).is_some() {
            return Err(s3_error!(InvalidRequest, "the header {name} comes more than once"));
        }
    }
    let query = pairs(head);
    let one = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    readable(headers)?;
    let in_query = query.iter().any(|(key, _)| {
        matches!(
            key.as_str(),
            "X-Amz-Signature" | "X-Amz-Credential" | "X-Amz-Algorithm" | "AWSAccessKeyId" | "Signature"
        )
    });
    let header = headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap_or(""));
    match (header, in_query) {
        (None, false) => Ok(None),
        (Some(_), true) => Err(s3_error!(
            InvalidArgument,
            "the request is signed in its header and in its query: keep one of them"
        )),
        (Some(header), false) => {
            if !header.starts_with("AWS4-HMAC-SHA256 ") {
                return Err(old());
            }
            let (credential, signed) = (part(header, "Credential"), part(header, "SignedHeaders"));
            let key = scope(credential.unwrap_or(""))?;
            covered(headers, signed.unwrap_or(""), head.uri.authority().is_some())?;
            if one("X-Amz-Security-Token").is_some() {
                return Err(s3_error!(InvalidRequest, "the security token belongs into the signed headers"));
            }
            let token = headers.get("x-amz-security-token").and_then(|value| value.to_str().ok());
            Ok(Some(Claimed { key, token: token.map(str::to_owned) }))
        }
        (None, true) => {
            let names = [
                "X-Amz-Algorithm",
                "X-Amz-Credential",
                "X-Amz-Signature",
                "X-Amz-SignedHeaders",
                "X-Amz-Date",
            ];
            let times = |name: &str| query.iter().filter(|(key, _)| key == name).count();
            for name in names.into_iter().chain(["X-Amz-Expires"]) {
                if times(name) != 1 {
                    return Err(if name == "X-Amz-Algorithm" { old() } else { once(name) });
                }
            }
            let expires = one("X-Amz-Expires").and_then(|text| text.parse::<u64>().ok());
            if !expires.is_some_and(|seconds| (1..=EXPIRES_MAX_SECONDS).contains(&seconds)) {
                let message = "X-Amz-Expires must be 1 to 604800";
                return Err(s3_error!(AuthorizationQueryParametersError, "{message}"));
            }
            let key = scope(one("X-Amz-Credential").unwrap_or(""))?;
            covered(headers, one("X-Amz-SignedHeaders").unwrap_or(""), head.uri.authority().is_some())?;
            if times("X-Amz-Security-Token") > 1 || headers.contains_key("x-amz-security-token") {
                return Err(once("X-Amz-Security-Token"));
            }
            Ok(Some(Claimed { key, token: one("X-Amz-Security-Token").map(str::to_owned) }))
        }
    }
}

fn old() -> S3Error {
    s3_error!(InvalidRequest, "only AWS4-HMAC-SHA256 is understood: let the client sign with version 4")
}

fn once(name: &str) -> S3Error {
    s3_error!(AuthorizationQueryParametersError, "the query must have {name} once")
}

/// Whether clients may say that they are in this region.
pub(crate) fn is_own_region(region: &str) -> bool {
    region == REGION || region == DEFAULT_REGION
}

/// The key of a credential whose scope is this cloud's.
fn scope(credential: &str) -> S3Result<String> {
    let scope: Vec<&str> = credential.split('/').collect();
    match scope.as_slice() {
        [key, _, region, "s3", "aws4_request"] if is_own_region(region) => Ok((*key).to_owned()),
        [_, _, region, "s3", "aws4_request"] => Err(s3_error!(
            AuthorizationHeaderMalformed,
            "the region {region:?} is wrong; expecting {REGION:?}"
        )),
        _ => {
            Err(s3_error!(AuthorizationHeaderMalformed, "Credential must be KEY/DATE/REGION/s3/aws4_request"))
        }
    }
}

/// What no verifier can read it would leave out of what is signed.
fn readable(headers: &HeaderMap) -> S3Result<()> {
    let unreadable = headers.iter().find(|(name, value)| {
        name.as_str().starts_with("x-amz-") && std::str::from_utf8(value.as_bytes()).is_err()
    });
    match unreadable {
        Some((name, _)) => Err(s3_error!(InvalidArgument, "the header {name} is no text")),
        None => Ok(()),
    }
}

/// Whatever S3 gives a meaning to is signed, and whatever is signed is there.
fn covered(headers: &HeaderMap, list: &str, has_authority: bool) -> S3Result<()> {
    let names: Vec<&str> = list.split(';').collect();
    if !names.contains(&"host") {
        return Err(s3_error!(AccessDenied, "host must be among the signed headers"));
    }
    let unsigned =
        headers.keys().find(|name| name.as_str().starts_with("x-amz-") && !names.contains(&name.as_str()));
    if let Some(name) = unsigned {
        return Err(s3_error!(
            AccessDenied,
            "there were headers present in the request which were not signed: {name}"
        ));
    }
    let missing =
        names.iter().find(|name| !(headers.contains_key(**name) || **name == "host" && has_authority));
    match missing {
        Some(name) => Err(s3_error!(AccessDenied, "the header {name:?} is signed, but not there")),
        None => Ok(()),
    }
}

fn part<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let rest = header.split_once(' ').map_or("", |(_, rest)| rest);
    rest.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
}

fn pairs(head: &Parts) -> Vec<(String, String)> {
    decoded(head.uri.query().unwrap_or(""))
}

/// Names and values of a query.
pub(crate) fn decoded(query: &str) -> Vec<(String, String)> {
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (client::percent_decode(key), client::percent_decode(value))
    };
    query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCOPE: &str = "AK/20300102/us-east-1/s3/aws4_request";

    fn head(path: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn signed(names: &str) -> String {
        format!("AWS4-HMAC-SHA256 Credential={SCOPE}, SignedHeaders={names}, Signature=00")
    }

    #[test]
    fn what_is_signed_is_all_that_counts() {
        let host = ("host", "here");
        let good = signed("host;x-amz-date");
        let date = ("x-amz-date", "20300102T030405Z");
        assert!(check(&head("/b/k", &[host, date, ("authorization", &good)])).is_ok());
        let cases: [&[(&str, &str)]; 6] = [
            // A copy that the signer did not ask for.
            &[host, date, ("authorization", &good), ("x-amz-copy-source", "/b/secret")],
            &[host, ("authorization", &good)],
            &[host, date, ("authorization", &signed("x-amz-date"))],
            &[host, date, date, ("authorization", &good)],
            &[host, ("authorization", "AWS AK:sig")],
            &[host, date, ("authorization", &good.replace("us-east-1", "eu-1"))],
        ];
        for headers in cases {
            assert!(check(&head("/b/k", headers)).is_err(), "{headers:?}");
        }
        let twice = head("/b/k?X-Amz-Signature=0", &[host, date, ("authorization", &good)]);
        assert!(check(&twice).is_err());
    }

    #[test]
    fn a_presigned_url_is_whole() {
        let url = |expires: &str| {
            format!(
                "/b/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={}&X-Amz-Date=20300102T030405Z\
                 &X-Amz-Expires={expires}&X-Amz-SignedHeaders=host&X-Amz-Signature=00",
                SCOPE.replace('/', "%2F")
            )
        };
        let host = ("host", "here");
        assert!(check(&head(&url("60"), &[host])).is_ok());
        assert_eq!(claimed_service(&head(&url("60"), &[host])), "s3");
        assert!(check(&head(&url("604801"), &[host])).is_err());
        assert!(check(&head(&format!("{}&X-Amz-Expires=1", url("60")), &[host])).is_err());
        assert!(check(&head(&url("60"), &[host, ("x-amz-acl", "public-read")])).is_err());
    }
}
