//! The API's error: Kubernetes' `Status` object, as a typed value with the reasons Corten uses.

use serde::{Deserialize, Serialize};

use crate::FieldErrors;

/// Why a call was refused; decides the HTTP code and the command's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    AlreadyExists,
    Conflict,
    /// The asked-for revision was compacted away: list again.
    Expired,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    Invalid,
    TooManyRequests,
    InternalError,
    NotImplemented,
    ServiceUnavailable,
    Timeout,
    /// The store is out of space or otherwise read-only.
    InsufficientStorage,
}

impl Reason {
    /// The HTTP status code.
    pub fn code(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::NotAcceptable => 406,
            Self::AlreadyExists | Self::Conflict => 409,
            Self::Expired => 410,
            Self::RequestEntityTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::Invalid => 422,
            Self::TooManyRequests => 429,
            Self::InternalError => 500,
            Self::NotImplemented => 501,
            Self::ServiceUnavailable => 503,
            Self::Timeout => 504,
            Self::InsufficientStorage => 507,
        }
    }

    /// The reason that best fits a bare HTTP code.
    pub fn from_code(code: u16) -> Self {
        match code {
            400 => Self::BadRequest,
            401 => Self::Unauthorized,
            403 => Self::Forbidden,
            404 => Self::NotFound,
            405 => Self::MethodNotAllowed,
            406 => Self::NotAcceptable,
            409 => Self::Conflict,
            410 => Self::Expired,
            413 => Self::RequestEntityTooLarge,
            415 => Self::UnsupportedMediaType,
            422 => Self::Invalid,
            429 => Self::TooManyRequests,
            501 => Self::NotImplemented,
            503 => Self::ServiceUnavailable,
            504 => Self::Timeout,
            507 => Self::InsufficientStorage,
            _ => Self::InternalError,
        }
    }
}

/// One field's part in an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    pub message: String,
    #[serde(default)]
    pub field: String,
}

/// A refused or failed call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    pub reason: Reason,
    pub message: String,
    pub causes: Vec<Cause>,
}

impl ApiError {
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), causes: Vec::new() }
    }

    pub fn not_found(resource: &str, name: &str) -> Self {
        Self::new(Reason::NotFound, format!("{resource} {name:?} not found"))
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Reason::BadRequest, message)
    }

    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Reason::Conflict, message)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Reason::InternalError, message)
    }

    /// The object breaks rules of its kind; every field is named.
    pub fn invalid(kind: &str, name: &str, errors: &FieldErrors) -> Self {
        let causes = errors
            .iter()
            .map(|e| Cause {
                reason: "FieldValueInvalid".into(),
                message: e.message.clone(),
                field: e.field.clone(),
            })
            .collect();
        Self { reason: Reason::Invalid, message: format!("{kind} {name:?} is invalid: {errors}"), causes }
    }

    pub fn is_not_found(&self) -> bool {
        self.reason == Reason::NotFound
    }

    pub fn is_conflict(&self) -> bool {
        self.reason == Reason::Conflict
    }

    /// The wire form, a `v1` Status object.
    pub fn to_json(&self) -> serde_json::Value {
        let mut status = serde_json::json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.reason.code(),
        });
        if !self.causes.is_empty() {
            status["details"] = serde_json::json!({ "causes": self.causes });
        }
        status
    }

    /// Reads the wire form; a body that is no Status becomes the message.
    pub fn from_response(code: u16, body: &[u8]) -> Self {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Wire {
            message: String,
            reason: Option<Reason>,
            details: Details,
        }
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Details {
            causes: Vec<Cause>,
        }
        match serde_json::from_slice::<Wire>(body) {
            Ok(wire) if !wire.message.is_empty() => Self {
                reason: wire.reason.unwrap_or(Reason::from_code(code)),
                message: wire.message,
                causes: wire.details.causes,
            },
            _ => {
                let text: String = String::from_utf8_lossy(body).chars().take(300).collect();
                Self::new(Reason::from_code(code), format!("the server answered {code}: {text}"))
            }
        }
    }
}
