//! How a command ends when it does not succeed: the exit code scripts rely on, what went wrong, what to do.

use std::fmt;
use std::io;

use model::{ApiError, Reason};

/// The exit codes of every command; scripts rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    NotFound = 3,
    /// By authorization or quota.
    Refused = 4,
    TimedOut = 5,
}

/// Why a command ends, in one line, and the remedy in another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// Empty when there is nobody left to tell.
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(Exit::NotFound, message)
    }

    pub(crate) fn timed_out(message: impl Into<String>) -> Self {
        Self::new(Exit::TimedOut, message)
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// For `map_err`: an input or output error while doing `what`.
    pub(crate) fn io(what: impl fmt::Display) -> impl FnOnce(io::Error) -> Self {
        move |e| {
            if e.kind() == io::ErrorKind::BrokenPipe {
                return Self::reader_left();
            }
            Self::failed(format!("{what}: {}", plain(&e)))
        }
    }

    /// Whoever read the output has enough of it (`corten get ... | head`): an end, and no error.
    fn reader_left() -> Self {
        Self::new(Exit::Done, "")
    }
}

/// An operating system's error without its number.
fn plain(e: &io::Error) -> String {
    let text = e.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    text.to_lowercase()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

/// Of several things to do all are tried: each failure is told, and the first decides how the command ends.
#[derive(Debug, Default)]
pub(crate) struct Failures(Option<Failure>);

impl Failures {
    pub(crate) fn note(&mut self, failure: Failure) {
        match &self.0 {
            None => self.0 = Some(failure),
            Some(_) => eprintln!("{failure}"),
        }
    }

    pub(crate) fn end(self) -> Result<(), Failure> {
        self.0.map_or(Ok(()), Err)
    }
}

impl From<ApiError> for Failure {
    fn from(e: ApiError) -> Self {
        let exit = match e.reason {
            Reason::NotFound => Exit::NotFound,
            Reason::Forbidden | Reason::Unauthorized => Exit::Refused,
            Reason::Timeout => Exit::TimedOut,
            Reason::Invalid | Reason::BadRequest => Exit::Usage,
            _ => Exit::Failed,
        };
        let failure = Self::new(exit, e.message);
        match e.reason {
            Reason::ServiceUnavailable if failure.message.starts_with("cannot reach the server") => {
                failure.hint("`corten status` says whether the cloud runs; `corten up` starts it")
            }
            Reason::Conflict => failure.hint("somebody else changed it meanwhile: look at it and try again"),
            _ => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_exit_code() {
        let check = |reason, exit| {
            assert_eq!(Failure::from(ApiError::new(reason, "x")).exit, exit, "{reason:?}");
        };
        check(Reason::NotFound, Exit::NotFound);
        check(Reason::Forbidden, Exit::Refused);
        check(Reason::Unauthorized, Exit::Refused);
        check(Reason::Timeout, Exit::TimedOut);
        check(Reason::Invalid, Exit::Usage);
        check(Reason::BadRequest, Exit::Usage);
        check(Reason::Conflict, Exit::Failed);
        check(Reason::AlreadyExists, Exit::Failed);
        check(Reason::ServiceUnavailable, Exit::Failed);
        check(Reason::InternalError, Exit::Failed);
    }

    #[test]
    fn says_what_is_wrong_and_what_helps() {
        let failure = Failure::usage("no such thing").hint("make one");
        assert_eq!(failure.to_string(), "error: no such thing\nhint: make one");
        let missing = io::Error::from_raw_os_error(2);
        assert_eq!(
            Failure::io("cannot read x")(missing).to_string(),
            "error: cannot read x: no such file or directory"
        );
    }

    #[test]
    fn a_reader_that_left_is_no_failure() {
        let failure = Failure::io("cannot write")(io::ErrorKind::BrokenPipe.into());
        assert_eq!((failure.exit, failure.message.as_str()), (Exit::Done, ""));
    }
}
