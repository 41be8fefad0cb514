//! The verbs, generic over kinds.

mod bind;
mod create;
mod delete;
mod list;
mod patch;
mod preview;
mod selection;
mod update;
mod watch;

pub(crate) use bind::require_own_host;
pub(crate) use list::prefix;
pub(crate) use update::changed_meanwhile;

use client::{Reply, Request};
use model::{AnyObject, ApiError, DecodeError, KindEntry, Reason, Uid};
use serde::Deserialize;
use store::Entry;

use crate::server::{Server, store_error};

/// How often a change is tried again when another came between and the caller did not name a version.
const CONFLICT_RETRIES: usize = 16;

/// Largest object accepted, in bytes.
pub(crate) const OBJECT_MAX_BYTES: usize = 1 << 20;

/// What a host asks for of one object that it has, and of no later one of that name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wish {
    pub(crate) uid: Uid,
}

impl Wish {
    pub(crate) fn of(request: &Request) -> Result<Self, ApiError> {
        serde_json::from_slice(&request.body)
            .map_err(|e| ApiError::bad_request(format!("this is not a valid wish: {e}")))
    }
}

impl Server {
    pub(crate) async fn get(&self, request: &Request) -> Result<Reply, ApiError> {
        let entry = self.entry(request).await?;
        Ok(Reply { body: crate::record::wire(&entry.value, entry.mod_revision), created: false })
    }

    /// The stored object a request names.
    pub(crate) async fn entry(&self, request: &Request) -> Result<Entry, ApiError> {
        let info = &request.kind.info;
        let key = info.key(request.project.as_deref().unwrap_or(""), &request.name);
        self.inner
            .store
            .get(&key, None)
            .await
            .map_err(store_error)?
            .ok_or_else(|| ApiError::not_found(&info.resource(), &request.name))
    }
}

/// Reads an object that a user sent.
fn decode_input(kind: &KindEntry, body: &[u8]) -> Result<Box<dyn AnyObject>, ApiError> {
    if body.len() > OBJECT_MAX_BYTES {
        let message = format!("the object is {} bytes, at most {OBJECT_MAX_BYTES} are allowed", body.len());
        return Err(ApiError::new(Reason::RequestEntityTooLarge, message));
    }
    (kind.decode)(body, true).map_err(|e| decode_error(kind, &e))
}

fn decode_error(kind: &KindEntry, error: &DecodeError) -> ApiError {
    let field = match error {
        DecodeError::Field { field, .. } | DecodeError::Unknown { field, .. } => field.clone(),
        DecodeError::WrongType { field, .. } => (*field).to_owned(),
        DecodeError::Syntax(_) => String::new(),
    };
    let cause = model::Cause { reason: "FieldValueInvalid".into(), message: error.to_string(), field };
    let message = format!("this is not a valid {}: {error}", kind.info.kind);
    ApiError { reason: Reason::BadRequest, message, causes: vec![cause] }
}

/// Checks that the object in the body is the one that the path names, and fills in what the path says.
fn match_path(request: &Request, object: &mut dyn AnyObject) -> Result<(), ApiError> {
    let meta = object.metadata_mut();
    let project = request.project.as_deref().unwrap_or("");
    for (field, given, wanted) in [
        ("metadata.namespace", &mut meta.namespace, project),
        ("metadata.name", &mut meta.name, request.name.as_str()),
    ] {
        let free = field == "metadata.name" && wanted.is_empty();
        if given.is_empty() {
            wanted.clone_into(given);
        } else if !free && given != wanted {
            return Err(ApiError::bad_request(format!("{field} is {given:?}, but the path says {wanted:?}")));
        }
    }
    Ok(())
}
