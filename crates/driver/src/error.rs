//! Why a driver could not do something; the sentence reaches the user.

#[derive(Debug, Clone, thiserror::Error)]
pub enum DriverError {
    /// There is no such sandbox on this host.
    #[error("no sandbox {0} on this host")]
    NotFound(String),
    /// The driver does not do this (here).
    #[error("{driver} cannot {what}")]
    Unsupported { driver: &'static str, what: String },
    /// The plan is wrong; trying again does not help.
    #[error("{0}")]
    Invalid(String),
    /// The sandbox is in a state in which this cannot be done.
    #[error("{0}")]
    WrongState(String),
    /// The program behind the driver failed; its own words are in `detail`.
    #[error("{what}: {detail}")]
    Failed { what: String, detail: String },
    #[error("{what} did not finish within {seconds} s")]
    TimedOut { what: String, seconds: u64 },
}

impl DriverError {
    pub fn failed(what: impl Into<String>, detail: impl std::fmt::Display) -> Self {
        Self::Failed { what: what.into(), detail: detail.to_string() }
    }
}
