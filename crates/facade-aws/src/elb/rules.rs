//! Rules of listeners. What a listener does where none matches is shown as a rule too, as in AWS.

use model::network::{ListenerRule, LoadBalancer, LoadBalancerSpec, TargetGroup, TargetGroupSpec};

use super::{
    RulePlace, action, condition, default_rule_id, find_rule, listed, listeners, named_listener, new_digits,
    no_rule, priority_of, refused, rule_arn, rule_at, rule_id, tagging,
};
use crate::actions::{Action, Answer};
use crate::context::Context;
use crate::failure::Failure;
use crate::tags;
use crate::xml::Xml;

const RULES_MAX: usize = 100;
const PRIORITY_MAX: i64 = 50_000;

pub(crate) const ACTIONS: &[Action] = &[
    Action::elb("CreateRule", &["ListenerArn", "Conditions", "Priority", "Actions", "Tags"], |c| {
        Box::pin(create(c))
    })
    .noting("Conditions have * and ?, no regular expressions."),
    Action::elb("DescribeRules", &["ListenerArn", "RuleArns", "Marker", "PageSize"], |c| {
        Box::pin(describe(c))
    }),
    Action::elb("ModifyRule", &["RuleArn", "Conditions", "Actions"], |c| Box::pin(modify(c))),
    Action::elb("SetRulePriorities", &["RulePriorities"], |c| Box::pin(set_priorities(c))),
    Action::elb("DeleteRule", &["RuleArn"], |c| Box::pin(delete(c))),
];

fn write(c: &Context, x: &mut Xml, balancer: &LoadBalancer, place: RulePlace, groups: &[TargetGroup]) {
    let listener = &balancer.spec.listeners[place.listener];
    let (id, action) = match place.rule {
        Some(i) => (rule_id(listener, i), listener.rules[i].action()),
        None => (default_rule_id(listener), listener.action()),
    };
    x.text("RuleArn", rule_arn(c, balancer, listener, &id));
    match place.rule {
        Some(i) => x.text("Priority", priority_of(&listener.rules, i)),
        None => x.text("Priority", "default"),
    };
    let conditions = place.rule.map(|i| condition::all(&listener.rules[i])).unwrap_or_default();
    condition::write(x, &conditions);
    action::write(c, x, "Actions", action, groups);
    x.text("IsDefault", place.rule.is_none());
}

/// The key by which rules are in order: by listener, then as they are looked at.
fn key(c: &Context, balancer: &LoadBalancer, place: RulePlace) -> String {
    let listener = &balancer.spec.listeners[place.listener];
    let priority = place.rule.map_or(u32::MAX, |i| priority_of(&listener.rules, i));
    format!("{}/{priority:010}", super::listener_arn(c, balancer, listener))
}

async fn describe(c: &Context) -> Answer {
    let arns = c.params.list("RuleArns.member");
    let mut found: Vec<(LoadBalancer, RulePlace)> = Vec::new();
    match (c.params.has("ListenerArn"), arns.is_empty()) {
        (true, true) => {
            let (balancer, listener) = named_listener(c).await?;
            let rules = (0..balancer.spec.listeners[listener].rules.len()).map(Some).chain([None]);
            found.extend(rules.map(|rule| (balancer.clone(), RulePlace { listener, rule })));
        }
        (false, false) => {
            for arn in &arns {
                found.push(find_rule(c, arn).await?);
            }
        }
        _ => return Err(Failure::value("Either a listener ARN or rule ARNs are given")),
    }
    let groups = c.list_if_allowed::<TargetGroupSpec>().await?;
    let items = found.into_iter().map(|(b, place)| (key(c, &b, place), (b, place))).collect();
    listed(c, "Rules", items, |x, (b, place)| write(c, x, b, *place, &groups))
}

fn priority(text: &str) -> Result<u16, Failure> {
    let number = text.parse::<i64>().ok().filter(|n| (1..=PRIORITY_MAX).contains(n));
    number
        .and_then(|n| u16::try_from(n).ok())
        .ok_or_else(|| Failure::value(format!("Priority must be 1 to {PRIORITY_MAX}")))
}

fn in_use(priority: u16) -> Failure {
    Failure::new("PriorityInUse", format!("Priority '{priority}' is currently in use"))
}

/// Gives every rule of a listener its priority and id: where one is changed, the others are to stay as they were shown.
fn settle(balancer: &mut LoadBalancer, listener: usize) {
    let own = &balancer.spec.listeners[listener];
    let told = |i: usize| (rule_id(own, i), u16::try_from(priority_of(&own.rules, i)).ok());
    let all: Vec<(String, Option<u16>)> = (0..own.rules.len()).map(told).collect();
    for (rule, (name, priority)) in balancer.spec.listeners[listener].rules.iter_mut().zip(all) {
        rule.name = name;
        rule.priority = priority;
    }
}

fn shown(c: &Context, balancer: &LoadBalancer, places: &[RulePlace], groups: &[TargetGroup]) -> Xml {
    let mut x = Xml::new();
    x.members("Rules", places, |x, place| write(c, x, balancer, *place, groups));
    x
}

