//! Auto Scaling: groups of instances, which are InstanceSets. Sizes between which a group stays, and which tags its
//! instances get, are the group's own here and stand beside the set. What all actions have in common.

pub(crate) mod groups;
pub(crate) mod members;
pub(crate) mod tagging;
pub(crate) mod target_groups;

use std::collections::BTreeSet;

use model::compute::{Instance, InstanceSet, InstanceSetSpec, InstanceSpec, InstanceTemplate, TemplateMeta};
use model::{Name, ObjectMeta, Resource};
use serde::{Deserialize, Serialize};

use crate::REGION;
use crate::context::Context;
use crate::failure::Failure;
use crate::ids;
use crate::params::Params;
use crate::tags::{self, Tags};
use crate::xml::Xml;

/// The name in AWS of what cannot be called so here.
const NAME: &str = "aws.corten.dev/name";
/// On a set: its [`Settings`].
const SETTINGS: &str = "aws.corten.dev/auto-scaling-group";
/// On members: the object's name of their group. Target groups choose by it.
const MEMBER_OF: &str = "aws.corten.dev/auto-scaling-group";
/// The tag that AWS gives to instances of a group.
const GROUP_TAG: &str = "aws:autoscaling:groupName";
const NAME_MAX: usize = 255;
/// Longest name of an object whose members can have names of their own.
const OBJECT_NAME_MAX: usize = 40;
const PAGE: i64 = 50;
const PAGE_MAX: i64 = 100;

/// What a group has beyond its set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Settings {
    min: u32,
    max: u32,
    cooldown: u32,
    grace: u32,
    /// The launch template, with its version as it was asked for and as it was then.
    template_id: String,
    template_name: String,
    template_version: String,
    template_number: u32,
    subnet: String,
    /// Keys of the tags that new instances get.
    propagated: BTreeSet<String>,
}

impl Settings {
    /// Of a set that was made otherwise: it may have as many as it has.
    fn of(set: &InstanceSet) -> Self {
        let text = set.metadata.annotations.get(SETTINGS);
        let kept = text.and_then(|text| serde_json::from_str(text).ok());
        kept.unwrap_or_else(|| Self { max: set.spec.replicas, cooldown: 300, ..Self::default() })
    }

    fn put(&self, set: &mut InstanceSet) -> Result<(), Failure> {
        let text = serde_json::to_string(self).map_err(|e| Failure::new("InternalError", e.to_string()))?;
        set.metadata.annotations.insert(SETTINGS.into(), text);
        Ok(())
    }

    /// Refuses what is not between the sizes.
    fn check(&self, desired: u32) -> Result<(), Failure> {
        if self.min > self.max {
            return Err(Failure::value("Min size must not be larger than max size"));
        }
        if !(self.min..=self.max).contains(&desired) {
            let (min, max) = (self.min, self.max);
            return Err(Failure::value(format!(
                "Desired capacity:{desired} must be between the specified min size:{min} and max size:{max}"
            )));
        }
        Ok(())
    }
}

fn object_name(name: &str) -> String {
    let fits = Name::new(name).is_ok() && name.len() <= OBJECT_NAME_MAX;
    if fits { name.to_owned() } else { ids::hashed("asg", name) }
}

fn name_of(set: &InstanceSet) -> &str {
    set.metadata.annotations.get(NAME).unwrap_or(&set.metadata.name)
}

/// The name that a request gives to something new.
fn new_name(c: &Context) -> Result<String, Failure> {
    let name = c.params.require("AutoScalingGroupName")?;
    if name.chars().count() > NAME_MAX || name.chars().any(char::is_control) || name.contains(':') {
        return Err(Failure::value("AutoScalingGroupName must have at most 255 characters, and no colon"));
    }
    Ok(name.to_owned())
}

fn none(name: &str) -> Failure {
    let name: String = name.chars().take(80).collect();
    Failure::value(format!("AutoScalingGroup name not found - AutoScalingGroup '{name}' not found"))
}

async fn find(c: &Context, name: &str) -> Result<InstanceSet, Failure> {
    let found = c.api::<InstanceSetSpec>().find(&object_name(name)).await?;
    found.filter(|set| name_of(set) == name).ok_or_else(|| none(name))
}

/// The group that the request names.
async fn named(c: &Context) -> Result<InstanceSet, Failure> {
    find(c, c.params.require("AutoScalingGroupName")?).await
}

fn arn(c: &Context, set: &InstanceSet) -> String {
    let (account, uid, name) = (c.account(), &set.metadata.uid, name_of(set));
    format!("arn:aws:autoscaling:{REGION}:{account}:autoScalingGroup:{uid}:autoScalingGroupName/{name}")
}

fn is_member(set: &InstanceSet, instance: &Instance) -> bool {
    instance.metadata.controller().is_some_and(|owner| owner.uid == set.metadata.uid)
}

