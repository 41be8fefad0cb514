//! Words that name objects and files: `s3://BUCKET/KEY`, a path, and `-`.

use std::fmt;
use std::path::PathBuf;

use crate::failure::Failure;

const SCHEME: &str = "s3://";

/// An object, or everything below a prefix; a bucket where the key is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) bucket: String,
    pub(crate) key: String,
}

impl Address {
    /// Whether a word can be nothing else.
    pub(crate) fn is_meant(word: &str) -> bool {
        word.starts_with(SCHEME)
    }

    /// `s3://BUCKET[/KEY]`; the beginning may be left out where nothing else is meant.
    pub(crate) fn parse(word: &str) -> Result<Self, Failure> {
        let rest = word.strip_prefix(SCHEME).unwrap_or(word);
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if !model::storage::is_bucket_name(bucket) {
            return Err(Failure::usage(format!("{word:?} names no bucket")).hint("write s3://BUCKET/KEY"));
        }
        Ok(Self { bucket: bucket.to_owned(), key: key.to_owned() })
    }

    pub(crate) fn with_key(&self, key: impl Into<String>) -> Self {
        Self { bucket: self.bucket.clone(), key: key.into() }
    }

    /// Whether it stands for what lies below it, and for no object.
    pub(crate) fn is_folder(&self) -> bool {
        self.key.is_empty() || self.key.ends_with('/')
    }

    /// What all keys below it begin with.
    pub(crate) fn prefix(&self) -> String {
        if self.is_folder() { self.key.clone() } else { format!("{}/", self.key) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.bucket, self.key)
    }
}

/// Where something is copied from or to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Object(Address),
    File(PathBuf),
    /// Standard input or output.
    Stream,
}

impl Place {
    pub(crate) fn parse(word: &str) -> Result<Self, Failure> {
        match word {
            "-" => Ok(Self::Stream),
            word if Address::is_meant(word) => Address::parse(word).map(Self::Object),
            "" => Err(Failure::usage("a file has a name")),
            word => Ok(Self::File(word.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_places() {
        let object =
            |bucket: &str, key: &str| Place::Object(Address { bucket: bucket.into(), key: key.into() });
        let check =
            |word: &str, expected: Option<Place>| assert_eq!(Place::parse(word).ok(), expected, "{word}");
        check("s3://photos", Some(object("photos", "")));
        check("s3://photos/", Some(object("photos", "")));
        check("s3://photos/a/b c", Some(object("photos", "a/b c")));
        check("s3://photos//a", Some(object("photos", "/a")));
        check("s3://", None);
        check("s3://No/a", None);
        check("-", Some(Place::Stream));
        check("./-", Some(Place::File("./-".into())));
        check("a/b", Some(Place::File("a/b".into())));
        check("", None);
    }

    #[test]
    fn what_lies_below() {
        let check = |word: &str, prefix: &str| assert_eq!(Address::parse(word).unwrap().prefix(), prefix);
        check("photos", "");
        check("photos/a", "a/");
        check("s3://photos/a/", "a/");
    }
}
