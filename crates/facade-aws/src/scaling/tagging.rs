//! Tags of groups, which their next instances may get as well.

use std::collections::BTreeSet;

use model::compute::{InstanceSet, InstanceSetSpec};

use super::{Settings, filters, find, groups, listed, name_of};
use crate::actions::{Action, Answer};
use crate::context::Context;
use crate::failure::Failure;
use crate::tags::{self, Tags};
use crate::xml::Xml;

const TYPE: &str = "auto-scaling-group";

pub(crate) const ACTIONS: &[Action] = &[
    Action::scaling("CreateOrUpdateTags", &["Tags"], |c| Box::pin(create(c))),
    Action::scaling("DeleteTags", &["Tags"], |c| Box::pin(delete(c))),
    Action::scaling("DescribeTags", &["Filters", "MaxRecords", "NextToken"], |c| Box::pin(describe(c))),
];

/// Tags of a group: key, value, and whether new instances get them.
pub(super) fn of(set: &InstanceSet) -> Vec<(String, String, bool)> {
    let settings = Settings::of(set);
    let all = tags::of(&set.metadata).into_iter();
    all.map(|(key, value)| {
        let propagates = settings.propagated.contains(&key);
        (key, value, propagates)
    })
    .collect()
}

pub(super) fn write(x: &mut Xml, group: &str, key: &str, value: &str, propagates: bool) {
    x.text("ResourceId", group)
        .text("ResourceType", TYPE)
        .text("Key", key)
        .text("Value", value)
        .text("PropagateAtLaunch", propagates);
}

/// The tags that a request gives to the group of this name, and the keys of those that instances get.
pub(super) fn given(c: &Context, name: &str) -> Result<(Tags, BTreeSet<String>), Failure> {
    let mut propagated = BTreeSet::new();
    for tag in c.params.structs("Tags.member") {
        if tag.get("ResourceId").is_some_and(|id| id != name) {
            return Err(Failure::value("Tags of a new group are for that group"));
        }
        if tag.flag("PropagateAtLaunch")?.unwrap_or(false) {
            propagated.insert(tag.require("Key")?.to_owned());
        }
    }
    Ok((tags::named(&c.params, "Tags.member")?, propagated))
}

/// A tag of a request, with the group that it is for.
struct Wish {
    group: String,
    key: String,
    value: String,
    propagates: bool,
}

fn wishes(c: &Context) -> Result<Vec<Wish>, Failure> {
    let mut found = Vec::new();
    for tag in c.params.structs("Tags.member") {
        if tag.get("ResourceType").is_some_and(|kind| kind != TYPE) {
            return Err(Failure::value(format!("ResourceType can only be {TYPE}")));
        }
        found.push(Wish {
            group: tag.require("ResourceId")?.to_owned(),
            key: tag.require("Key")?.to_owned(),
            value: tag.text("Value").to_owned(),
            propagates: tag.flag("PropagateAtLaunch")?.unwrap_or(false),
        });
    }
    if found.is_empty() { Err(Failure::missing("Tags")) } else { Ok(found) }
}

/// Changes the tags of all groups that a request names.
async fn each(c: &Context, edit: impl Fn(&mut Tags, &mut Settings, &Wish)) -> Answer {
    let wishes = wishes(c)?;
    let names: BTreeSet<&str> = wishes.iter().map(|wish| wish.group.as_str()).collect();
    for name in names {
        let set = find(c, name).await?;
        c.change::<InstanceSetSpec>(&set.metadata.name, |set| {
            let before = tags::of(&set.metadata);
            let (mut all, mut settings) = (before.clone(), Settings::of(set));
            for wish in wishes.iter().filter(|wish| wish.group == name) {
                edit(&mut all, &mut settings, wish);
            }
            tags::check_count(&all)?;
            tags::replace(&mut set.metadata, all);
            groups::retag(set, &before, &settings);
            settings.put(set)
        })
        .await?;
    }
    Ok(Xml::new())
}

async fn create(c: &Context) -> Answer {
    each(c, |tags, settings, wish| {
        tags.insert(wish.key.clone(), wish.value.clone());
        if wish.propagates {
            settings.propagated.insert(wish.key.clone());
        } else {
            settings.propagated.remove(&wish.key);
        }
    })
    .await
}

async fn delete(c: &Context) -> Answer {
    each(c, |tags, settings, wish| {
        tags.remove(&wish.key);
        settings.propagated.remove(&wish.key);
    })
    .await
}

async fn describe(c: &Context) -> Answer {
    let known = |name: &str| matches!(name, "auto-scaling-group" | "key" | "value" | "propagate-at-launch");
    let filters = filters(c, known)?;
    let sets = c.list::<InstanceSetSpec>().await?;
    let all = sets.iter().flat_map(|set| {
        let name = name_of(set).to_owned();
        of(set).into_iter().map(move |(key, value, propagates)| (name.clone(), key, value, propagates))
    });
    let fits = |(name, key, value, propagates): &(String, String, String, bool)| {
        filters.iter().all(|(filter, values)| {
            let fact = match filter.as_str() {
                "auto-scaling-group" => name.clone(),
                "key" => key.clone(),
                "value" => value.clone(),
                _ => propagates.to_string(),
            };
            values.contains(&fact)
        })
    };
    let items = all.filter(fits).map(|tag| (format!("{}/{}", tag.0, tag.1), tag)).collect();
    listed(c, "Tags", items, |x, (name, key, value, propagates)| write(x, name, key, value, *propagates))
}
