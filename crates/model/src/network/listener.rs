//! What a load balancer listens on, and what becomes of what comes in.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Cidr;
use super::rules::{at_most, check_name, check_names};
use crate::{FieldErrors, Name};

const RULES_MAX: usize = 100;
const MORE_TLS_MAX: usize = 25;
const CONDITIONS_MAX: usize = 10;
const VALUES_MAX: usize = 20;
const VALUE_MAX: usize = 256;
/// Longest path that a rule or a check names, in bytes.
const PATH_MAX: usize = 1024;
const BODY_MAX: usize = 4096;
const LISTENER_NAME_MAX: usize = 63;

/// A port that is listened on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Listener {
    /// What it is called, where that is to stay when its port changes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    pub port: u16,
    pub protocol: ListenerProtocol,
    /// Where requests go that no rule sends elsewhere: a group of spec.targetGroups, or else the TargetGroup of this name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target_group: String,
    /// Instead of a target group, for protocol http and https: ask elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Redirect>,
    /// Instead of a target group, for protocol http and https: this answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<FixedResponse>,
    /// For protocol http and https; the first that matches decides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<ListenerRule>,
    /// The secret with certificate and key, for protocol https and tls.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tls: String,
    /// Secrets with other certificates, of which each client is shown the one that fits the name that it asks for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub more_tls: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum ListenerProtocol {
    #[default]
    Tcp,
    Udp,
    Tls,
    Http,
    Https,
}

impl ListenerProtocol {
    pub fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Https)
    }

    /// Whether requests are read, so that rules can decide over each.
    pub fn reads_requests(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }
}

/// What becomes of some requests: all that is said of them holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ListenerRule {
    /// What it is called, where that is to stay when rules before it come or go.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Smaller ones are looked at first, 1 to 50000; those without come last, in the order of the list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u16>,
    /// The host asked for, as in `www.example.org` or `*.example.org`; any when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// What the path begins with; any when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path_prefix: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<RuleCondition>,
    /// A group of spec.targetGroups, or else the TargetGroup of this name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target_group: String,
    /// Instead of a target group: ask elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Redirect>,
    /// Instead of a target group: this answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<FixedResponse>,
}

/// Something a request has: one of the values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RuleCondition {
    pub field: RuleField,
    /// The header that is looked at, for field header.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// In hosts, paths, headers and queries `*` stands for any text and `?` for one character. Queries are `key=value`,
    /// sources are networks.
    pub values: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum RuleField {
    Host,
    #[default]
    Path,
    Method,
    Header,
    Query,
    Source,
}

/// Where a client is told to ask. `#{protocol}`, `#{host}`, `#{port}`, `#{path}` (without its first `/`) and `#{query}`
/// stand for those of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Redirect {
    /// http or https; that of the request when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// That of the request when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// The listener's when left out; the usual one where the protocol is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// That of the request when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// That of the request when left out; `-` for none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub query: String,
    /// 301 for good, 302 for now.
    pub status: u16,
}

impl Default for Redirect {
    fn default() -> Self {
        let (protocol, host, path, query) = (String::new(), String::new(), String::new(), String::new());
        Self { protocol, host, port: None, path, query, status: 302 }
    }
}

/// An answer that no target has a word in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FixedResponse {
    /// 200 to 599, but none of 300 to 399.
    pub status: u16,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub content_type: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub body: String,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestAction<'a> {
    Forward(&'a str),
    Redirect(&'a Redirect),
    Respond(&'a FixedResponse),
}

fn action<'a>(
    target_group: &'a str,
    redirect: Option<&'a Redirect>,
    response: Option<&'a FixedResponse>,
) -> RequestAction<'a> {
    match (redirect, response) {
        (Some(redirect), _) => RequestAction::Redirect(redirect),
        (None, Some(response)) => RequestAction::Respond(response),
        (None, None) => RequestAction::Forward(target_group),
    }
}

impl ListenerRule {
    pub fn action(&self) -> RequestAction<'_> {
        action(&self.target_group, self.redirect.as_ref(), self.response.as_ref())
    }
}

