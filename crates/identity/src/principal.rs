//! Principal: the caller of one request, and how he proved who he is. A value made here, never read from a
//! header: a client cannot name himself.

use std::fmt;

use crate::builtin::{ADMINS, HOSTS};
use crate::iam::{ACCOUNT, USER};

/// Prefix of a host's user name; an agent's certificate carries `host:NAME`.
const HOST_USER: &str = "host:";

/// The caller of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub user: String,
    pub groups: Vec<String>,
    pub how: Authentication,
}

/// How the caller proved who he is; stands in the audit line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication {
    /// A bearer token; `key` is the `AccessKey`'s name.
    Token { key: String },
    /// A signed request; `key` is the `AccessKey`'s name.
    Signature { key: String },
    /// A client certificate of this serial number.
    Certificate { serial: String },
    /// A part of the control plane in the same process.
    Component,
}

/// Where a request came from, as its connection says; what headers say of it is nobody's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceAddress(pub std::net::IpAddr);

impl Principal {
    /// A part of the control plane, for instance `scheduler`. No rule, not even a deny, holds for it: the
    /// cloud cannot be locked out of itself.
    pub fn component(name: &str) -> Self {
        Self { user: format!("corten:{name}"), groups: Vec::new(), how: Authentication::Component }
    }

    /// The caller behind a verified client certificate: the common name is the user, each organisation a group.
    /// The group of hosts is given only to `host:NAME`, and such a user has no other group.
    pub fn from_certificate(
        common_name: &str,
        organisations: impl IntoIterator<Item = String>,
        serial: impl Into<String>,
    ) -> Self {
        let is_host = host_name(common_name).is_some();
        let mut groups: Vec<String> =
            organisations.into_iter().filter(|group| (group == HOSTS) == is_host).collect();
        groups.sort_unstable();
        groups.dedup();
        Self { user: common_name.into(), groups, how: Authentication::Certificate { serial: serial.into() } }
    }

    /// A caller of IAM: whatever he is in there, here he is of this project's account.
    pub(crate) fn of_account(project: &str, name: &str, how: Authentication) -> Self {
        Self { user: format!("{USER}{project}:{name}"), groups: vec![format!("{ACCOUNT}{project}")], how }
    }

    /// The project whose account a caller of IAM is of.
    pub fn account(&self) -> Option<&str> {
        if !self.user.starts_with(USER) || !matches!(self.how, Authentication::Signature { .. }) {
            return None;
        }
        self.groups.iter().find_map(|group| group.strip_prefix(ACCOUNT))
    }

    pub fn is_component(&self) -> bool {
        self.how == Authentication::Component
    }

    pub fn is_admin(&self) -> bool {
        self.is_in(ADMINS)
    }

    /// The host this caller is the agent of.
    pub fn host(&self) -> Option<&str> {
        host_name(&self.user).filter(|_| self.is_in(HOSTS))
    }

    fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }
}

fn host_name(user: &str) -> Option<&str> {
    user.strip_prefix(HOST_USER).filter(|name| model::Name::new(name).is_ok())
}

impl fmt::Display for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token { key } => write!(f, "token {key}"),
            Self::Signature { key } => write!(f, "signature {key}"),
            Self::Certificate { serial } => write!(f, "certificate {serial}"),
            Self::Component => f.write_str("component"),
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.user, self.how)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_host_user_is_in_the_hosts_group() {
        let groups = || [HOSTS.to_string(), "staff".into()];
        let host = Principal::from_certificate("host:n1", groups(), "01");
        assert_eq!((host.host(), host.groups.as_slice()), (Some("n1"), &[HOSTS.to_string()][..]));
        let person = Principal::from_certificate("ann", groups(), "02");
        assert_eq!((person.host(), person.groups.as_slice()), (None, &["staff".to_string()][..]));
        let strange = Principal::from_certificate("host:../etc", groups(), "03");
        assert_eq!(strange.host(), None);
    }

    #[test]
    fn the_audit_line_says_how() {
        let how = Authentication::Token { key: "laptop".into() };
        let ann = Principal { user: "ann".into(), groups: vec![], how };
        assert_eq!(ann.to_string(), "ann (token laptop)");
        assert_eq!(Principal::component("scheduler").to_string(), "corten:scheduler (component)");
    }
}
