//! ELBv2: load balancers, their listeners and rules, and target groups. A listener and a rule are parts of a LoadBalancer
//! here; what makes each of them one thing with an ARN is its name within it. What all actions have in common.

pub(crate) mod attributes;
pub(crate) mod balancers;
pub(crate) mod certificates;
pub(crate) mod groups;
pub(crate) mod listeners;
pub(crate) mod rules;
pub(crate) mod tagging;
pub(crate) mod targets;

mod action;
mod condition;

use model::network::{
    Listener, ListenerProtocol, ListenerRule, LoadBalancer, LoadBalancerSpec, TargetGroup, TargetGroupSpec,
};
use model::{Name, ObjectMeta};

use crate::REGION;
use crate::context::Context;
use crate::failure::Failure;
use crate::ids;
use crate::xml::Xml;

/// The name in AWS of what cannot be called so here.
const NAME: &str = "aws.corten.dev/name";
/// On a load balancer: `application` or `network`, where its listeners do not say it.
const TYPE: &str = "aws.corten.dev/type";
const NAME_MAX: usize = 32;
/// Digits of the ids in ARNs.
const DIGITS: usize = 16;
const PAGE: usize = 400;

/// What a load balancer is in AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Application,
    Network,
}

impl Type {
    fn of(balancer: &LoadBalancer) -> Self {
        match balancer.metadata.annotations.get(TYPE).map(String::as_str) {
            Some("network") => Self::Network,
            Some(_) => Self::Application,
            None => {
                let mut protocols = balancer.spec.listeners.iter().map(|listener| listener.protocol);
                let passes_on = |p: ListenerProtocol| !p.reads_requests();
                let network = !balancer.spec.listeners.is_empty() && protocols.all(passes_on);
                if network { Self::Network } else { Self::Application }
            }
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Application => "application",
            Self::Network => "network",
        }
    }

    /// How it is called in ARNs.
    fn part(self) -> &'static str {
        match self {
            Self::Application => "app",
            Self::Network => "net",
        }
    }
}

/// The name of the object of what is called so.
fn object_name(kind: &str, name: &str) -> String {
    if Name::new(name).is_ok() { name.to_owned() } else { ids::hashed(kind, name) }
}

/// A name that the request gives to something new.
fn new_name(c: &Context) -> Result<String, Failure> {
    let name = c.params.require("Name")?;
    let fine = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if name.len() > NAME_MAX || !name.bytes().all(fine) || name.starts_with('-') || name.ends_with('-') {
        let message = format!(
            "The name '{}' must have at most {NAME_MAX} letters, digits and hyphens, none of these first or last",
            name.chars().take(80).collect::<String>()
        );
        return Err(Failure::value(message));
    }
    Ok(name.to_owned())
}

fn balancer_name(balancer: &LoadBalancer) -> &str {
    balancer.metadata.annotations.get(NAME).unwrap_or(&balancer.metadata.name)
}

fn group_name(group: &TargetGroup) -> &str {
    if group.spec.name.is_empty() { &group.metadata.name } else { &group.spec.name }
}

fn digits_of(meta: &ObjectMeta) -> String {
    meta.uid.as_str().chars().filter(char::is_ascii_hexdigit).take(DIGITS).collect()
}

/// Digits that follow from a text.
fn digits_from(text: &str) -> String {
    ids::hashed("x", text).chars().skip(2).take(DIGITS).collect()
}

/// Digits that nothing else has.
fn new_digits(c: &Context) -> String {
    ids::hex(&c.cloud.random(), DIGITS)
}

fn arn(c: &Context, rest: &str) -> String {
    format!("arn:aws:elasticloadbalancing:{REGION}:{}:{rest}", c.account())
}

/// Whether an ARN is one of the caller's account, whatever it is of.
fn is_own(c: &Context, text: &str) -> bool {
    text.starts_with(&arn(c, ""))
}

/// What the ARNs of a balancer and its parts have in common.
fn path_of(balancer: &LoadBalancer) -> String {
    let kind = Type::of(balancer).part();
    format!("{kind}/{}/{}", balancer_name(balancer), digits_of(&balancer.metadata))
}

fn balancer_arn(c: &Context, balancer: &LoadBalancer) -> String {
    arn(c, &format!("loadbalancer/{}", path_of(balancer)))
}

pub(crate) fn group_arn(c: &Context, group: &TargetGroup) -> String {
    arn(c, &format!("targetgroup/{}/{}", group_name(group), digits_of(&group.metadata)))
}