impl Listener {
    pub fn action(&self) -> RequestAction<'_> {
        action(&self.target_group, self.redirect.as_ref(), self.response.as_ref())
    }

    /// The rules in the order in which they are looked at.
    pub fn ordered_rules(&self) -> Vec<&ListenerRule> {
        let mut rules: Vec<&ListenerRule> = self.rules.iter().collect();
        rules.sort_by_key(|rule| rule.priority.unwrap_or(u16::MAX));
        rules
    }

    /// Names of the groups that it sends to, and where each stands below the listener.
    pub fn target_groups(&self) -> impl Iterator<Item = (&str, String)> {
        let rules = self.rules.iter().enumerate();
        let of_rules = rules.map(|(i, rule)| (rule.target_group.as_str(), format!("rules[{i}].targetGroup")));
        let own = std::iter::once((self.target_group.as_str(), "targetGroup".to_owned()));
        own.chain(of_rules).filter(|(name, _)| !name.is_empty())
    }

    pub(super) fn validate(&self, field: &str, errors: &mut FieldErrors) {
        errors.require(self.port > 0, &format!("{field}.port"), "must be 1 to 65535");
        check_label(&format!("{field}.name"), &self.name, errors);
        let encrypted = self.protocol.is_encrypted();
        errors.require(
            encrypted != self.tls.is_empty(),
            &format!("{field}.tls"),
            "must name the secret with certificate and key for protocol https and tls, and only for those",
        );
        check_name(&format!("{field}.tls"), &self.tls, errors);
        errors.require(
            encrypted || self.more_tls.is_empty(),
            &format!("{field}.moreTls"),
            "is only for protocol https and tls",
        );
        check_names(&format!("{field}.moreTls"), &self.more_tls, MORE_TLS_MAX, errors);
        let reads_requests = self.protocol.reads_requests();
        for (name, given) in [
            ("rules", !self.rules.is_empty()),
            ("redirect", self.redirect.is_some()),
            ("response", self.response.is_some()),
        ] {
            let message = "is only for protocol http and https";
            errors.require(reads_requests || !given, &format!("{field}.{name}"), message);
        }
        check_action(field, &self.target_group, self.redirect.as_ref(), self.response.as_ref(), errors);
        at_most(&format!("{field}.rules"), &self.rules, RULES_MAX, errors);
        let (mut names, mut priorities) = (BTreeSet::new(), BTreeSet::new());
        for (i, rule) in self.rules.iter().enumerate() {
            let at = format!("{field}.rules[{i}]");
            rule.validate(&at, errors);
            if !rule.name.is_empty() && !names.insert(rule.name.as_str()) {
                errors.push(format!("{at}.name"), format!("{:?} is there twice", rule.name));
            }
            if rule.priority.is_some_and(|priority| !priorities.insert(priority)) {
                errors.push(format!("{at}.priority"), "another rule has it; every rule needs its own");
            }
        }
    }
}

impl ListenerRule {
    fn validate(&self, at: &str, errors: &mut FieldErrors) {
        check_label(&format!("{at}.name"), &self.name, errors);
        errors.require(
            self.priority.is_none_or(|priority| (1..=50_000).contains(&priority)),
            &format!("{at}.priority"),
            "must be 1 to 50000",
        );
        if !self.path_prefix.is_empty() {
            check_path(&format!("{at}.pathPrefix"), &self.path_prefix, errors);
        }
        errors.require(
            self.host.is_empty() || Name::new(self.host.strip_prefix("*.").unwrap_or(&self.host)).is_ok(),
            &format!("{at}.host"),
            "must be a host's name, such as www.example.org or *.example.org",
        );
        at_most(&format!("{at}.conditions"), &self.conditions, CONDITIONS_MAX, errors);
        for (i, condition) in self.conditions.iter().enumerate() {
            condition.validate(&format!("{at}.conditions[{i}]"), errors);
        }
        check_action(at, &self.target_group, self.redirect.as_ref(), self.response.as_ref(), errors);
    }
}

