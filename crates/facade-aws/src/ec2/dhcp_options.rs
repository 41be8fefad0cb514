//! DHCP options: what guests of a VPC are told beside their own address.

use model::network::{Address, DhcpOptions, DhcpOptionsSpec, VpcSpec};
use model::{Object, ObjectMeta};
use serde_json::json;

use crate::actions::{Action, Answer, describe};
use crate::context::Context;
use crate::describe::{Ids, Item, answer, select};
use crate::failure::Failure;
use crate::ids;
use crate::params::Params;
use crate::tags::{self, Tags};
use crate::xml::Xml;

/// The VPC's own name service.
const PROVIDED: &str = "AmazonProvidedDNS";
/// What a VPC has that names none.
pub(crate) const DEFAULT: &str = "default";

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2("CreateDhcpOptions", &["DhcpConfiguration", "TagSpecification"], |c| Box::pin(create(c)))
        .noting("A machine asks again within the hour; a container is told at its start."),
    Action::ec2("DeleteDhcpOptions", &["DhcpOptionsId"], |c| Box::pin(delete(c))),
    Action::ec2("DescribeDhcpOptions", describe!["DhcpOptionsId"], |c| Box::pin(describe(c)))
        .noting("VPCs that have none (`default`) tell their own domain and name service."),
    Action::ec2("AssociateDhcpOptions", &["DhcpOptionsId", "VpcId"], |c| Box::pin(associate(c))),
];

/// Options by their keys, as they are shown.
struct Shown {
    id: String,
    owner: String,
    configuration: Vec<(&'static str, Vec<String>)>,
    tags: Tags,
}

impl Shown {
    fn of(c: &Context, options: &DhcpOptions) -> Self {
        let spec = &options.spec;
        let texts =
            |servers: &[Address]| -> Vec<String> { servers.iter().map(ToString::to_string).collect() };
        let provided = spec.vpc_name_server.then(|| PROVIDED.to_owned());
        let all = [
            ("domain-name", Some(spec.domain.clone()).filter(|d| !d.is_empty()).into_iter().collect()),
            ("domain-name-servers", provided.into_iter().chain(texts(&spec.name_servers)).collect()),
            ("ntp-servers", texts(&spec.ntp_servers)),
            ("netbios-name-servers", texts(&spec.netbios_name_servers)),
            ("netbios-node-type", spec.netbios_node_type.map(|n| n.to_string()).into_iter().collect()),
        ];
        Self {
            id: ids::id(options),
            owner: c.account(),
            configuration: all
                .into_iter()
                .filter(|(_, values): &(_, Vec<String>)| !values.is_empty())
                .collect(),
            tags: tags::of(&options.metadata),
        }
    }
}

impl Item for Shown {
    const FILTERS: &'static [&'static str] = &["dhcp-options-id", "key", "value", "owner-id"];

    fn id(&self) -> &str {
        &self.id
    }
    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        match filter {
            "key" => self.configuration.iter().map(|(key, _)| (*key).to_owned()).collect(),
            "value" => self.configuration.iter().flat_map(|(_, values)| values.clone()).collect(),
            "owner-id" => vec![self.owner.clone()],
            _ => vec![self.id.clone()],
        }
    }
    fn write(&self, x: &mut Xml) {
        x.text("dhcpOptionsId", &self.id).text("ownerId", &self.owner).list(
            "dhcpConfigurationSet",
            &self.configuration,
            |x, (key, values)| {
                x.text("key", key).list("valueSet", values, |x, value| {
                    x.text("value", value);
                });
            },
        );
        tags::write(x, &self.tags);
    }
}

async fn describe(c: &Context) -> Answer {
    let all = c.list::<DhcpOptionsSpec>().await?;
    let shown = all.iter().map(|options| Shown::of(c, options)).collect();
    let ids = Ids { parameter: "DhcpOptionsId", none: ids::none::<DhcpOptionsSpec> };
    Ok(answer("dhcpOptionsSet", &select(&c.params, &ids, shown)?))
}

fn servers(key: &str, values: &[String]) -> Result<Vec<Address>, Failure> {
    let parse = |text: &String| {
        text.parse::<Address>().map_err(|_| {
            let text: String = text.chars().take(80).collect();
            Failure::value(format!("Value ({text}) for parameter {key} is invalid: it is no address"))
        })
    };
    values.iter().map(parse).collect()
}

/// One option with its values.
fn take(spec: &mut DhcpOptionsSpec, key: &str, values: Vec<String>) -> Result<(), Failure> {
    let one = || match values.as_slice() {
        [one] => Ok(one.clone()),
        _ => Err(Failure::value(format!("The option {key} has exactly one value"))),
    };
    match key {
        "domain-name" => spec.domain = one()?,
        "domain-name-servers" => {
            let (provided, others): (Vec<String>, Vec<String>) =
                values.into_iter().partition(|value| value.eq_ignore_ascii_case(PROVIDED));
            spec.vpc_name_server = !provided.is_empty();
            spec.name_servers = servers(key, &others)?;
        }
        "ntp-servers" => spec.ntp_servers = servers(key, &values)?,
        "netbios-name-servers" => spec.netbios_name_servers = servers(key, &values)?,
        "netbios-node-type" => {
            let text = one()?;
            let node =
                text.parse().map_err(|_| Failure::value(format!("{text} is no type of NetBIOS nodes")))?;
            spec.netbios_node_type = Some(node);
        }
        "ipv6-address-preferred-lease-time" => {
            return Err(Failure::unsupported("leases of IPv6 have one length in this cloud"));
        }
        other => {
            let other: String = other.chars().take(80).collect();
            return Err(Failure::value(format!(
                "Value ({other}) for parameter key is invalid. Unknown DHCP option"
            )));
        }
    }
    Ok(())
}

fn asked(params: &Params) -> Result<DhcpOptionsSpec, Failure> {
    let configuration = params.structs("DhcpConfiguration");
    if configuration.is_empty() {
        return Err(Failure::missing("DhcpConfiguration"));
    }
    let mut spec = DhcpOptionsSpec::default();
    for option in &configuration {
        let key = option.require("Key")?;
        let values = option.list("Value");
        if values.is_empty() {
            return Err(Failure::missing("DhcpConfiguration.N.Value"));
        }
        take(&mut spec, key, values)?;
    }
    Ok(spec)
}

async fn create(c: &Context) -> Answer {
    let spec = asked(&c.params)?;
    let mut meta = ObjectMeta::in_project(c.project(), c.new_id("dopt", 0));
    tags::give(&mut meta, tags::for_new(&c.params, "dhcp-options")?);
    let made: DhcpOptions = c.create(Object::new(meta, spec)).await?;
    let mut x = Xml::new();
    x.node("dhcpOptions", |x| Shown::of(c, &made).write(x));
    Ok(x)
}

async fn delete(c: &Context) -> Answer {
    let options = c.named::<DhcpOptionsSpec>("DhcpOptionsId").await?;
    c.delete::<DhcpOptionsSpec>(&options.metadata.name, "DependencyViolation").await?;
    Ok(super::done())
}

async fn associate(c: &Context) -> Answer {
    let name = match c.params.require("DhcpOptionsId")? {
        DEFAULT => String::new(),
        id => c.find::<DhcpOptionsSpec>(id).await?.metadata.name,
    };
    let vpc = c.named::<VpcSpec>("VpcId").await?;
    c.merge::<VpcSpec>(&vpc.metadata.name, &json!({ "spec": { "dhcpOptions": name } })).await?;
    Ok(super::done())
}
