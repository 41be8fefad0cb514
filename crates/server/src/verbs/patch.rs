//! Patch: JSON patch, merge patch and server-side apply.

use client::{PatchKind, Reply, Request};
use identity::Principal;
use model::{AnyObject, ApiError, Reason};
use serde_json::Value;

use super::{OBJECT_MAX_BYTES, decode_error, match_path};
use crate::apply;
use crate::server::Server;

impl Server {
    pub(crate) async fn patch(
        &self,
        caller: &Principal,
        kind: PatchKind,
        request: Request,
    ) -> Result<Reply, ApiError> {
        if request.body.len() > OBJECT_MAX_BYTES {
            return Err(ApiError::new(Reason::RequestEntityTooLarge, "the patch is larger than 1 MiB"));
        }
        match kind {
            PatchKind::Apply => self.apply(caller, request).await,
            PatchKind::Merge => {
                let patch: Value = parse_json(&request.body)?;
                let version = patch
                    .pointer("/metadata/resourceVersion")
                    .and_then(Value::as_str)
                    .unwrap_or("")
                    .to_owned();
                self.change_as_json(caller, &request, &version, |object| {
                    json_patch::merge(object, &patch);
                    Ok(())
                })
                .await
            }
            PatchKind::Json => {
                let patch: json_patch::Patch = serde_json::from_slice(&request.body).map_err(|e| {
                    ApiError::bad_request(format!("this is not a JSON patch (RFC 6902): {e}"))
                })?;
                self.change_as_json(caller, &request, "", |object| {
                    json_patch::patch(object, &patch).map_err(|e| {
                        ApiError::new(Reason::Invalid, format!("the patch does not fit the object: {e}"))
                    })
                })
                .await
            }
        }
    }

    async fn change_as_json<F>(
        &self,
        caller: &Principal,
        request: &Request,
        version: &str,
        edit: F,
    ) -> Result<Reply, ApiError>
    where
        F: Fn(&mut Value) -> Result<(), ApiError>,
    {
        self.change(caller, request, version, |_, old| {
            let mut value = to_json(old)?;
            edit(&mut value)?;
            from_json(request, &value)
        })
        .await
    }

    /// Server-side apply: creates the object or sets the fields the manager states, and only those.
    async fn apply(&self, caller: &Principal, request: Request) -> Result<Reply, ApiError> {
        if request.write.field_manager.is_empty() {
            return Err(ApiError::bad_request("fieldManager must be set for server-side apply"));
        }
        let applied: Value = serde_yaml_ng::from_slice(&request.body)
            .map_err(|e| ApiError::bad_request(format!("the body is neither YAML nor JSON: {e}")))?;
        let mut stated = from_json(&request, &applied)?;
        match_path(&request, &mut *stated)?;
        if !stated.metadata().managed_fields.is_empty() {
            return Err(ApiError::bad_request("metadata.managedFields must be empty for server-side apply"));
        }
        let version = stated.metadata().resource_version.clone();
        match self.entry(&request).await {
            Err(e) if e.is_not_found() && request.subresource.is_empty() && version.is_empty() => {
                let merged = self.applied(&request, None, &applied)?;
                let mut object = from_json(&request, &merged)?;
                match_path(&request, &mut *object)?;
                self.begin_life(&mut *object)?;
                match self.insert(caller, request.clone(), object).await {
                    // Someone else created it in between: apply to that one.
                    Err(e) if e.reason == Reason::AlreadyExists => {}
                    result => return result,
                }
            }
            Err(e) => return Err(e),
            Ok(_) => {}
        }
        self.change(caller, &request, &version, |_, old| {
            let merged = self.applied(&request, Some(&to_json(old)?), &applied)?;
            from_json(&request, &merged)
        })
        .await
    }

    fn applied(&self, request: &Request, live: Option<&Value>, applied: &Value) -> Result<Value, ApiError> {
        apply::apply(&apply::Apply {
            live,
            applied,
            manager: &request.write.field_manager,
            subresource: &request.subresource,
            force: request.write.force,
            now: self.inner.environment.now(),
            kind: request.kind,
        })
        .map_err(|conflicts| {
            let causes = conflicts
                .iter()
                .map(|c| model::Cause {
                    reason: "FieldManagerConflict".into(),
                    message: format!("conflict with {:?}", c.manager),
                    field: c.field.clone(),
                })
                .collect();
            ApiError { reason: Reason::Conflict, message: conflicts.to_string(), causes }
        })
    }

    /// Notes who set which fields, for callers that name themselves.
    pub(super) fn track_manager(
        &self,
        request: &Request,
        old: Option<&dyn AnyObject>,
        new: &mut dyn AnyObject,
    ) {
        if request.write.field_manager.is_empty() {
            return;
        }
        let old = old.and_then(|old| to_json(old).ok());
        let Ok(value) = to_json(new) else { return };
        new.metadata_mut().managed_fields = apply::track_update(&apply::Update {
            old: old.as_ref(),
            new: &value,
            manager: &request.write.field_manager,
            subresource: &request.subresource,
            now: self.inner.environment.now(),
            kind: request.kind,
        });
    }
}

fn parse_json(body: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(body)
        .map_err(|e| ApiError::bad_request(format!("the body is not valid JSON: {e}")))
}

fn to_json(object: &dyn AnyObject) -> Result<Value, ApiError> {
    serde_json::from_slice(&object.encode()).map_err(|e| ApiError::internal(e.to_string()))
}

fn from_json(request: &Request, value: &Value) -> Result<Box<dyn AnyObject>, ApiError> {
    let bytes = serde_json::to_vec(value).map_err(|e| ApiError::internal(e.to_string()))?;
    let mut object = (request.kind.decode)(&bytes, true).map_err(|e| {
        let mut error = decode_error(request.kind, &e);
        error.reason = Reason::Invalid;
        error
    })?;
    match_path(request, &mut *object)?;
    Ok(object)
}
