//! Prefix lists.

use model::network::PrefixListSpec;

use super::endpoint_services;
use crate::REGION;
use crate::actions::{Action, Answer, describe};
use crate::context::Context;
use crate::describe::{Ids, Item, answer, select};
use crate::failure::Failure;
use crate::ids;
use crate::tags::{self, Tags};
use crate::xml::Xml;

/// Whose those of the cloud's services are.
const OWNER: &str = "AWS";
/// Most entries of a prefix list.
const ENTRIES_MAX: usize = 1000;

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2("DescribeManagedPrefixLists", describe!["PrefixListId"], |c| Box::pin(prefix_lists(c))),
    Action::ec2(
        "GetManagedPrefixListEntries",
        &["PrefixListId", "TargetVersion", "MaxResults", "NextToken"],
        |c| Box::pin(prefix_list_entries(c)),
    )
    .noting("There is one version, the present one."),
];

struct Listed {
    id: String,
    name: String,
    owner: String,
    is_v6: bool,
    tags: Tags,
}

impl Item for Listed {
    const FILTERS: &'static [&'static str] = &["prefix-list-id", "prefix-list-name", "owner-id"];

    fn id(&self) -> &str {
        &self.id
    }
    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        vec![match filter {
            "prefix-list-name" => self.name.clone(),
            "owner-id" => self.owner.clone(),
            _ => self.id.clone(),
        }]
    }
    fn write(&self, x: &mut Xml) {
        x.text("prefixListId", &self.id)
            .text("addressFamily", if self.is_v6 { "IPv6" } else { "IPv4" })
            .text("state", "create-complete")
            .text(
                "prefixListArn",
                format!("arn:aws:ec2:{REGION}:{}:prefix-list/{}", self.owner.to_lowercase(), self.id),
            )
            .text("prefixListName", &self.name)
            .text("maxEntries", ENTRIES_MAX)
            .text("version", 1);
        tags::write(x, &self.tags);
        x.text("ownerId", &self.owner);
    }
}

async fn prefix_lists(c: &Context) -> Answer {
    let all = c.list::<PrefixListSpec>().await?;
    let shown = all.iter().map(|list| {
        let first = list.spec.entries.iter().find_map(|entry| entry.cidr);
        Listed {
            id: ids::id(list),
            name: list.metadata.name.clone(),
            owner: c.account(),
            is_v6: first.is_some_and(|cidr| cidr.to_string().contains(':')),
            tags: tags::of(&list.metadata),
        }
    });
    let of_services = endpoint_services::lists().map(|list| Listed {
        id: list.id,
        name: list.name,
        owner: OWNER.into(),
        is_v6: false,
        tags: Tags::new(),
    });
    let ids = Ids { parameter: "PrefixListId", none: ids::none::<PrefixListSpec> };
    Ok(answer("prefixListSet", &select(&c.params, &ids, shown.chain(of_services).collect())?))
}

struct Entry {
    cidr: String,
    description: String,
}

impl Item for Entry {
    const FILTERS: &'static [&'static str] = &[];

    fn id(&self) -> &str {
        &self.cidr
    }
    fn facts(&self, _: &str) -> Vec<String> {
        Vec::new()
    }
    fn write(&self, x: &mut Xml) {
        x.text("cidr", &self.cidr).given("description", &self.description);
    }
}

async fn prefix_list_entries(c: &Context) -> Answer {
    let wanted = c.params.require("PrefixListId")?;
    let of_service = endpoint_services::lists().find(|list| list.id == wanted);
    if c.params.number("TargetVersion")?.is_some_and(|version| version != 1) {
        return Err(Failure::new("PrefixListVersionNotFound", "There is version 1 alone"));
    }
    let entry = |entry: &model::network::PrefixEntry| Entry {
        cidr: entry.cidr.map(|cidr| cidr.to_string()).unwrap_or_default(),
        description: entry.description.clone(),
    };
    let entries = match of_service {
        Some(list) => list.cidrs.into_iter().map(|cidr| Entry { cidr, description: String::new() }).collect(),
        None => c.named::<PrefixListSpec>("PrefixListId").await?.spec.entries.iter().map(entry).collect(),
    };
    let ids = Ids { parameter: "", none: |id| Failure::value(id) };
    Ok(answer("entrySet", &select(&c.params, &ids, entries)?))
}
