//! From a path to what is asked for. All routes of the API are here.

use bytes::Bytes;
use client::{DeleteOptions, Fence, ListParams, PatchKind, Propagation, Request, Verb, WriteOptions};
use http::Method;
use http::header::{CONTENT_TYPE, HeaderMap};
use model::{ApiError, KindEntry, Name, Reason, Uid};
use serde::Deserialize;

use super::query::Query;

/// What a path names.
#[derive(Debug)]
pub(crate) enum Route {
    Health,
    Version,
    Metrics,
    /// `/api`, `/apis` and below.
    Discovery(String),
    OpenApi(String),
    Resource(Target),
    /// A verified file of an image, for hosts.
    Blob(String),
    /// A new host asks for its certificate.
    Join,
    WhoAmI,
}

/// An object or a collection of a kind.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) kind: &'static KindEntry,
    pub(crate) project: Option<String>,
    pub(crate) name: String,
    pub(crate) subresource: String,
}

pub(crate) fn route(path: &str) -> Result<Route, ApiError> {
    let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    let unknown = || ApiError::new(Reason::NotFound, format!("there is nothing at {path}"));
    match segments.as_slice() {
        ["healthz" | "livez" | "readyz", ..] => Ok(Route::Health),
        ["version"] => Ok(Route::Version),
        ["metrics"] => Ok(Route::Metrics),
        ["join"] => Ok(Route::Join),
        ["whoami"] => Ok(Route::WhoAmI),
        ["blobs", digest] => Ok(Route::Blob((*digest).into())),
        ["openapi", ..] => Ok(Route::OpenApi(path.to_owned())),
        ["api" | "apis"] | ["api" | "apis", _] | ["apis", _, _] => Ok(Route::Discovery(path.to_owned())),
        ["api", version, rest @ ..] => resource("", version, rest)?.map(Route::Resource).ok_or_else(unknown),
        ["apis", group, version, rest @ ..] => {
            resource(group, version, rest)?.map(Route::Resource).ok_or_else(unknown)
        }
        _ => Err(unknown()),
    }
}

fn resource(group: &str, version: &str, rest: &[&str]) -> Result<Option<Target>, ApiError> {
    let (project, rest) = match rest {
        ["namespaces", project, rest @ ..] if !rest.is_empty() => (Some(*project), rest),
        rest => (None, rest),
    };
    let Some(kind) = rest.first().and_then(|plural| model::kind_by_resource(group, plural)) else {
        return Ok(None);
    };
    if kind.info.version != version || (project.is_some() && !kind.info.is_project_scoped()) || rest.len() > 3
    {
        return Ok(None);
    }
    for name in [project, rest.get(1).copied()].into_iter().flatten() {
        Name::new(name).map_err(|e| ApiError::bad_request(e.to_string()))?;
    }
    Ok(Some(Target {
        kind,
        project: project.map(str::to_owned),
        name: rest.get(1).map_or_else(String::new, ToString::to_string),
        subresource: rest.get(2).map_or_else(String::new, ToString::to_string),
    }))
}

/// The call that a request on a resource makes.
pub(crate) fn request(
    target: Target,
    method: &Method,
    headers: &HeaderMap,
    query: &Query,
    body: Bytes,
) -> Result<Request, ApiError> {
    let verb = verb(&target, method, headers, query)?;
    let mut request = Request {
        verb,
        kind: target.kind,
        project: target.project,
        name: target.name,
        subresource: target.subresource,
        list: list_params(query)?,
        write: write_options(query)?,
        delete: DeleteOptions::default(),
        body: Bytes::new(),
    };
    match verb {
        Verb::Delete | Verb::DeleteCollection => delete_options(&mut request, query, &body)?,
        Verb::Create | Verb::Update => request.body = as_json(headers, body)?,
        _ => request.body = body,
    }
    Ok(request)
}

fn verb(target: &Target, method: &Method, headers: &HeaderMap, query: &Query) -> Result<Verb, ApiError> {
    let one = !target.name.is_empty();
    Ok(match *method {
        Method::GET | Method::HEAD if query.flag("watch") => Verb::Watch,
        Method::GET | Method::HEAD if one => Verb::Get,
        Method::GET | Method::HEAD => Verb::List,
        Method::POST if one && target.subresource.is_empty() => {
            return Err(ApiError::new(
                Reason::MethodNotAllowed,
                "POST creates in a collection; use PUT for one object",
            ));
        }
        Method::POST => Verb::Create,
        Method::PUT if one => Verb::Update,
        Method::PATCH if one => Verb::Patch(patch_kind(headers)?),
        Method::DELETE if one => Verb::Delete,
        Method::DELETE => Verb::DeleteCollection,
        _ => return Err(ApiError::new(Reason::MethodNotAllowed, format!("{method} is not possible here"))),
    })
}

