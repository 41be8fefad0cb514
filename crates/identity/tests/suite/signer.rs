//! A signer that is written apart from what it tests, straight after AWS's documentation.

use identity::aws::Message;
use ring::{digest, hmac};

pub(crate) const ID: &str = "AKIDEXAMPLEEXAMPLE00";
pub(crate) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) date: String,
    pub(crate) region: String,
    pub(crate) service: String,
    /// A header that is not signed.
    pub(crate) left_out: String,
    /// Sign no header at all.
    pub(crate) only: bool,
}

impl Draft {
    pub(crate) fn new() -> Self {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Self {
            method: "POST".into(),
            path: "/".into(),
            query: String::new(),
            headers: vec![
                header("host", "cloud:7443"),
                header("content-type", "application/x-www-form-urlencoded"),
            ],
            body: b"Action=DescribeRegions".to_vec(),
            id: ID.into(),
            secret: SECRET.into(),
            date: "20150830T123600Z".into(),
            region: "here".into(),
            service: "ec2".into(),
            left_out: String::new(),
            only: false,
        }
    }

    pub(crate) fn message(&self) -> Message<'_> {
        Message {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: self.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect(),
            body: &self.body,
        }
    }

    pub(crate) fn get(&self, name: &str) -> String {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()).unwrap_or_default()
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        for (n, v) in &mut self.headers {
            if n == name {
                value.clone_into(v);
            }
        }
    }

    fn scope(&self) -> String {
        format!(
            "{}/{}/{}/aws4_request",
            &self.date.chars().take(8).collect::<String>(),
            self.region,
            self.service
        )
    }

    pub(crate) fn signed(mut self) -> Self {
        self.headers.push(("x-amz-date".into(), self.date.clone()));
        let names = self.signed_names();
        let signature = self.signature(&names);
        let value = format!(
            "AWS4-HMAC-SHA256 Credential={}/{}, SignedHeaders={names}, Signature={signature}",
            self.id,
            self.scope()
        );
        self.headers.push(("authorization".into(), value));
        self
    }

    pub(crate) fn presigned(mut self, expires: u32) -> Self {
        let names = self.signed_names();
        let own = [
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256".to_owned()),
            ("X-Amz-Credential", format!("{}/{}", self.id, self.scope())),
            ("X-Amz-Date", self.date.clone()),
            ("X-Amz-Expires", expires.to_string()),
            ("X-Amz-SignedHeaders", names.clone()),
        ];
        for (key, value) in own {
            if !self.query.is_empty() {
                self.query.push('&');
            }
            self.query += key;
            self.query += "=";
            self.query += &Self::encode(&value);
        }
        let signature = self.signature(&names);
        self.query += "&X-Amz-Signature=";
        self.query += &signature;
        self
    }

    fn signed_names(&self) -> String {
        let mut names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        names.retain(|name| *name != self.left_out && !self.only);
        names.sort_unstable();
        names.join(";")
    }

    fn signature(&self, names: &str) -> String {
        let mut pairs: Vec<String> =
            self.query.split('&').filter(|p| !p.is_empty()).map(str::to_owned).collect();
        // Literal pluses are pluses.
        for pair in &mut pairs {
            *pair = pair.replace('+', "%2B");
        }
        pairs.sort_unstable_by(|a, b| a.split_once('=').cmp(&b.split_once('=')));
        let line = |name: &str| {
            let value = self.get(name);
            [name, ":", &value.split_whitespace().collect::<Vec<_>>().join(" "), "\n"].concat()
        };
        let headers: String = names.split(';').filter(|name| !name.is_empty()).map(line).collect();
        let canonical = format!(
            "{}\n{}\n{}\n{headers}\n{names}\n{}",
            self.method,
            Self::canonical_path(&self.path),
            pairs.join("&"),
            hex(digest::digest(&digest::SHA256, &self.body).as_ref()),
        );
        let digest = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
        let text = format!("AWS4-HMAC-SHA256\n{}\n{}\n{digest}", self.date, self.scope());
        let mut key = format!("AWS4{}", self.secret).into_bytes();
        for part in self.scope().split('/').chain([text.as_str()]) {
            key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), part.as_bytes()).as_ref().to_vec();
        }
        hex(&key)
    }

    fn canonical_path(path: &str) -> String {
        let mut kept: Vec<&str> = Vec::new();
        for segment in path.split('/') {
            match segment {
                "" | "." => {}
                ".." => drop(kept.pop()),
                other => kept.push(other),
            }
        }
        let slash = !kept.is_empty() && ["/", "/.", "/.."].iter().any(|end| path.ends_with(end));
        let encoded: Vec<String> = kept.into_iter().map(Self::encode).collect();
        format!("/{}{}", encoded.join("/"), if slash { "/" } else { "" })
    }

    pub(crate) fn encode(text: &str) -> String {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
        text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).expect("a digit");
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
