//! What becomes of a request, in AWS's form and in ours: forward to a group, ask elsewhere, a fixed answer.

use model::network::{
    FixedResponse, Listener, ListenerRule, Redirect, RequestAction, TargetGroup, TargetProtocol,
};

use super::{group_arn, no_group};
use crate::context::Context;
use crate::failure::Failure;
use crate::params::Params;
use crate::xml::Xml;

/// An action as a listener and a rule have it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Given {
    pub(super) target_group: String,
    /// Of the group.
    pub(super) protocol: Option<TargetProtocol>,
    redirect: Option<Redirect>,
    response: Option<FixedResponse>,
}

impl Given {
    pub(super) fn put_into_listener(self, listener: &mut Listener) {
        (listener.target_group, listener.redirect, listener.response) =
            (self.target_group, self.redirect, self.response);
    }

    pub(super) fn put_into_rule(self, rule: &mut ListenerRule) {
        (rule.target_group, rule.redirect, rule.response) = (self.target_group, self.redirect, self.response);
    }
}

/// The action that a request names in a list; `None` where there is no such list.
pub(super) fn given(c: &Context, list: &str, groups: &[TargetGroup]) -> Result<Option<Given>, Failure> {
    let mut actions = c.params.structs(&format!("{list}.member"));
    let Some(action) = actions.pop() else { return Ok(None) };
    if !actions.is_empty() {
        // What comes before the last one in AWS is a login.
        return Err(not_here("One action is taken; logging in before it is not done by this cloud"));
    }
    let known = ["Type", "TargetGroupArn", "ForwardConfig", "RedirectConfig", "FixedResponseConfig", "Order"];
    if let Some(other) = action.unknown(&known).next() {
        return Err(not_here(&format!("{other} is not supported by this cloud")));
    }
    let mut found = Given::default();
    match action.require("Type")? {
        "forward" => {
            let arn = forward_to(&action)?;
            let group = groups.iter().find(|group| group_arn(c, group) == arn);
            let group = group.ok_or_else(|| no_group(&arn))?;
            found.target_group.clone_from(&group.metadata.name);
            found.protocol = Some(group.spec.protocol);
        }
        "redirect" => found.redirect = Some(redirect(&action.below("RedirectConfig"))?),
        "fixed-response" => found.response = Some(response(&action.below("FixedResponseConfig"))?),
        other => return Err(not_here(&format!("Actions of type '{other}' are not supported by this cloud"))),
    }
    Ok(Some(found))
}

pub(super) fn not_here(message: &str) -> Failure {
    Failure::new("InvalidConfigurationRequest", message)
}

/// The one group that requests go to.
fn forward_to(action: &Params) -> Result<String, Failure> {
    let config = action.below("ForwardConfig");
    if config.flag("TargetGroupStickinessConfig.Enabled")? == Some(true) {
        return Err(not_here("Stickiness between target groups is not supported by this cloud"));
    }
    let groups = config.structs("TargetGroups.member");
    let own = action.get("TargetGroupArn");
    match (own, groups.as_slice()) {
        (Some(arn), []) => Ok(arn.to_owned()),
        (_, [group]) => {
            let arn = group.require("TargetGroupArn")?;
            if own.is_some_and(|own| own != arn) {
                return Err(Failure::value("TargetGroupArn and ForwardConfig name different target groups"));
            }
            Ok(arn.to_owned())
        }
        (None, []) => Err(Failure::missing("TargetGroupArn")),
        (_, [..]) => Err(not_here("Requests are forwarded to one target group, not shared between several")),
    }
}

fn redirect(config: &Params) -> Result<Redirect, Failure> {
    let status = match config.require("StatusCode")? {
        "HTTP_301" => 301,
        "HTTP_302" => 302,
        other => return Err(config.invalid("StatusCode", other, "must be HTTP_301 or HTTP_302")),
    };
    let port = match config.text("Port") {
        "" | "#{port}" => None,
        given => Some(
            given
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| config.invalid("Port", given, "must be 1 to 65535, or #{port}"))?,
        ),
    };
    let protocol = match config.text("Protocol") {
        "" | "#{protocol}" => String::new(),
        given => given.to_ascii_lowercase(),
    };
    let other_than = |name: &str, usual: &str| Some(config.text(name)).filter(|text| *text != usual);
    let query = if config.has("Query") && config.text("Query").is_empty() {
        "-"
    } else {
        other_than("Query", "#{query}").unwrap_or_default()
    };
    Ok(Redirect {
        protocol,
        host: other_than("Host", "#{host}").unwrap_or_default().to_owned(),
        port,
        path: other_than("Path", "/#{path}").unwrap_or_default().to_owned(),
        query: query.to_owned(),
        status,
    })
}

fn response(config: &Params) -> Result<FixedResponse, Failure> {
    let status = config.require("StatusCode")?;
    let status = status
        .parse()
        .map_err(|_| config.invalid("StatusCode", status, "must be an answer of HTTP, such as 404"))?;
    let body = config.text("MessageBody").to_owned();
    let mut content_type = config.text("ContentType").to_owned();
    if content_type.is_empty() && !body.is_empty() {
        "text/plain".clone_into(&mut content_type);
    }
    Ok(FixedResponse { status, content_type, body })
}

/// An action as AWS shows it, in a list of one.
pub(super) fn write(c: &Context, x: &mut Xml, list: &str, action: RequestAction<'_>, groups: &[TargetGroup]) {
    x.members(list, [action], |x, action| match action {
        RequestAction::Forward(name) => {
            x.text("Type", "forward");
            // A group that the balancer has in itself has no ARN.
            let Some(group) = groups.iter().find(|group| group.metadata.name == name) else { return };
            let arn = group_arn(c, group);
            x.text("TargetGroupArn", &arn).text("Order", 1).node("ForwardConfig", |x| {
                x.members("TargetGroups", [()], |x, ()| {
                    x.text("TargetGroupArn", &arn).text("Weight", 1);
                })
                .node("TargetGroupStickinessConfig", |x| {
                    x.text("Enabled", false);
                });
            });
        }
        RequestAction::Redirect(to) => {
            let or =
                |text: &str, usual: &str| if text.is_empty() { usual.to_owned() } else { text.to_owned() };
            x.text("Type", "redirect").text("Order", 1).node("RedirectConfig", |x| {
                x.text("Protocol", or(&to.protocol.to_ascii_uppercase(), "#{protocol}"))
                    .text("Port", to.port.map_or_else(|| "#{port}".to_owned(), |port| port.to_string()))
                    .text("Host", or(&to.host, "#{host}"))
                    .text("Path", or(&to.path, "/#{path}"))
                    .text("Query", if to.query == "-" { String::new() } else { or(&to.query, "#{query}") })
                    .text("StatusCode", format!("HTTP_{}", to.status));
            });
        }
        RequestAction::Respond(answer) => {
            x.text("Type", "fixed-response").text("Order", 1).node("FixedResponseConfig", |x| {
                x.given("MessageBody", &answer.body)
                    .text("StatusCode", answer.status)
                    .given("ContentType", &answer.content_type);
            });
        }
    });
}