fn patch_kind(headers: &HeaderMap) -> Result<PatchKind, ApiError> {
    let media_type = media_type(headers);
    match media_type {
        "application/apply-patch+yaml" | "application/apply-patch+cbor" => Ok(PatchKind::Apply),
        "application/json-patch+json" => Ok(PatchKind::Json),
        "application/merge-patch+json" => Ok(PatchKind::Merge),
        _ => Err(ApiError::new(
            Reason::UnsupportedMediaType,
            format!(
                "{media_type:?} is not a patch: use application/json-patch+json, application/merge-patch+json or \
                 application/apply-patch+yaml"
            ),
        )),
    }
}

fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    value.split(';').next().unwrap_or("").trim()
}

/// The body as JSON; YAML is translated.
fn as_json(headers: &HeaderMap, body: Bytes) -> Result<Bytes, ApiError> {
    match media_type(headers) {
        "" | "application/json" => Ok(body),
        "application/yaml" | "application/x-yaml" | "text/yaml" => {
            let value: serde_json::Value = serde_yaml_ng::from_slice(&body)
                .map_err(|e| ApiError::bad_request(format!("the body is not valid YAML: {e}")))?;
            Ok(value.to_string().into())
        }
        other => Err(ApiError::new(
            Reason::UnsupportedMediaType,
            format!("{other:?} is not understood: send application/json or application/yaml"),
        )),
    }
}

fn list_params(query: &Query) -> Result<ListParams, ApiError> {
    Ok(ListParams {
        label_selector: query.get("labelSelector").into(),
        field_selector: query.get("fieldSelector").into(),
        limit: number(query, "limit")?.unwrap_or(0),
        continue_token: query.get("continue").into(),
        resource_version: query.get("resourceVersion").into(),
        allow_bookmarks: query.flag("allowWatchBookmarks"),
        send_initial_events: query.flag("sendInitialEvents"),
        timeout_seconds: number(query, "timeoutSeconds")?,
    })
}

fn write_options(query: &Query) -> Result<WriteOptions, ApiError> {
    let dry_run = match query.get("dryRun") {
        "" => false,
        "All" => true,
        other => return Err(ApiError::bad_request(format!("dryRun is {other:?}: only All is possible"))),
    };
    let fence = match query.get("fence") {
        "" => None,
        text => {
            let parsed = text.rsplit_once(':').and_then(|(lease, epoch)| Some((lease, epoch.parse().ok()?)));
            let (lease, epoch) = parsed.ok_or_else(|| ApiError::bad_request("fence must be LEASE:EPOCH"))?;
            Some(Fence { lease: lease.into(), epoch })
        }
    };
    let field_manager = query.get("fieldManager").to_owned();
    Ok(WriteOptions { dry_run, field_manager, force: query.flag("force"), fence })
}

fn delete_options(request: &mut Request, query: &Query, body: &Bytes) -> Result<(), ApiError> {
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Wire {
        grace_period_seconds: Option<i64>,
        propagation_policy: String,
        preconditions: Preconditions,
        dry_run: Vec<String>,
    }
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Preconditions {
        uid: String,
        resource_version: String,
    }
    let wire: Wire = if body.is_empty() {
        Wire::default()
    } else {
        serde_json::from_slice(body)
            .map_err(|e| ApiError::bad_request(format!("this is not a valid DeleteOptions: {e}")))?
    };
    let or = |first: String, second: &str| if first.is_empty() { second.to_owned() } else { first };
    let propagation = match or(wire.propagation_policy, query.get("propagationPolicy")).as_str() {
        "" | "Background" => Propagation::Background,
        "Foreground" => Propagation::Foreground,
        "Orphan" => Propagation::Orphan,
        other => {
            return Err(ApiError::bad_request(format!(
                "propagationPolicy is {other:?}: use Background, Foreground or Orphan"
            )));
        }
    };
    let uid = or(wire.preconditions.uid, query.get("uid"));
    let uid = if uid.is_empty() {
        None
    } else {
        Some(Uid::parse(&uid).ok_or_else(|| ApiError::bad_request(format!("{uid:?} is not a uid")))?)
    };
    request.write.dry_run |= wire.dry_run.iter().any(|word| word == "All");
    request.delete = DeleteOptions {
        grace_period_seconds: match wire.grace_period_seconds {
            Some(seconds) => Some(seconds),
            None => number(query, "gracePeriodSeconds")?,
        },
        propagation,
        uid,
        resource_version: or(wire.preconditions.resource_version, query.get("resourceVersion")),
    };
    Ok(())
}

fn number<T: std::str::FromStr>(query: &Query, key: &str) -> Result<Option<T>, ApiError> {
    match query.get(key) {
        "" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|_| ApiError::bad_request(format!("{key} is {text:?}, but must be a number"))),
    }
}
