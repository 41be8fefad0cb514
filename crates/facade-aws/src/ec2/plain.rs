//! What EC2 has beside security groups and a VPC's own settings: network ACLs, of which there is the default one of each
//! VPC, which lets everything through; DHCP options, of which there are none; prefix lists.

use futures::future::ready;
use model::network::{PrefixListSpec, Subnet, SubnetSpec, Vpc, VpcSpec};

use crate::REGION;
use crate::actions::{Action, Answer, describe};
use crate::context::Context;
use crate::describe::{Ids, Item, answer, select};
use crate::failure::Failure;
use crate::ids;
use crate::tags::{self, Tags};
use crate::xml::Xml;

/// Number of the rule that refuses what no other lets through.
const LAST_RULE: u32 = 32_767;
/// Most entries of a prefix list.
const ENTRIES_MAX: usize = 1000;

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2("DescribeNetworkAcls", describe!["NetworkAclId"], |c| Box::pin(acls(c)))
        .noting("The default one of each VPC, which lets everything through: security groups decide."),
    Action::ec2("DescribeDhcpOptions", describe!["DhcpOptionsId"], |c| Box::pin(ready(dhcp_options(c))))
        .noting("There are none: every VPC has its own settings."),
    Action::ec2("DescribeManagedPrefixLists", describe!["PrefixListId"], |c| Box::pin(prefix_lists(c))),
    Action::ec2(
        "GetManagedPrefixListEntries",
        &["PrefixListId", "TargetVersion", "MaxResults", "NextToken"],
        |c| Box::pin(prefix_list_entries(c)),
    )
    .noting("There is one version, the present one."),
];

struct Acl {
    id: String,
    vpc_id: String,
    owner: String,
    subnets: Vec<String>,
}

impl Acl {
    fn of(c: &Context, vpc: &Vpc, subnets: &[Subnet]) -> Self {
        let own = subnets.iter().filter(|subnet| subnet.spec.vpc == vpc.metadata.name);
        Self {
            id: ids::derived("acl", &vpc.metadata, "vpc"),
            vpc_id: ids::id(vpc),
            owner: c.account(),
            subnets: own.map(ids::id).collect(),
        }
    }
}

impl Item for Acl {
    const FILTERS: &'static [&'static str] = &[
        "network-acl-id",
        "vpc-id",
        "default",
        "owner-id",
        "association.subnet-id",
        "association.network-acl-id",
        "association.association-id",
    ];

    fn id(&self) -> &str {
        &self.id
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        match filter {
            "vpc-id" => vec![self.vpc_id.clone()],
            "default" => vec!["true".into()],
            "owner-id" => vec![self.owner.clone()],
            "association.subnet-id" => self.subnets.clone(),
            "association.association-id" => self.subnets.iter().map(|s| association(s)).collect(),
            _ => vec![self.id.clone()],
        }
    }
    fn write(&self, x: &mut Xml) {
        x.text("networkAclId", &self.id)
            .text("vpcId", &self.vpc_id)
            .text("ownerId", &self.owner)
            .text("default", true)
            .list("associationSet", &self.subnets, |x, subnet| {
                x.text("networkAclAssociationId", association(subnet))
                    .text("networkAclId", &self.id)
                    .text("subnetId", subnet);
            });
        let rules = [(100, "allow"), (LAST_RULE, "deny")];
        let both = rules.iter().flat_map(|rule| [(rule, true), (rule, false)]);
        x.list("entrySet", both, |x, ((number, word), egress)| {
            x.text("ruleNumber", number)
                .text("protocol", "-1")
                .text("ruleAction", word)
                .text("egress", egress)
                .text("cidrBlock", "0.0.0.0/0");
        });
        tags::write(x, &Tags::new());
    }
}

fn association(subnet: &str) -> String {
    format!("aclassoc-{}", subnet.rsplit('-').next().unwrap_or_default())
}

async fn acls(c: &Context) -> Answer {
    let subnets = c.list_if_allowed::<SubnetSpec>().await?;
    let all = c.list::<VpcSpec>().await?.iter().map(|vpc| Acl::of(c, vpc, &subnets)).collect();
    let none = |id: &str| {
        let id: String = id.chars().take(80).collect();
        Failure::new("InvalidNetworkAclID.NotFound", format!("The networkAcl ID '{id}' does not exist"))
    };
    Ok(answer("networkAclSet", &select(&c.params, &Ids { parameter: "NetworkAclId", none }, all)?))
}

/// Of which there is none.
struct DhcpOptions;

impl Item for DhcpOptions {
    const FILTERS: &'static [&'static str] = &["dhcp-options-id", "key", "value", "owner-id"];

    fn id(&self) -> &'static str {
        ""
    }
    fn facts(&self, _: &str) -> Vec<String> {
        Vec::new()
    }
    fn write(&self, _: &mut Xml) {}
}

fn dhcp_options(c: &Context) -> Answer {
    let none = |id: &str| {
        let id: String = id.chars().take(80).collect();
        Failure::new("InvalidDhcpOptionID.NotFound", format!("The dhcpOption ID '{id}' does not exist"))
    };
    let page = select(&c.params, &Ids { parameter: "DhcpOptionsId", none }, Vec::<DhcpOptions>::new())?;
    Ok(answer("dhcpOptionsSet", &page))
}

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
            .text("prefixListArn", format!("arn:aws:ec2:{REGION}:{}:prefix-list/{}", self.owner, self.id))
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
    let ids = Ids { parameter: "PrefixListId", none: ids::none::<PrefixListSpec> };
    Ok(answer("prefixListSet", &select(&c.params, &ids, shown.collect())?))
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
    let list = c.named::<PrefixListSpec>("PrefixListId").await?;
    if c.params.number("TargetVersion")?.is_some_and(|version| version != 1) {
        return Err(Failure::new("PrefixListVersionNotFound", "There is version 1 alone"));
    }
    let entry = |entry: &model::network::PrefixEntry| Entry {
        cidr: entry.cidr.map(|cidr| cidr.to_string()).unwrap_or_default(),
        description: entry.description.clone(),
    };
    let ids = Ids { parameter: "", none: |id| Failure::value(id) };
    Ok(answer("entrySet", &select(&c.params, &ids, list.spec.entries.iter().map(entry).collect())?))
}
