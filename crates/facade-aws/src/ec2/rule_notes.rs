//! What is noted of rules beside their groups: tags, and the ids of those that were changed since they got one.

use std::collections::BTreeMap;

use model::network::{SecurityGroup, SecurityGroupSpec, SecurityRule};
use serde_json::json;

use crate::context::Context;
use crate::failure::Failure;
use crate::ids;
use crate::tags::{self, Tags};

/// On groups: id and tags of rules, by the id that follows from what the rule says, as a JSON object.
const RULES: &str = "aws.corten.dev/rules";

type Notes = BTreeMap<String, (String, Tags)>;

fn notes(group: &SecurityGroup) -> Notes {
    let text = group.metadata.annotations.get(RULES);
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// It follows from the group and from what the rule says; not from its description, which may change.
fn own_id(group: &SecurityGroup, rule: &SecurityRule) -> String {
    let bare = SecurityRule { description: String::new(), ..rule.clone() };
    let text = serde_json::to_string(&bare).unwrap_or_default();
    ids::hashed("sgr", &format!("{}/{text}", group.metadata.uid))
}

/// The id of a rule: the one that it was given first.
pub(crate) fn rule_id(group: &SecurityGroup, rule: &SecurityRule) -> String {
    let own = own_id(group, rule);
    notes(group).remove(&own).map_or(own, |(id, _)| id)
}

pub(crate) fn rule_tags(group: &SecurityGroup, rule: &SecurityRule) -> Tags {
    notes(group).remove(&own_id(group, rule)).map(|(_, tags)| tags).unwrap_or_default()
}

/// Adds a rule with these tags. Its id may be one that another rule had when it said the same; then it gets a new one.
pub(crate) fn add(c: &Context, group: &mut SecurityGroup, rule: &SecurityRule, tags: &Tags) {
    let own = own_id(group, rule);
    let is_taken = group.spec.rules.iter().any(|other| rule_id(group, other) == own);
    let id = if is_taken { ids::fresh("sgr", &c.cloud.random()) } else { own };
    group.spec.rules.push(rule.clone());
    note(group, rule, id, tags.clone());
}

/// Makes another rule of the one with this id, which keeps id and tags.
pub(crate) fn replace(group: &mut SecurityGroup, id: &str, new: SecurityRule) {
    let Some(at) = group.spec.rules.iter().position(|rule| rule_id(group, rule) == id) else { return };
    let tags = rule_tags(group, &group.spec.rules[at]);
    group.spec.rules[at] = new.clone();
    note(group, &new, id.to_owned(), tags);
}

/// Writes down what does not follow from the rule itself, and forgets what is noted of rules that are gone.
fn note(group: &mut SecurityGroup, rule: &SecurityRule, id: String, tags: Tags) {
    let own = own_id(group, rule);
    let mut all = notes(group);
    if id == own && tags.is_empty() {
        all.remove(&own);
    } else {
        all.insert(own, (id, tags));
    }
    keep(group, all);
}

/// Forgets what is noted of rules that are gone.
pub(crate) fn prune(group: &mut SecurityGroup) {
    let all = notes(group);
    keep(group, all);
}

fn keep(group: &mut SecurityGroup, mut all: Notes) {
    let there: Vec<String> = group.spec.rules.iter().map(|rule| own_id(group, rule)).collect();
    all.retain(|own, _| there.contains(own));
    if all.is_empty() {
        group.metadata.annotations.remove(RULES);
    } else {
        group.metadata.annotations.insert(RULES.into(), json!(all).to_string());
    }
}

pub(crate) fn no_rule(id: &str) -> Failure {
    let id: String = id.chars().take(80).collect();
    let message = format!("The security group rule ID '{id}' does not exist");
    Failure::new("InvalidSecurityGroupRuleId.NotFound", message)
}

/// The group that has the rule of this id, and the rule.
async fn find(c: &Context, id: &str) -> Result<(SecurityGroup, SecurityRule), Failure> {
    let groups = c.list::<SecurityGroupSpec>().await?;
    let has =
        |group: &SecurityGroup| group.spec.rules.iter().find(|rule| rule_id(group, rule) == id).cloned();
    groups.into_iter().find_map(|group| has(&group).map(|rule| (group, rule))).ok_or_else(|| no_rule(id))
}

pub(crate) async fn tags_of(c: &Context, id: &str) -> Result<Tags, Failure> {
    let (group, rule) = find(c, id).await?;
    Ok(rule_tags(&group, &rule))
}

/// Changes the tags of a rule; on a dry run they are only checked.
pub(crate) async fn edit_tags(
    c: &Context,
    id: &str,
    edit: &impl Fn(&mut Tags),
    dry: bool,
) -> Result<(), Failure> {
    let (group, rule) = find(c, id).await?;
    let mut tags = rule_tags(&group, &rule);
    edit(&mut tags);
    tags::check_count(&tags)?;
    if dry {
        return Ok(());
    }
    let change = |group: &mut SecurityGroup| {
        note(group, &rule, id.to_owned(), tags.clone());
        Ok(())
    };
    c.change::<SecurityGroupSpec>(&group.metadata.name, change).await.map(drop)
}

/// Every rule with its id and tags.
pub(crate) fn tagged(groups: &[SecurityGroup]) -> Vec<(String, Tags)> {
    groups.iter().flat_map(|group| notes(group).into_values()).filter(|(_, tags)| !tags.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ObjectMeta;
    use model::network::{Direction, PortRange, Protocol};

    fn rule(port: u16) -> SecurityRule {
        SecurityRule {
            direction: Direction::Ingress,
            protocol: Protocol::Tcp,
            ports: Some(PortRange { from: port, to: port }),
            ..SecurityRule::default()
        }
    }

    #[test]
    fn a_rule_that_is_changed_keeps_its_id_and_its_tags() {
        let mut group = SecurityGroup::new(ObjectMeta::named("g"), SecurityGroupSpec::default());
        group.spec.rules = vec![rule(80), rule(81)];
        let (first, second) = (rule_id(&group, &rule(80)), rule_id(&group, &rule(81)));
        note(&mut group, &rule(80), first.clone(), [("a".to_owned(), "b".to_owned())].into());
        replace(&mut group, &first, rule(443));
        assert_eq!((rule_id(&group, &rule(443)), rule_id(&group, &rule(81))), (first.clone(), second));
        assert_eq!(rule_tags(&group, &rule(443)).len(), 1);
        replace(&mut group, &first, rule(80));
        assert_eq!(rule_id(&group, &rule(80)), first);
        group.spec.rules.clear();
        prune(&mut group);
        assert!(group.metadata.annotations.is_empty());
    }
}