/// The id of a listener: its name; of one without, what follows from where it listens.
fn listener_id(listener: &Listener) -> String {
    if listener.name.is_empty() {
        digits_from(&format!("{:?}/{}", listener.protocol == ListenerProtocol::Udp, listener.port))
    } else {
        listener.name.clone()
    }
}

fn listener_arn(c: &Context, balancer: &LoadBalancer, listener: &Listener) -> String {
    arn(c, &format!("listener/{}/{}", path_of(balancer), listener_id(listener)))
}

/// The id of a rule of a listener: its name; of one without, what follows from its place.
fn rule_id(listener: &Listener, index: usize) -> String {
    match listener.rules.get(index) {
        Some(rule) if !rule.name.is_empty() => rule.name.clone(),
        _ => digits_from(&format!("{}/{index}", listener_id(listener))),
    }
}

/// The id of what a listener does where no rule matches, which in AWS is a rule as well.
fn default_rule_id(listener: &Listener) -> String {
    digits_from(&format!("{}/default", listener_id(listener)))
}

fn rule_arn(c: &Context, balancer: &LoadBalancer, listener: &Listener, id: &str) -> String {
    arn(c, &format!("listener-rule/{}/{}/{id}", path_of(balancer), listener_id(listener)))
}

/// Those of a list of ARNs whose balancer is meant: the ARN without its last parts, as the balancer's own.
fn balancer_of_part(part: &str, word: &str, levels: usize) -> Option<String> {
    let mut whole = part.replacen(&format!(":{word}/"), ":loadbalancer/", 1);
    for _ in 0..levels {
        whole.truncate(whole.rfind('/')?);
    }
    Some(whole)
}

fn no_balancer(arn: &str) -> Failure {
    let arn: String = arn.chars().take(160).collect();
    Failure::new("LoadBalancerNotFound", format!("Load balancer '{arn}' not found"))
}

fn no_group(arn: &str) -> Failure {
    let arn: String = arn.chars().take(160).collect();
    Failure::new("TargetGroupNotFound", format!("Target group '{arn}' not found"))
}

fn no_listener(arn: &str) -> Failure {
    let arn: String = arn.chars().take(160).collect();
    Failure::new("ListenerNotFound", format!("Listener '{arn}' not found"))
}

fn no_rule(arn: &str) -> Failure {
    let arn: String = arn.chars().take(160).collect();
    Failure::new("RuleNotFound", format!("Rule '{arn}' not found"))
}

async fn find_balancer(c: &Context, arn: &str) -> Result<LoadBalancer, Failure> {
    let all = c.list::<LoadBalancerSpec>().await?;
    all.into_iter().find(|b| balancer_arn(c, b) == arn).ok_or_else(|| no_balancer(arn))
}

/// The balancer that the request names.
async fn named_balancer(c: &Context) -> Result<LoadBalancer, Failure> {
    find_balancer(c, c.params.require("LoadBalancerArn")?).await
}

pub(crate) async fn find_group(c: &Context, arn: &str) -> Result<TargetGroup, Failure> {
    let all = c.list::<TargetGroupSpec>().await?;
    all.into_iter().find(|group| group_arn(c, group) == arn).ok_or_else(|| no_group(arn))
}

/// The target group that the request names.
async fn named_group(c: &Context) -> Result<TargetGroup, Failure> {
    find_group(c, c.params.require("TargetGroupArn")?).await
}

/// A listener, by its place in its balancer.
async fn find_listener(c: &Context, arn: &str) -> Result<(LoadBalancer, usize), Failure> {
    let owner = balancer_of_part(arn, "listener", 1).ok_or_else(|| no_listener(arn))?;
    let all = c.list::<LoadBalancerSpec>().await?;
    let balancer = all.into_iter().find(|b| balancer_arn(c, b) == owner).ok_or_else(|| no_listener(arn))?;
    let at = listener_at(&balancer, arn).ok_or_else(|| no_listener(arn))?;
    Ok((balancer, at))
}

/// Where the listener of an ARN stands in its balancer.
fn listener_at(balancer: &LoadBalancer, arn: &str) -> Option<usize> {
    let id = arn.rsplit('/').next()?;
    balancer.spec.listeners.iter().position(|listener| listener_id(listener) == id)
}

async fn named_listener(c: &Context) -> Result<(LoadBalancer, usize), Failure> {
    find_listener(c, c.params.require("ListenerArn")?).await
}

/// A rule of a balancer: which listener, and which of its rules; `None` for its default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RulePlace {
    listener: usize,
    rule: Option<usize>,
}

