//! Tags of load balancers, target groups, listeners and rules. Those of listeners and rules, which are parts of a load
//! balancer, stand in an annotation of it, by their ids.

use std::collections::BTreeMap;

use model::network::{LoadBalancer, LoadBalancerSpec, TargetGroupSpec};
use serde_json::json;

use super::{
    default_rule_id, find_balancer, find_group, find_listener, find_rule, listener_id, refused, rule_id,
};
use crate::actions::{Action, Answer};
use crate::context::Context;
use crate::failure::Failure;
use crate::tags::{self, Tags};
use crate::xml::Xml;

/// On a load balancer: the tags of its listeners and rules, by their ids, as JSON.
const PARTS: &str = "aws.corten.dev/tags-of-parts";
const RESOURCES_MAX: usize = 20;

pub(crate) const ACTIONS: &[Action] = &[
    Action::elb("AddTags", &["ResourceArns", "Tags"], |c| Box::pin(add(c))),
    Action::elb("RemoveTags", &["ResourceArns", "TagKeys"], |c| Box::pin(remove(c))),
    Action::elb("DescribeTags", &["ResourceArns"], |c| Box::pin(describe(c))),
];

fn parts(balancer: &LoadBalancer) -> BTreeMap<String, Tags> {
    let text = balancer.metadata.annotations.get(PARTS);
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// Gives a part of a balancer its tags.
pub(super) fn put(balancer: &mut LoadBalancer, id: &str, tags: Tags) {
    let mut all = parts(balancer);
    all.remove(id);
    if !tags.is_empty() {
        all.insert(id.to_owned(), tags);
    }
    if all.is_empty() {
        balancer.metadata.annotations.remove(PARTS);
    } else {
        balancer.metadata.annotations.insert(PARTS.into(), json!(all).to_string());
    }
}

/// Forgets the tags of parts that are gone.
pub(super) fn forget_gone(balancer: &mut LoadBalancer) {
    let mut present = Vec::new();
    for listener in &balancer.spec.listeners {
        present.push(listener_id(listener));
        present.push(default_rule_id(listener));
        present.extend((0..listener.rules.len()).map(|i| rule_id(listener, i)));
    }
    for id in parts(balancer).into_keys().filter(|id| !present.contains(id)) {
        put(balancer, &id, Tags::new());
    }
}

/// What an ARN is of.
enum Resource {
    Balancer(LoadBalancer),
    Group(model::network::TargetGroup),
    /// A listener or a rule of a balancer, by its id.
    Part(LoadBalancer, String),
}

impl Resource {
    async fn find(c: &Context, arn: &str) -> Result<Self, Failure> {
        let kind = arn.split(':').nth(5).and_then(|rest| rest.split('/').next()).unwrap_or("");
        let id = || arn.rsplit('/').next().unwrap_or_default().to_owned();
        Ok(match kind {
            "loadbalancer" => Self::Balancer(find_balancer(c, arn).await?),
            "targetgroup" => Self::Group(find_group(c, arn).await?),
            "listener" => Self::Part(find_listener(c, arn).await?.0, id()),
            "listener-rule" => Self::Part(find_rule(c, arn).await?.0, id()),
            _ => {
                let arn: String = arn.chars().take(160).collect();
                return Err(Failure::value(format!("'{arn}' is not a valid ARN of a taggable resource")));
            }
        })
    }

    fn tags(&self) -> Tags {
        match self {
            Self::Balancer(balancer) => tags::of(&balancer.metadata),
            Self::Group(group) => tags::of(&group.metadata),
            Self::Part(balancer, id) => parts(balancer).remove(id).unwrap_or_default(),
        }
    }

    async fn set(&self, c: &Context, wanted: Tags) -> Result<(), Failure> {
        match self {
            Self::Balancer(balancer) => {
                let patch = tags::patch(&balancer.metadata, wanted);
                c.merge::<LoadBalancerSpec>(&balancer.metadata.name, &patch).await.map(drop)
            }
            Self::Group(group) => {
                let patch = tags::patch(&group.metadata, wanted);
                c.merge::<TargetGroupSpec>(&group.metadata.name, &patch).await.map(drop)
            }
            Self::Part(balancer, id) => {
                let changed = c.change::<LoadBalancerSpec>(&balancer.metadata.name, |balancer| {
                    put(balancer, id, wanted.clone());
                    Ok(())
                });
                changed.await.map(drop)
            }
        }
        .map_err(refused)
    }
}

async fn resources(c: &Context) -> Result<Vec<(String, Resource)>, Failure> {
    let arns = c.params.list("ResourceArns.member");
    if arns.is_empty() {
        return Err(Failure::missing("ResourceArns"));
    }
    if arns.len() > RESOURCES_MAX {
        return Err(Failure::value(format!("At most {RESOURCES_MAX} resources are named at once")));
    }
    let mut found = Vec::new();
    for arn in arns {
        let resource = Resource::find(c, &arn).await?;
        found.push((arn, resource));
    }
    Ok(found)
}

/// The tags of what an ARN is of.
pub(crate) async fn tags_of(c: &Context, arn: &str) -> Result<Tags, Failure> {
    Ok(Resource::find(c, arn).await?.tags())
}

async fn each(c: &Context, edit: impl Fn(&mut Tags)) -> Answer {
    for (_, resource) in resources(c).await? {
        let mut tags = resource.tags();
        edit(&mut tags);
        if tags::check_count(&tags).is_err() {
            return Err(Failure::new("TooManyTags", "A resource has at most 50 tags"));
        }
        resource.set(c, tags).await?;
    }
    Ok(Xml::new())
}

async fn add(c: &Context) -> Answer {
    let new = tags::named(&c.params, "Tags.member")?;
    if new.is_empty() {
        return Err(Failure::missing("Tags"));
    }
    each(c, |tags| tags.extend(new.clone())).await
}

async fn remove(c: &Context) -> Answer {
    let keys = c.params.list("TagKeys.member");
    if keys.is_empty() {
        return Err(Failure::missing("TagKeys"));
    }
    each(c, |tags| tags.retain(|key, _| !keys.contains(key))).await
}

async fn describe(c: &Context) -> Answer {
    let mut x = Xml::new();
    x.members("TagDescriptions", resources(c).await?, |x, (arn, resource)| {
        x.text("ResourceArn", arn).members("Tags", resource.tags(), |x, (key, value)| {
            x.text("Key", key).text("Value", value);
        });
    });
    Ok(x)
}

#[cfg(test)]
mod tests {
    use model::ObjectMeta;
    use model::network::Listener;

    use super::*;

    #[test]
    fn tags_go_with_their_part() {
        let mut balancer = LoadBalancer::new(ObjectMeta::named("b"), LoadBalancerSpec::default());
        balancer.spec.listeners.push(Listener { name: "one".into(), ..Listener::default() });
        let tags = |value: &str| Tags::from([("a".to_owned(), value.to_owned())]);
        put(&mut balancer, "one", tags("1"));
        put(&mut balancer, "two", tags("2"));
        forget_gone(&mut balancer);
        assert_eq!(parts(&balancer), BTreeMap::from([("one".to_owned(), tags("1"))]));
        balancer.spec.listeners.clear();
        forget_gone(&mut balancer);
        assert_eq!(balancer.metadata.annotations.get(PARTS), None);
    }
}
