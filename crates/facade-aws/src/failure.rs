//! Why an action is refused, with AWS's own codes: clients decide by them.

use std::borrow::Cow;

use identity::aws::SignatureError;
use model::{ApiError, Reason};

/// A refusal as AWS's clients read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: Cow<'static, str>,
    pub(crate) message: String,
    /// The HTTP status.
    pub(crate) status: u16,
}

impl Failure {
    pub(crate) fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), status: 400 }
    }

    pub(crate) fn missing(parameter: &str) -> Self {
        Self::new("MissingParameter", format!("The request must contain the parameter {parameter}"))
    }

    pub(crate) fn value(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterValue", message)
    }

    /// Something EC2 can and this cloud cannot.
    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new("UnsupportedOperation", message)
    }

    pub(crate) fn unknown_action(action: &str) -> Self {
        Self::new("InvalidAction", format!("The action {action} is not valid for this web service."))
    }

    /// The answer to a dry run that would have succeeded.
    pub(crate) fn dry_run() -> Self {
        let message = "Request would have succeeded, but DryRun flag is set.";
        Self { code: "DryRunOperation".into(), message: message.into(), status: 412 }
    }

    /// A refused signature. EC2 has words of its own.
    pub(crate) fn signature(e: &SignatureError, service: &str) -> Self {
        let ec2 = service == "ec2";
        let (code, status) = match e {
            SignatureError::Missing => ("MissingAuthenticationToken", 403),
            SignatureError::Incomplete(_) => ("IncompleteSignature", 400),
            SignatureError::Expired(_) => ("RequestExpired", 400),
            SignatureError::ExpiredToken if ec2 => ("RequestExpired", 400),
            SignatureError::ExpiredToken => ("ExpiredToken", 403),
            _ if ec2 => ("AuthFailure", 401),
            SignatureError::Scope(_) => ("SignatureDoesNotMatch", 403),
            SignatureError::Refused | SignatureError::NotUsable(_) => ("InvalidClientTokenId", 403),
        };
        let message = match e {
            SignatureError::Refused if ec2 => {
                "AWS was not able to validate the provided access credentials".into()
            }
            SignatureError::Refused => "The security token included in the request is invalid".into(),
            other => other.to_string(),
        };
        Self { code: code.into(), message, status }
    }

    /// The same in the words of a service other than EC2.
    #[must_use]
    pub(crate) fn in_words_of(mut self, service: &str) -> Self {
        let (code, status) = match self.code.as_ref() {
            "InvalidParameterValue" | "MissingParameter" if service == "monitoring" => return self,
            "UnauthorizedOperation" => ("AccessDenied", 403),
            "InvalidParameterValue" | "MissingParameter" | "UnknownParameter" => ("ValidationError", 400),
            "RequestLimitExceeded" => ("Throttling", 400),
            "InternalError" | "Unavailable" => ("ServiceFailure", 500),
            _ => return self,
        };
        self.code = code.into();
        self.status = status;
        self
    }

    /// What is in use stays.
    #[must_use]
    pub(crate) fn in_use_as(e: ApiError, code: &'static str) -> Self {
        if e.is_conflict() { Self::new(code, e.message) } else { e.into() }
    }
}

impl From<ApiError> for Failure {
    fn from(e: ApiError) -> Self {
        let (code, status) = match e.reason {
            Reason::Forbidden if e.message.starts_with("quota ") => ("InstanceLimitExceeded", 400),
            Reason::Forbidden => ("UnauthorizedOperation", 403),
            Reason::Unauthorized => ("AuthFailure", 401),
            Reason::Conflict => ("DependencyViolation", 400),
            Reason::TooManyRequests => ("RequestLimitExceeded", 503),
            Reason::InternalError => ("InternalError", 500),
            Reason::ServiceUnavailable | Reason::Timeout => ("Unavailable", 503),
            Reason::InsufficientStorage => ("InsufficientCapacity", 500),
            Reason::NotImplemented => ("UnsupportedOperation", 400),
            _ => ("InvalidParameterValue", 400),
        };
        let message = match e.reason {
            Reason::Forbidden if code == "UnauthorizedOperation" => {
                format!("You are not authorized to perform this operation: {}", e.message)
            }
            _ => e.message,
        };
        Self { code: code.into(), message, status }
    }
}