async fn find_rule(c: &Context, arn: &str) -> Result<(LoadBalancer, RulePlace), Failure> {
    let owner = balancer_of_part(arn, "listener-rule", 2).ok_or_else(|| no_rule(arn))?;
    let all = c.list::<LoadBalancerSpec>().await?;
    let balancer = all.into_iter().find(|b| balancer_arn(c, b) == owner).ok_or_else(|| no_rule(arn))?;
    let place = rule_at(&balancer, arn).ok_or_else(|| no_rule(arn))?;
    Ok((balancer, place))
}

fn rule_at(balancer: &LoadBalancer, arn: &str) -> Option<RulePlace> {
    let (rest, id) = arn.rsplit_once('/')?;
    let listener = listener_at(balancer, rest)?;
    let own = &balancer.spec.listeners[listener];
    if default_rule_id(own) == id {
        return Some(RulePlace { listener, rule: None });
    }
    let rule = (0..own.rules.len()).find(|i| rule_id(own, *i) == id)?;
    Some(RulePlace { listener, rule: Some(rule) })
}

/// The priority of a rule in AWS: every one has one there.
fn priority_of(rules: &[ListenerRule], index: usize) -> u32 {
    let given = |rule: &ListenerRule| rule.priority.map(u32::from);
    if let Some(priority) = rules.get(index).and_then(given) {
        return priority;
    }
    // Those without come after all others, in their order.
    let last = rules.iter().filter_map(given).max().unwrap_or(0);
    let before = rules.iter().take(index).filter(|rule| rule.priority.is_none()).count();
    last + 1 + u32::try_from(before).unwrap_or(u32::MAX - last - 1)
}

/// A page of things, each with the key by which they are ordered, and where it goes on.
fn page<T>(c: &Context, items: Vec<(String, T)>) -> Result<(Vec<T>, Option<String>), Failure> {
    let size = c.params.number("PageSize")?;
    if let Some(size) = size.filter(|size| !(1..=400).contains(size)) {
        return Err(c.params.invalid("PageSize", &size.to_string(), "must be 1 to 400"));
    }
    let size = size.and_then(|size| usize::try_from(size).ok()).unwrap_or(PAGE);
    let bad = || Failure::value("The marker is not one that was given");
    let (items, next) =
        crate::page::page(items, |(key, _)| key, c.params.get("Marker"), size).ok_or_else(bad)?;
    Ok((items.into_iter().map(|(_, item)| item).collect(), next))
}

/// The answer of a Describe call: a page of a list.
fn listed<T>(
    c: &Context,
    list: &str,
    items: Vec<(String, T)>,
    write: impl Fn(&mut Xml, &T),
) -> Result<Xml, Failure> {
    let (items, next) = page(c, items)?;
    let mut x = Xml::new();
    x.members(list, &items, |x, item| write(x, item));
    x.given("NextMarker", next.unwrap_or_default());
    Ok(x)
}

/// A refusal of the cloud in ELBv2's words.
fn refused(e: Failure) -> Failure {
    let code = match e.code.as_ref() {
        "DependencyViolation" => "ResourceInUse",
        "InstanceLimitExceeded" => "TooManyLoadBalancers",
        _ => return e,
    };
    Failure { code: code.into(), status: 400, ..e }
}

#[cfg(test)]
mod tests {
    use model::Object;

    use super::*;

    #[test]
    fn parts_lead_to_their_balancer() {
        let part = "arn:aws:elasticloadbalancing:my-corten-1:1:listener-rule/app/web/1/2/3";
        let balancer = "arn:aws:elasticloadbalancing:my-corten-1:1:loadbalancer/app/web/1";
        assert_eq!(balancer_of_part(part, "listener-rule", 2).as_deref(), Some(balancer));
        assert_eq!(balancer_of_part("x", "listener", 1), None);
    }

    #[test]
    fn every_rule_has_a_priority_of_its_own() {
        let rule = |priority| ListenerRule { priority, ..ListenerRule::default() };
        let rules = [rule(None), rule(Some(7)), rule(None)];
        assert_eq!((0..3).map(|i| priority_of(&rules, i)).collect::<Vec<_>>(), [8, 7, 9]);
    }

    #[test]
    fn the_type_follows_from_listeners_unless_it_is_said() {
        let mut balancer = LoadBalancer::new(ObjectMeta::named("b"), LoadBalancerSpec::default());
        assert_eq!(Type::of(&balancer), Type::Application);
        balancer.spec.listeners.push(Listener { port: 1, ..Listener::default() });
        assert_eq!(Type::of(&balancer), Type::Network);
        balancer.metadata.annotations.insert(TYPE.into(), "application".into());
        assert_eq!(Type::of(&balancer), Type::Application);
        let group = Object::new(ObjectMeta::named("g"), TargetGroupSpec::default());
        assert_eq!(group_name(&group), "g");
    }
}
