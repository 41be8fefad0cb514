//! Signing, as AWS's clients do it: the other side of what is verified beside it.

use model::Timestamp;
use ring::{digest, hmac};

use super::canonical;
use super::presented::{ALGORITHM, hex};
use crate::sealed::Secret;

/// Says in place of a digest that the body is not signed; TLS guards it on its way.
pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// A key that signs for one service of one region.
#[derive(Debug, Clone)]
pub struct Signing {
    pub access_key_id: String,
    pub secret: Secret,
    pub region: String,
    pub service: String,
}

/// A request before it is signed.
#[derive(Debug, Clone, Copy)]
pub struct Unsigned<'a> {
    pub method: &'a str,
    /// As it is sent, encoded.
    pub path: &'a str,
    /// As it is sent, as [`query`] writes it.
    pub query: &'a str,
    /// All that are signed, names in lower case and in order; `host` and `x-amz-date` are among them.
    pub headers: &'a [(&'a str, &'a str)],
    /// The SHA-256 of the body, or the word that stands for it.
    pub payload: &'a str,
}

impl Signing {
    /// The value of `Authorization`. `date` is what `x-amz-date` says.
    pub fn authorization(&self, date: &str, request: &Unsigned<'_>) -> String {
        let day = date.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let names: Vec<&str> = request.headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let text = format!("{ALGORITHM}\n{date}\n{scope}\n{}", sha256(&self.canonical(request, &names)));
        let parts = scope.split('/').chain([text.as_str()]);
        let signature = parts.fold(format!("AWS4{}", self.secret.expose()).into_bytes(), |key, part| {
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), part.as_bytes()).as_ref().to_vec()
        });
        let id = &self.access_key_id;
        format!("{ALGORITHM} Credential={id}/{scope}, SignedHeaders={names}, Signature={}", hex(&signature))
    }

    fn canonical(&self, request: &Unsigned<'_>, names: &str) -> Vec<u8> {
        // S3 alone takes paths as they are sent.
        let path = if self.service == "s3" { request.path.to_owned() } else { canonical::path(request.path) };
        let mut text = format!("{}\n{path}\n{}\n", request.method, request.query).into_bytes();
        for (name, value) in request.headers {
            text.extend_from_slice(name.as_bytes());
            text.push(b':');
            canonical::header_value(value.as_bytes(), &mut text);
            text.push(b'\n');
        }
        text.extend_from_slice(format!("\n{names}\n{}", request.payload).as_bytes());
        text
    }
}

/// A query, encoded and in order: as it is signed, and fit to be sent.
pub fn query(pairs: &[(String, String)]) -> String {
    canonical::query(pairs, "")
}

/// The path of an object, encoded as S3 has it.
pub fn object_path(bucket: &str, key: &str) -> String {
    let slash = if key.is_empty() { "" } else { "/" };
    format!("/{bucket}{slash}{}", canonical::encode(key.as_bytes(), true))
}

/// A time as `x-amz-date` has it: `20300102T030405Z`.
pub fn date(now: Timestamp) -> String {
    let seconds = Timestamp(now.0.div_euclid(1000) * 1000);
    seconds.to_string().replace(['-', ':'], "").replace(".000", "")
}

/// The digest of a body, as it is signed.
pub fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// AWS's own examples, of "Signature Calculations for the Authorization Header" in S3's reference.
    #[test]
    fn published_examples_of_s3() {
        let signing = Signing {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            region: "us-east-1".into(),
            service: "s3".into(),
        };
        let date = "20130524T000000Z";
        let (host, empty) = (("host", "examplebucket.s3.amazonaws.com"), sha256(b""));
        let common = [("x-amz-content-sha256", empty.as_str()), ("x-amz-date", date)];
        let check = |path: &str, query: &str, headers: &[(&str, &str)], signature: &str| {
            let request = Unsigned { method: "GET", path, query, headers, payload: &empty };
            let value = signing.authorization(date, &request);
            assert!(value.ends_with(signature), "{value}");
        };
        check(
            "/test.txt",
            "",
            &[host, ("range", "bytes=0-9"), common[0], common[1]],
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        );
        let pairs = [("prefix".to_owned(), "J".to_owned()), ("max-keys".to_owned(), "2".to_owned())];
        check(
            "/",
            &query(&pairs),
            &[host, common[0], common[1]],
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        );
        check(
            "/",
            &query(&[("lifecycle".to_owned(), String::new())]),
            &[host, common[0], common[1]],
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        );
    }

    #[test]
    fn dates_have_seconds_and_no_more() {
        assert_eq!(date(Timestamp(1_893_553_445_678)), "20300102T030405Z");
    }
}
