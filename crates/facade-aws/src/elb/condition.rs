//! What a request has to have for a rule, in AWS's form and in ours.

use model::network::{ListenerRule, RuleCondition, RuleField};

use super::action::not_here;
use crate::failure::Failure;
use crate::params::Params;
use crate::xml::Xml;

const WORDS: &[(RuleField, &str, &str)] = &[
    (RuleField::Host, "host-header", "HostHeaderConfig"),
    (RuleField::Path, "path-pattern", "PathPatternConfig"),
    (RuleField::Method, "http-request-method", "HttpRequestMethodConfig"),
    (RuleField::Header, "http-header", "HttpHeaderConfig"),
    (RuleField::Query, "query-string", "QueryStringConfig"),
    (RuleField::Source, "source-ip", "SourceIpConfig"),
];

/// The conditions that a request names; `None` where it names none.
pub(super) fn given(params: &Params) -> Result<Option<Vec<RuleCondition>>, Failure> {
    let given = params.structs("Conditions.member");
    if given.is_empty() {
        return Ok(None);
    }
    given.iter().map(condition).collect::<Result<_, _>>().map(Some)
}

fn condition(given: &Params) -> Result<RuleCondition, Failure> {
    let word = given.require("Field")?;
    let Some((field, _, config)) = WORDS.iter().find(|(_, known, _)| *known == word) else {
        return Err(given.invalid("Field", word, "must be a field of a request that rules can look at"));
    };
    let config = given.below(config);
    if !config.list("RegexValues.member").is_empty() || !given.list("RegexValues.member").is_empty() {
        return Err(not_here("Regular expressions are not supported by this cloud: * and ? are"));
    }
    let mut values = config.list("Values.member");
    if *field == RuleField::Query {
        let pairs = config.structs("Values.member");
        values = pairs
            .iter()
            .map(|pair| format!("{}={}", pair.get("Key").unwrap_or("*"), pair.text("Value")))
            .collect();
    } else if values.is_empty() {
        values = given.list("Values.member");
    }
    if values.is_empty() {
        return Err(Failure::value("A condition value must be specified"));
    }
    Ok(RuleCondition { field: *field, name: config.text("HttpHeaderName").to_owned(), values })
}

/// All conditions of a rule: what is said of host and path in the short form is one too.
pub(super) fn all(rule: &ListenerRule) -> Vec<RuleCondition> {
    let of = |field, value: String| RuleCondition { field, name: String::new(), values: vec![value] };
    let mut all = Vec::new();
    if !rule.host.is_empty() {
        all.push(of(RuleField::Host, rule.host.clone()));
    }
    if !rule.path_prefix.is_empty() {
        all.push(of(RuleField::Path, format!("{}*", rule.path_prefix)));
    }
    all.extend(rule.conditions.iter().cloned());
    all
}

pub(super) fn write(x: &mut Xml, conditions: &[RuleCondition]) {
    x.members("Conditions", conditions, |x, condition| {
        let Some((field, word, config)) = WORDS.iter().find(|(field, ..)| *field == condition.field) else {
            return;
        };
        x.text("Field", word);
        let plain = |x: &mut Xml| {
            x.members("Values", &condition.values, |x, value| {
                x.out_text(value);
            });
        };
        // The two that AWS had first are shown in both of its forms.
        if matches!(field, RuleField::Host | RuleField::Path) {
            plain(x);
        }
        x.node(config, |x| {
            x.given("HttpHeaderName", &condition.name);
            if *field != RuleField::Query {
                return plain(x);
            }
            x.members("Values", &condition.values, |x, pair| {
                let (key, value) = pair.split_once('=').unwrap_or(("*", pair));
                x.given("Key", if key == "*" { "" } else { key }).text("Value", value);
            });
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Option<Vec<RuleCondition>>, String> {
        let params = Params::parse(query.as_bytes(), &[]).expect(query);
        given(&params).map_err(|e| e.code.to_string())
    }

    #[test]
    fn both_forms_are_read() {
        let of = |field, name: &str, values: &[&str]| RuleCondition {
            field,
            name: name.into(),
            values: values.iter().map(|v| (*v).into()).collect(),
        };
        let old = "Conditions.member.1.Field=path-pattern&Conditions.member.1.Values.member.1=/a*";
        assert_eq!(read(old), Ok(Some(vec![of(RuleField::Path, "", &["/a*"])])));
        let new = "Conditions.member.1.Field=http-header&Conditions.member.1.HttpHeaderConfig.HttpHeaderName=X-A\
            &Conditions.member.1.HttpHeaderConfig.Values.member.1=b\
            &Conditions.member.2.Field=query-string\
            &Conditions.member.2.QueryStringConfig.Values.member.1.Key=k\
            &Conditions.member.2.QueryStringConfig.Values.member.1.Value=v\
            &Conditions.member.2.QueryStringConfig.Values.member.2.Value=w";
        let expected = vec![of(RuleField::Header, "X-A", &["b"]), of(RuleField::Query, "", &["k=v", "*=w"])];
        assert_eq!(read(new), Ok(Some(expected)));
        assert_eq!(read(""), Ok(None));
        assert_eq!(read("Conditions.member.1.Field=weather"), Err("InvalidParameterValue".into()));
        assert_eq!(read("Conditions.member.1.Field=path-pattern"), Err("InvalidParameterValue".into()));
    }

    #[test]
    fn the_short_form_is_shown_as_conditions() {
        let rule = ListenerRule { host: "*.a".into(), path_prefix: "/v1".into(), ..ListenerRule::default() };
        let told: Vec<(RuleField, String)> =
            all(&rule).into_iter().map(|c| (c.field, c.values.join(","))).collect();
        assert_eq!(told, [(RuleField::Host, "*.a".into()), (RuleField::Path, "/v1*".into())]);
    }
}