/// The group of an instance.
fn group_of<'a>(sets: &'a [InstanceSet], instance: &Instance) -> Option<&'a InstanceSet> {
    instance.metadata.controller().filter(|owner| owner.kind == InstanceSet::KIND.kind)?;
    sets.iter().find(|set| is_member(set, instance))
}

/// The instances of the group of this name; none of one that is not there.
pub(crate) async fn members_of<'a>(
    c: &Context,
    name: &str,
    instances: &'a [Instance],
) -> Result<Vec<&'a Instance>, Failure> {
    let found = c.api::<InstanceSetSpec>().find(&object_name(name)).await?;
    let set = found.filter(|set| name_of(set) == name);
    Ok(set.map(|set| instances.iter().filter(|i| is_member(&set, i)).collect()).unwrap_or_default())
}

/// What instances of a group are made of.
fn template(set: &ObjectMeta, name: &str, spec: InstanceSpec, own: Tags) -> InstanceTemplate {
    let mut meta = ObjectMeta::default();
    let mut all = own;
    all.insert(GROUP_TAG.into(), name.to_owned());
    tags::give(&mut meta, all);
    meta.labels.insert(MEMBER_OF.into(), set.name.clone());
    InstanceTemplate { metadata: TemplateMeta { labels: meta.labels, annotations: meta.annotations }, spec }
}

/// Tags that new instances of a group get.
fn template_tags(set: &InstanceSet) -> Tags {
    let own = &set.spec.template.metadata;
    let meta = ObjectMeta {
        labels: own.labels.clone(),
        annotations: own.annotations.clone(),
        ..ObjectMeta::default()
    };
    let mut found = tags::of(&meta);
    found.remove(GROUP_TAG);
    found
}

/// A page of things, each with the key by which they are ordered, and where it goes on.
fn page<T>(params: &Params, items: Vec<(String, T)>) -> Result<(Vec<T>, Option<String>), Failure> {
    let max = params.number("MaxRecords")?;
    if let Some(max) = max.filter(|max| !(1..=PAGE_MAX).contains(max)) {
        return Err(params.invalid("MaxRecords", &max.to_string(), "must be 1 to 100"));
    }
    let max = usize::try_from(max.unwrap_or(PAGE)).unwrap_or(usize::MAX);
    let bad = || Failure::new("InvalidNextToken", "The token is not one that was given");
    let (items, next) =
        crate::page::page(items, |(key, _)| key, params.get("NextToken"), max).ok_or_else(bad)?;
    Ok((items.into_iter().map(|(_, item)| item).collect(), next))
}

/// The answer of a Describe call: a page of a list.
fn listed<T>(
    c: &Context,
    list: &str,
    items: Vec<(String, T)>,
    write: impl Fn(&mut Xml, &T),
) -> Result<Xml, Failure> {
    let (items, next) = page(&c.params, items)?;
    let mut x = Xml::new();
    x.members(list, &items, |x, item| write(x, item));
    x.given("NextToken", next.unwrap_or_default());
    Ok(x)
}

/// The filters of a request: names with values.
fn filters(c: &Context, known: impl Fn(&str) -> bool) -> Result<Vec<(String, Vec<String>)>, Failure> {
    let mut found = Vec::new();
    for filter in c.params.structs("Filters.member") {
        let name = filter.require("Name")?.to_owned();
        if !known(&name) {
            return Err(Failure::value(format!("Filter type {name} is not correct")));
        }
        found.push((name, filter.list("Values.member")));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use model::Object;

    use super::*;

    #[test]
    fn sizes_are_kept_between() {
        let settings = Settings { min: 1, max: 3, ..Settings::default() };
        assert!(settings.check(1).is_ok() && settings.check(3).is_ok());
        assert!(settings.check(0).is_err() && settings.check(4).is_err());
        assert!(Settings { min: 2, max: 1, ..Settings::default() }.check(1).is_err());
    }

    #[test]
    fn settings_come_back_as_they_were_kept() {
        let mut set = Object::new(ObjectMeta::named("web"), InstanceSetSpec::default());
        set.spec.replicas = 4;
        assert_eq!((Settings::of(&set).min, Settings::of(&set).max), (0, 4));
        let settings = Settings { min: 2, propagated: ["a".to_owned()].into(), ..Settings::default() };
        settings.put(&mut set).expect("JSON");
        assert_eq!(Settings::of(&set), settings);
    }

    #[test]
    fn instances_know_their_group_and_its_tags() {
        let meta = ObjectMeta::named("asg-1");
        let own =
            Tags::from([("Name".to_owned(), "web".to_owned()), ("a note".to_owned(), "x y".to_owned())]);
        let made = template(&meta, "My group", InstanceSpec::default(), own.clone());
        assert_eq!(made.metadata.labels.get(MEMBER_OF).map(String::as_str), Some("asg-1"));
        let mut set = Object::new(meta, InstanceSetSpec::default());
        set.spec.template = made;
        assert_eq!(template_tags(&set), own);
    }
}
