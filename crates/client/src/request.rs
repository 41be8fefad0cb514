//! A call of the resource API as data, and its two mappings: the HTTP request it is on the wire, and what the
//! server parses back.

use bytes::Bytes;
use model::{KindEntry, Uid};

/// What is done to an object or a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch(PatchKind),
    Delete,
    DeleteCollection,
}

impl Verb {
    /// The word that roles and audit lines use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch(_) => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }

    pub fn is_write(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Watch)
    }
}

/// How the body of a patch is meant; by its media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PatchKind {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' server-side apply.
    Apply,
}

impl PatchKind {
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json-patch+json",
            Self::Merge => "application/merge-patch+json",
            Self::Apply => "application/apply-patch+yaml",
        }
    }
}

/// What a list or watch asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListParams {
    /// In kubectl's syntax; parsed by the server.
    pub label_selector: String,
    pub field_selector: String,
    /// Most items of one page; 0 means the server's own limit.
    pub limit: usize,
    /// Where the page before ended.
    pub continue_token: String,
    /// Empty: the newest state.
    pub resource_version: String,
    pub allow_bookmarks: bool,
    /// Begin a watch with all that exists.
    pub send_initial_events: bool,
    /// End a watch after so many seconds.
    pub timeout_seconds: Option<u64>,
}

/// What every change may carry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Check everything and change nothing.
    pub dry_run: bool,
    /// Who owns the fields set, for server-side apply.
    pub field_manager: String,
    /// Take over fields that others own.
    pub force: bool,
    /// Refuse the change unless the caller still holds its lease.
    pub fence: Option<Fence>,
}

/// Proof of being the current holder: the change happens only while the lease has this epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    pub lease: String,
    pub epoch: u64,
}

/// What a deletion may carry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    pub grace_period_seconds: Option<i64>,
    pub propagation: Propagation,
    /// Delete only if the object still has this uid.
    pub uid: Option<Uid>,
    /// Delete only if the object is still at this version.
    pub resource_version: String,
}

/// What becomes of the objects this one owns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Propagation {
    #[default]
    Background,
    /// The object goes after what it owns.
    Foreground,
    Orphan,
}

/// One call.
#[derive(Debug, Clone)]
pub struct Request {
    pub verb: Verb,
    pub kind: &'static KindEntry,
    /// `None`: all projects, or a cloud-wide kind.
    pub project: Option<String>,
    /// Empty for collections.
    pub name: String,
    /// Empty for the object itself; `status`, `binding` ...
    pub subresource: String,
    pub list: ListParams,
    pub write: WriteOptions,
    pub delete: DeleteOptions,
    /// The object, or the patch.
    pub body: Bytes,
}

impl Request {
    pub fn new(verb: Verb, kind: &'static KindEntry, project: Option<&str>, name: &str) -> Self {
        Self {
            verb,
            kind,
            project: project.map(str::to_owned),
            name: name.into(),
            subresource: String::new(),
            list: ListParams::default(),
            write: WriteOptions::default(),
            delete: DeleteOptions::default(),
            body: Bytes::new(),
        }
    }

    #[must_use]
    pub fn subresource(mut self, subresource: &str) -> Self {
        self.subresource = subresource.into();
        self
    }

    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Path and query of the call on the wire.
    pub fn path_and_query(&self) -> String {
        let name = (!self.name.is_empty()).then_some(self.name.as_str());
        let mut path = self.kind.info.path(self.project.as_deref(), name);
        if !self.subresource.is_empty() {
            path.push('/');
            path.push_str(&self.subresource);
        }
        let mut separator = '?';
        for (key, value) in self.query() {
            path.push(separator);
            path.push_str(key);
            path.push('=');
            path.push_str(&percent_encode(&value));
            separator = '&';
        }
        path
    }

    fn query(&self) -> Vec<(&'static str, String)> {
        let (list, write, delete) = (&self.list, &self.write, &self.delete);
        let mut query = Vec::new();
        let mut put = |key, value: &str| {
            if !value.is_empty() {
                query.push((key, value.to_owned()));
            }
        };
        if self.verb == Verb::Watch {
            put("watch", "true");
        }
        put("labelSelector", &list.label_selector);
        put("fieldSelector", &list.field_selector);
        put("continue", &list.continue_token);
        put("resourceVersion", &list.resource_version);
        put("limit", &if list.limit == 0 { String::new() } else { list.limit.to_string() });
        put("allowWatchBookmarks", if list.allow_bookmarks { "true" } else { "" });
        put("sendInitialEvents", if list.send_initial_events { "true" } else { "" });
        put("timeoutSeconds", &list.timeout_seconds.map_or_else(String::new, |s| s.to_string()));
        put("dryRun", if write.dry_run { "All" } else { "" });
        put("fieldManager", &write.field_manager);
        put("force", if write.force { "true" } else { "" });
        if let Some(fence) = &write.fence {
            put("fence", &format!("{}:{}", fence.lease, fence.epoch));
        }
        put("gracePeriodSeconds", &delete.grace_period_seconds.map_or_else(String::new, |s| s.to_string()));
        let propagation = match delete.propagation {
            Propagation::Background => "",
            Propagation::Foreground => "Foreground",
            Propagation::Orphan => "Orphan",
        };
        put("propagationPolicy", propagation);
        put("uid", delete.uid.as_ref().map_or("", Uid::as_str));
        if self.verb == Verb::Delete {
            put("resourceVersion", &delete.resource_version);
        }
        query
    }
}

/// Escapes what may not stand in a query value (RFC 3986).
pub fn percent_encode(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Decodes `%XX` and `+`; what is no valid escape stays as it is, bytes that are no UTF-8 are replaced.
pub fn percent_decode(text: &str) -> String {
    if !text.contains(['%', '+']) {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok()))
            .flatten();
        match (escaped, bytes[at]) {
            (Some(byte), _) => {
                out.push(byte);
                at += 2;
            }
            (None, b'+') => out.push(b' '),
            (None, byte) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}
