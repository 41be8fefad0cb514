//! Listing in the order of keys, with prefixes and delimiters, from the index alone.

use rusqlite::params;

use crate::objects::Objects;
use crate::rows;
use crate::types::{Error, Record};

#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    pub prefix: String,
    pub delimiter: String,
    /// The first key that may be listed.
    pub from: String,
    /// Of the first key, only versions older than this one.
    pub after_version: Option<String>,
    pub max: usize,
    /// Every version and marker, not only what is there now.
    pub versions: bool,
}

impl ListQuery {
    /// Where a listing goes on after this key, or after everything below this common prefix.
    pub fn after(marker: &str, delimiter: &str) -> Option<String> {
        let is_prefix = !delimiter.is_empty() && marker.ends_with(delimiter);
        if is_prefix { after_all(marker) } else { Some(format!("{marker}\0")) }
    }
}

#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Without what is kept beside the bytes.
    pub records: Vec<Record>,
    pub prefixes: Vec<String>,
    pub is_truncated: bool,
    /// Where the next page begins.
    pub next: String,
    /// What was listed last, a key or a prefix.
    pub last: String,
    /// The version of the last key that was listed last.
    pub last_version: Option<String>,
}

impl Objects {
    pub async fn list(&self, bucket: &str, query: ListQuery) -> Result<Page, Error> {
        let bucket = bucket.to_owned();
        self.database
            .read(move |c| {
                let (bucket, _) = rows::bucket(c, &bucket)?;
                list(c, bucket, &query)
            })
            .await
    }
}

fn list(c: &rusqlite::Connection, bucket: i64, query: &ListQuery) -> Result<Page, Error> {
    let mut page = Page::default();
    let mut from = query.from.clone().max(query.prefix.clone());
    let mut min_age = i64::MIN;
    if let Some(version) = &query.after_version {
        let age = "SELECT age + 1 FROM version WHERE bucket = ? AND key = ? AND id = ?";
        min_age =
            rusqlite::OptionalExtension::optional(
                c.query_row(age, params![bucket, from, version], |row| row.get(0)),
            )?
            .unwrap_or(min_age);
    }
    if query.max == 0 {
        return Ok(page);
    }
    let end = after_all(&query.prefix);
    'seek: loop {
        let mut statement = c.prepare_cached(
            "SELECT key, id, marker, size, etag, modified, age FROM version
             WHERE bucket = ?1 AND key >= ?2 AND (?3 IS NULL OR key < ?3) ORDER BY key, age",
        )?;
        let mut rows = statement.query(params![bucket, from, end])?;
        let mut last_key: Option<String> = None;
        while let Some(row) = rows.next()? {
            let key: String = row.get(0)?;
            let is_latest = last_key.as_deref() != Some(&key);
            last_key = Some(key.clone());
            let is_marker: bool = row.get(2)?;
            if !query.versions && (!is_latest || is_marker) {
                continue;
            }
            if key == query.from && row.get::<_, i64>(6)? < min_age {
                continue;
            }
            if page.records.len() + page.prefixes.len() == query.max {
                page.is_truncated = true;
                page.next = key;
                return Ok(page);
            }
            if let Some(common) = common_prefix(&key, query) {
                page.last.clone_from(&common);
                page.last_version = None;
                let next = after_all(&common);
                page.prefixes.push(common);
                match next {
                    // Everything below it is one entry: go on behind it.
                    Some(next) => {
                        from = next;
                        continue 'seek;
                    }
                    None => return Ok(page),
                }
            }
            let version: String = row.get(1)?;
            page.last.clone_from(&key);
            page.last_version = Some(version.clone());
            page.records.push(Record {
                key,
                version,
                is_latest,
                is_marker,
                size: row.get::<_, i64>(3)?.unsigned_abs(),
                etag: row.get(4)?,
                modified_ms: row.get(5)?,
                ..Record::default()
            });
        }
        return Ok(page);
    }
}

fn common_prefix(key: &str, query: &ListQuery) -> Option<String> {
    if query.delimiter.is_empty() {
        return None;
    }
    let rest = key.get(query.prefix.len()..)?;
    let end = rest.find(&query.delimiter)? + query.delimiter.len();
    Some(key[..query.prefix.len() + end].to_owned())
}

/// The least text that is greater than everything with this prefix; UTF-8 sorts as its characters do.
pub(crate) fn after_all(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        let next = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32);
        if let Some(next) = next {
            text.push(next);
            return Some(text);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_prefix() {
        let cases = [("", None), ("a", Some("b")), ("a/", Some("a0")), ("a\u{d7ff}", Some("a\u{e000}"))];
        for (prefix, next) in cases {
            assert_eq!(after_all(prefix).as_deref(), next, "{prefix:?}");
        }
        assert_eq!(after_all("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(after_all("\u{10ffff}"), None);
    }
}
