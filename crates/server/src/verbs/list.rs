//! List: pages of one consistent state. Without selectors the stored bytes go out as they are.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{BufMut, Bytes, BytesMut};
use client::{Reply, Request};
use model::{ApiError, KindInfo, Reason};
use store::{Entry, ListOptions, Revision};

use super::selection::Selection;
use crate::record;
use crate::server::{Server, store_error};

/// Objects of one page that match.
pub(crate) struct Selected {
    pub(crate) revision: Revision,
    pub(crate) continue_token: String,
    pub(crate) entries: Vec<Entry>,
}

impl Server {
    pub(crate) async fn list(&self, request: &Request) -> Result<Reply, ApiError> {
        let selection = Selection::new(&request.list)?;
        let info = &request.kind.info;
        if !selection.is_everything() {
            let page = self.select(request).await?;
            let body = body(info, page.revision, &page.continue_token, page.entries.iter());
            return Ok(Reply { body, created: false });
        }
        let page = self.page(request, request.list.limit).await?;
        let continue_token = if page.more { continue_token(info, &page) } else { String::new() };
        Ok(Reply { body: body(info, page.revision, &continue_token, page.entries.iter()), created: false })
    }

    /// The objects of a page that match the request's selectors.
    pub(crate) async fn select(&self, request: &Request) -> Result<Selected, ApiError> {
        let selection = Selection::new(&request.list)?;
        let limit = request.list.limit;
        let mut request = request.clone();
        let mut entries = Vec::new();
        loop {
            let page = self.page(&request, limit).await?;
            for entry in &page.entries {
                if selection.matches(request.kind, entry)? {
                    entries.push(entry.clone());
                }
            }
            let token = if page.more { continue_token(&request.kind.info, &page) } else { String::new() };
            // A page of a filtered list may be short, but not empty while more may follow.
            if token.is_empty() || entries.len() >= limit {
                return Ok(Selected { revision: page.revision, continue_token: token, entries });
            }
            request.list.continue_token = token;
        }
    }

    async fn page(&self, request: &Request, limit: usize) -> Result<store::Page, ApiError> {
        let prefix = prefix(request);
        let mut options = ListOptions { limit, ..ListOptions::default() };
        if !request.list.continue_token.is_empty() {
            let (revision, after) = parse_token(&request.list.continue_token)?;
            options.at = Some(revision);
            options.after = Some(format!("{}{after}", request.kind.info.prefix()));
        }
        self.inner.store.list(&prefix, options).await.map_err(store_error)
    }
}

/// The store prefix a list or watch covers.
pub(crate) fn prefix(request: &Request) -> String {
    let mut prefix = request.kind.info.prefix();
    if let Some(project) = request.project.as_deref().filter(|_| request.kind.info.is_project_scoped()) {
        prefix.push_str(project);
        prefix.push('/');
    }
    prefix
}

fn body<'a>(
    info: &KindInfo,
    revision: Revision,
    continue_token: &str,
    entries: impl Iterator<Item = &'a Entry> + Clone,
) -> Bytes {
    let size: usize = entries.clone().map(|e| e.value.len() + 48).sum();
    let mut out = BytesMut::with_capacity(size + 256);
    let head = format!(
        "{{\"kind\":\"{}List\",\"apiVersion\":\"{}\",\"metadata\":{{\"resourceVersion\":\"{revision}\"",
        info.kind,
        info.api_version()
    );
    out.put_slice(head.as_bytes());
    if !continue_token.is_empty() {
        out.put_slice(format!(",\"continue\":\"{continue_token}\"").as_bytes());
    }
    out.put_slice(b"},\"items\":[");
    for (i, entry) in entries.enumerate() {
        if i > 0 {
            out.put_u8(b',');
        }
        record::append_wire(&mut out, &entry.value, entry.mod_revision);
    }
    out.put_slice(b"]}");
    out.freeze()
}

fn continue_token(info: &KindInfo, page: &store::Page) -> String {
    let last = page.entries.last().map_or("", |entry| &*entry.key);
    let relative = last.strip_prefix(&info.prefix()).unwrap_or(last);
    URL_SAFE_NO_PAD.encode(format!("{} {relative}", page.revision))
}

fn parse_token(token: &str) -> Result<(Revision, String), ApiError> {
    let parsed = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| {
        let text = String::from_utf8(bytes).ok()?;
        let (revision, key) = text.split_once(' ')?;
        Some((revision.parse().ok()?, key.to_owned()))
    });
    parsed.ok_or_else(|| {
        ApiError::new(Reason::BadRequest, "continue is not a token of this server: list from the start")
    })
}