async fn create(c: &Context) -> Answer {
    let (balancer, _) = named_listener(c).await?;
    let arn = c.params.require("ListenerArn")?;
    let groups = c.list::<TargetGroupSpec>().await?;
    let given = action::given(c, "Actions", &groups)?.ok_or_else(|| Failure::missing("Actions"))?;
    let conditions = condition::given(&c.params)?.ok_or_else(|| Failure::missing("Conditions"))?;
    let priority = priority(c.params.require("Priority")?)?;
    let id = new_digits(c);
    let mut rule =
        ListenerRule { name: id.clone(), priority: Some(priority), conditions, ..ListenerRule::default() };
    let protocol = given.clone();
    given.put_into_rule(&mut rule);
    let tags = tags::named(&c.params, "Tags.member")?;
    let changed = listeners::change(c, &balancer, arn, |balancer, at| {
        listeners::check_fits(balancer.spec.listeners[at].protocol, &protocol)?;
        settle(balancer, at);
        let rules = &mut balancer.spec.listeners[at].rules;
        if rules.iter().any(|other| other.priority == Some(priority)) {
            return Err(in_use(priority));
        }
        if rules.len() >= RULES_MAX {
            let message = format!("A listener has at most {RULES_MAX} rules");
            return Err(Failure::new("TooManyRules", message));
        }
        rules.push(rule.clone());
        tagging::put(balancer, &id, tags.clone());
        Ok(())
    })
    .await?;
    let place = rule_at(&changed, &format!("{}/{id}", arn.replacen(":listener/", ":listener-rule/", 1)));
    let place = place.ok_or_else(|| no_rule(&id))?;
    Ok(shown(c, &changed, &[place], &groups))
}

/// Changes a balancer at one of its rules.
async fn change(
    c: &Context,
    arn: &str,
    mut edit: impl FnMut(&mut LoadBalancer, RulePlace) -> Result<(), Failure>,
) -> Result<LoadBalancer, Failure> {
    let (balancer, _) = find_rule(c, arn).await?;
    let changed = c.change::<LoadBalancerSpec>(&balancer.metadata.name, |balancer| {
        let place = rule_at(balancer, arn).ok_or_else(|| no_rule(arn))?;
        settle(balancer, place.listener);
        edit(balancer, place)?;
        tagging::forget_gone(balancer);
        Ok(())
    });
    changed.await.map_err(refused)
}

async fn modify(c: &Context) -> Answer {
    let arn = c.params.require("RuleArn")?;
    let groups = c.list::<TargetGroupSpec>().await?;
    let given = action::given(c, "Actions", &groups)?;
    let conditions = condition::given(&c.params)?;
    let changed = change(c, arn, |balancer, place| {
        let listener = &mut balancer.spec.listeners[place.listener];
        if let Some(given) = &given {
            listeners::check_fits(listener.protocol, given)?;
        }
        match place.rule {
            None if conditions.is_some() => {
                return Err(Failure::new("OperationNotPermitted", "A default rule has no conditions"));
            }
            None => {
                if let Some(given) = given.clone() {
                    given.put_into_listener(listener);
                }
            }
            Some(i) => {
                let rule = &mut listener.rules[i];
                if let Some(conditions) = &conditions {
                    rule.host.clear();
                    rule.path_prefix.clear();
                    rule.conditions.clone_from(conditions);
                }
                if let Some(given) = given.clone() {
                    given.put_into_rule(rule);
                }
            }
        }
        Ok(())
    })
    .await?;
    let place = rule_at(&changed, arn).ok_or_else(|| no_rule(arn))?;
    Ok(shown(c, &changed, &[place], &groups))
}

async fn set_priorities(c: &Context) -> Answer {
    let mut wanted = Vec::new();
    for entry in c.params.structs("RulePriorities.member") {
        wanted.push((entry.require("RuleArn")?.to_owned(), priority(entry.require("Priority")?)?));
    }
    let Some((first, _)) = wanted.first() else { return Err(Failure::missing("RulePriorities")) };
    let changed = change(c, first, |balancer, place| {
        for (arn, priority) in &wanted {
            // All of one listener: only there do priorities stand beside each other.
            let at = rule_at(balancer, arn).filter(|at| at.listener == place.listener);
            let Some(i) = at.ok_or_else(|| no_rule(arn))?.rule else {
                let message = "The priority of a default rule cannot be changed";
                return Err(Failure::new("OperationNotPermitted", message));
            };
            balancer.spec.listeners[place.listener].rules[i].priority = Some(*priority);
        }
        let rules = &balancer.spec.listeners[place.listener].rules;
        let twice = wanted
            .iter()
            .find(|(_, priority)| rules.iter().filter(|rule| rule.priority == Some(*priority)).count() > 1);
        twice.map_or(Ok(()), |(_, priority)| Err(in_use(*priority)))
    })
    .await?;
    let groups = c.list_if_allowed::<TargetGroupSpec>().await?;
    let places: Vec<RulePlace> = wanted.iter().filter_map(|(arn, _)| rule_at(&changed, arn)).collect();
    Ok(shown(c, &changed, &places, &groups))
}

async fn delete(c: &Context) -> Answer {
    change(c, c.params.require("RuleArn")?, |balancer, place| {
        let Some(i) = place.rule else {
            let message = "A default rule goes with its listener";
            return Err(Failure::new("OperationNotPermitted", message));
        };
        balancer.spec.listeners[place.listener].rules.remove(i);
        Ok(())
    })
    .await?;
    Ok(Xml::new())
}
