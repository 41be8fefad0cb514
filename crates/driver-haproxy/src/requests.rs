//! What becomes of requests that a listener reads: from its rules to HAProxy's words. Pure.
//!
//! HAProxy answers and redirects before it chooses a backend, whatever the order of the lines. So the first rule that
//! matches is noted by its number, and everything else goes by that note.

use std::fmt::Write;
use std::path::PathBuf;

use driver::DriverError;
use model::network::{
    FixedResponse, Listener, ListenerProtocol, ListenerRule, Redirect, RequestAction, RuleCondition,
    RuleField,
};

use crate::config::{ExtraFile, hex, line, path, quoted};

/// The note on a request: the number of its rule, from 1; 0 when no rule matches.
const NOTE: &str = "var(txn.rule)";

/// Adds the lines that decide over each request of a listener. `group` says how the backend of a group is called, `file`
/// where a file of the balancer is. Bodies of answers are added to `files`.
pub(crate) fn decide(
    out: &mut String,
    listener: &Listener,
    files: &mut Vec<ExtraFile>,
    file: &dyn Fn(&str) -> PathBuf,
    group: &dyn Fn(&str) -> String,
) -> Result<(), DriverError> {
    let rules = listener.ordered_rules();
    for (i, rule) in rules.iter().enumerate() {
        let tests = tests(out, i + 1, rule)?;
        line(out, format_args!("    http-request set-var(txn.rule,ifnotexists) int({}){tests}", i + 1));
    }
    line(out, format_args!("    http-request set-var(txn.rule,ifnotexists) int(0)"));
    let ends = rules.iter().map(|rule| rule.action()).enumerate().map(|(i, action)| (i + 1, action));
    let all: Vec<(usize, RequestAction<'_>)> = ends.chain([(0, listener.action())]).collect();
    for (number, action) in &all {
        let when = format!("if {{ {NOTE} -m int {number} }}");
        match action {
            RequestAction::Forward(_) => {}
            RequestAction::Redirect(to) => {
                let location = location(out, listener, to)?;
                let status = to.status;
                line(out, format_args!("    http-request redirect location {location} code {status} {when}"));
            }
            RequestAction::Respond(answer) => {
                let told = answered(answer, files, file)?;
                line(out, format_args!("    http-request return status {}{told} {when}", answer.status));
            }
        }
    }
    for (number, action) in &all {
        match action {
            RequestAction::Forward(name) if *number == 0 => {
                line(out, format_args!("    default_backend {}", group(name)));
            }
            RequestAction::Forward(name) => {
                let backend = group(name);
                line(out, format_args!("    use_backend {backend} if {{ {NOTE} -m int {number} }}"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// What a request has to have for a rule, as the end of a line. Tests that need several lines are written first.
fn tests(out: &mut String, number: usize, rule: &ListenerRule) -> Result<String, DriverError> {
    let mut names: Vec<String> = Vec::new();
    if !rule.host.is_empty() {
        names.push(format!("rule-{number}-host"));
        let test = match rule.host.strip_prefix('*') {
            Some(suffix) => format!("-m end {}", quoted(suffix)?),
            None => format!("-m str {}", quoted(&rule.host)?),
        };
        line(out, format_args!("    acl rule-{number}-host req.hdr(host),host_only -i {test}"));
    }
    if !rule.path_prefix.is_empty() {
        names.push(format!("rule-{number}-path"));
        let prefix = quoted(&rule.path_prefix)?;
        line(out, format_args!("    acl rule-{number}-path path -m beg {prefix}"));
    }
    for (i, condition) in rule.conditions.iter().enumerate() {
        let name = format!("rule-{number}-{i}");
        // Lines of the same name: one of them is enough.
        for value in &condition.values {
            line(out, format_args!("    acl {name} {}", test(condition, value)?));
        }
        names.push(name);
    }
    Ok(if names.is_empty() { String::new() } else { format!(" if {}", names.join(" ")) })
}

fn test(condition: &RuleCondition, value: &str) -> Result<String, DriverError> {
    Ok(match condition.field {
        RuleField::Host => format!("req.hdr(host),host_only -i {}", whole(value)?),
        RuleField::Path => format!("path {}", whole(value)?),
        RuleField::Method => format!("method {}", quoted(value)?),
        RuleField::Header => {
            let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
            if !condition.name.bytes().all(fine) {
                return Err(DriverError::Invalid(format!("{:?} is no name of a header", condition.name)));
            }
            format!("req.hdr({}) -i {}", condition.name, whole(value)?)
        }
        RuleField::Query => {
            format!("query -m reg {}", quoted(&format!("(^|&){}(&|$)", regex(value, "[^&]")))?)
        }
        RuleField::Source => format!("src {}", quoted(value)?),
    })
}

/// How a text with `*` and `?` is compared with all of another.
fn whole(pattern: &str) -> Result<String, DriverError> {
    if pattern.contains(['*', '?']) {
        Ok(format!("-m reg {}", quoted(&format!("^{}$", regex(pattern, ".")))?))
    } else {
        Ok(format!("-m str {}", quoted(pattern)?))
    }
}

/// A regular expression that matches what a pattern does, `any` being a character of it.
fn regex(pattern: &str, any: &str) -> String {
    let mut out = String::new();
    for c in pattern.chars() {
        match c {
            '*' => {
                out.push_str(any);
                out.push('*');
            }
            '?' => out.push_str(any),
            c if c.is_ascii_alphanumeric() => out.push(c),
            c => {
                out.push('\\');
                out.push(c);
            }
        }
    }
    out
}

/// Where a client is sent, as one word in which HAProxy puts in what the request has.
fn location(out: &mut String, listener: &Listener, to: &Redirect) -> Result<String, DriverError> {
    let own = if listener.protocol == ListenerProtocol::Https { "https" } else { "http" };
    let protocol = if to.protocol.is_empty() { own } else { &to.protocol };
    let usual = if protocol == "https" { 443 } else { 80 };
    let port = to.port.unwrap_or(if protocol == own { listener.port } else { usual });
    let known = Known { protocol: own, port: listener.port };
    let host = known.text(if to.host.is_empty() { "#{host}" } else { &to.host });
    let path = known.text(if to.path.is_empty() { "/#{path}" } else { &to.path });
    let port = if port == usual { String::new() } else { format!(":{port}") };
    let query = match to.query.as_str() {
        "" | "#{query}" => {
            // Without a query there is no question mark.
            line(
                out,
                format_args!(
                    "    http-request set-var-fmt(txn.query) '?%[query]' if {{ query -m len gt 0 }}"
                ),
            );
            "%[var(txn.query)]".to_owned()
        }
        "-" => String::new(),
        given => format!("?{}", known.text(given)),
    };
    quoted(&format!("{protocol}://{host}{port}{path}{query}"))
}

/// What is known of a request before it comes.
struct Known {
    protocol: &'static str,
    port: u16,
}

impl Known {
    /// A text in HAProxy's form, with what stands for parts of the request.
    fn text(&self, given: &str) -> String {
        let port = self.port.to_string();
        let plain = given.replace('%', "%%");
        [
            ("#{protocol}", self.protocol),
            ("#{host}", "%[req.hdr(host),host_only]"),
            ("#{port}", port.as_str()),
            ("#{path}", "%[path,bytes(1)]"),
            ("#{query}", "%[query]"),
        ]
        .iter()
        .fold(plain, |text, (name, value)| text.replace(name, value))
    }
}

/// The body of an answer, which is a file of its own: it may have any characters.
fn answered(
    answer: &FixedResponse,
    files: &mut Vec<ExtraFile>,
    file: &dyn Fn(&str) -> PathBuf,
) -> Result<String, DriverError> {
    if answer.body.is_empty() {
        return Ok(String::new());
    }
    let name = format!("answer-{}.body", hex(answer.body.as_bytes()));
    let mut told = String::new();
    // Writing to a string does not fail.
    let _ = write!(told, " content-type {} file {}", quoted(&answer.content_type)?, path(file(&name)));
    if !files.iter().any(|known| known.name == name) {
        files.push(ExtraFile { name, content: answer.body.clone().into_bytes() });
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(listener: &Listener) -> (String, Vec<ExtraFile>) {
        let (mut out, mut files) = (String::new(), Vec::new());
        let file = |name: &str| PathBuf::from("/run/x").join(name);
        decide(&mut out, listener, &mut files, &file, &|name| format!("http-{name}")).unwrap();
        (out, files)
    }

    fn condition(field: RuleField, values: &[&str]) -> RuleCondition {
        let name = if field == RuleField::Header { "X-Team".into() } else { String::new() };
        RuleCondition { field, name, values: values.iter().map(|v| (*v).into()).collect() }
    }

    #[test]
    fn the_first_that_matches_decides() {
        let to = |group: &str| ListenerRule { target_group: group.into(), ..ListenerRule::default() };
        let later = ListenerRule { path_prefix: "/v1".into(), ..to("late") };
        let first = ListenerRule {
            priority: Some(3),
            conditions: vec![
                condition(RuleField::Path, &["/a.b", "/v?/*"]),
                condition(RuleField::Query, &["k=*"]),
            ],
            ..to("first")
        };
        let listener = Listener {
            port: 80,
            protocol: ListenerProtocol::Http,
            target_group: "app".into(),
            rules: vec![later, first],
            ..Listener::default()
        };
        assert_eq!(
            decided(&listener).0,
            "    acl rule-1-0 path -m str '/a.b'
    acl rule-1-0 path -m reg '^\\/v.\\/.*$'
    acl rule-1-1 query -m reg '(^|&)k\\=[^&]*(&|$)'
    http-request set-var(txn.rule,ifnotexists) int(1) if rule-1-0 rule-1-1
    acl rule-2-path path -m beg '/v1'
    http-request set-var(txn.rule,ifnotexists) int(2) if rule-2-path
    http-request set-var(txn.rule,ifnotexists) int(0)
    use_backend http-first if { var(txn.rule) -m int 1 }
    use_backend http-late if { var(txn.rule) -m int 2 }
    default_backend http-app
"
        );
    }

    #[test]
    fn answers_and_redirects() {
        let redirect = |redirect| Listener {
            port: 80,
            protocol: ListenerProtocol::Http,
            redirect: Some(redirect),
            ..Listener::default()
        };
        let to = Redirect { protocol: "https".into(), status: 301, ..Redirect::default() };
        let (text, _) = decided(&redirect(to));
        let location = "'https://%[req.hdr(host),host_only]/%[path,bytes(1)]%[var(txn.query)]'";
        assert!(text.contains(&format!("redirect location {location} code 301")), "{text}");
        let to = Redirect {
            host: "www.#{host}".into(),
            port: Some(8080),
            path: "/100%/#{path}".into(),
            query: "a=#{port}".into(),
            ..Redirect::default()
        };
        let (text, _) = decided(&redirect(to));
        let location = "'http://www.%[req.hdr(host),host_only]:8080/100%%/%[path,bytes(1)]?a=80'";
        assert!(text.contains(&format!("redirect location {location} code 302")), "{text}");
        let answer =
            FixedResponse { status: 404, content_type: "text/plain".into(), body: "it's\n\"gone\"".into() };
        let listener = Listener { response: Some(answer), redirect: None, ..redirect(Redirect::default()) };
        let (text, files) = decided(&listener);
        assert_eq!(files.len(), 1);
        let line = format!("return status 404 content-type 'text/plain' file /run/x/{} if", files[0].name);
        assert!(text.contains(&line) && !text.contains("default_backend"), "{text}");
    }
}