impl RuleCondition {
    fn validate(&self, at: &str, errors: &mut FieldErrors) {
        let is_token = |text: &str| {
            !text.is_empty()
                && text.len() <= 40
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        errors.require(
            (self.field == RuleField::Header) != self.name.is_empty(),
            &format!("{at}.name"),
            "must name the header for field header, and only there",
        );
        errors.require(
            self.name.is_empty() || is_token(&self.name),
            &format!("{at}.name"),
            "must be a header's name: letters, digits, '-' and '_', at most 40",
        );
        at_most(&format!("{at}.values"), &self.values, VALUES_MAX, errors);
        errors.require(!self.values.is_empty(), &format!("{at}.values"), "must have one value at least");
        for (i, value) in self.values.iter().enumerate() {
            let (ok, message) = match self.field {
                RuleField::Method => {
                    (is_token(value), "must be a method, such as GET: letters, digits, '-' and '_'")
                }
                RuleField::Source => {
                    (value.parse::<Cidr>().is_ok(), "must be a network, such as 192.0.2.0/24")
                }
                RuleField::Query => {
                    (is_plain(value) && value.contains('='), "must be key=value, without quotes")
                }
                RuleField::Header => {
                    (is_line(value), "must be text of one line without quotes and backslashes")
                }
                RuleField::Host | RuleField::Path => {
                    (is_plain(value), "must be visible ASCII without quotes and backslashes")
                }
            };
            let fits = !value.is_empty() && value.len() <= VALUE_MAX;
            errors.require(ok && fits, &format!("{at}.values[{i}]"), message);
        }
    }
}

impl Redirect {
    fn validate(&self, at: &str, errors: &mut FieldErrors) {
        errors.require(
            matches!(self.protocol.as_str(), "" | "http" | "https"),
            &format!("{at}.protocol"),
            "must be http or https",
        );
        errors.require(self.port != Some(0), &format!("{at}.port"), "must be 1 to 65535");
        errors.require(matches!(self.status, 301 | 302), &format!("{at}.status"), "must be 301 or 302");
        errors.require(
            self.path.is_empty() || self.path.starts_with('/'),
            &format!("{at}.path"),
            "must begin with /",
        );
        for (name, text) in [("host", &self.host), ("path", &self.path), ("query", &self.query)] {
            let message = "must be visible ASCII without quotes, backslashes and %[, at most 1024 characters";
            let fine = text.is_empty() || is_plain(text) && text.len() <= PATH_MAX && !text.contains("%[");
            errors.require(fine, &format!("{at}.{name}"), message);
        }
        let changes = [&self.protocol, &self.host, &self.path, &self.query].iter().any(|t| !t.is_empty());
        errors.require(changes || self.port.is_some(), at, "must lead elsewhere: say what changes");
    }
}

impl FixedResponse {
    fn validate(&self, at: &str, errors: &mut FieldErrors) {
        errors.require(
            (200..300).contains(&self.status) || (400..600).contains(&self.status),
            &format!("{at}.status"),
            "must be 200 to 299 or 400 to 599",
        );
        errors.require(
            self.content_type.is_empty() || is_line(&self.content_type) && self.content_type.len() <= 127,
            &format!("{at}.contentType"),
            "must be a media type, such as text/plain",
        );
        errors.require(self.body.len() <= BODY_MAX, &format!("{at}.body"), "must have at most 4096 bytes");
        errors.require(
            self.body.is_empty() || !self.content_type.is_empty(),
            &format!("{at}.contentType"),
            "must say what the body is, such as text/plain",
        );
    }
}

fn check_action(
    at: &str,
    target_group: &str,
    redirect: Option<&Redirect>,
    response: Option<&FixedResponse>,
    errors: &mut FieldErrors,
) {
    let ways = usize::from(!target_group.is_empty())
        + usize::from(redirect.is_some())
        + usize::from(response.is_some());
    errors.require(
        ways == 1,
        &format!("{at}.targetGroup"),
        "must name a target group, unless there is exactly one of redirect and response",
    );
    check_name(&format!("{at}.targetGroup"), target_group, errors);
    if let Some(redirect) = redirect {
        redirect.validate(&format!("{at}.redirect"), errors);
    }
    if let Some(response) = response {
        response.validate(&format!("{at}.response"), errors);
    }
}

fn check_label(field: &str, text: &str, errors: &mut FieldErrors) {
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    errors.require(
        text.len() <= LISTENER_NAME_MAX && text.bytes().all(fine),
        field,
        "must have letters, digits, '-', '_' and '.' alone, at most 63",
    );
}

/// Visible ASCII that ends no word of a configuration.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\'' | b'\\' | b'`'))
}

/// The same with spaces.
fn is_line(text: &str) -> bool {
    is_plain(&text.replace(' ', ""))
}

/// A path as it may stand in a request: visible ASCII without quotes and backslashes.
pub(super) fn check_path(field: &str, path: &str, errors: &mut FieldErrors) {
    errors.require(
        path.starts_with('/') && is_plain(path) && path.len() <= PATH_MAX,
        field,
        "must begin with /, and have no spaces, quotes or backslashes; write those as %20 and the like",
    );
}
