//! What endpoints lead to: the services of the cloud, and the prefix list of the one that has gateways.

use std::future::ready;

use model::network::{Cidr, EndpointService};
use model::zone_in_region;

use crate::REGION;
use crate::actions::{Action, Answer, describe};
use crate::context::Context;
use crate::describe::{Ids, Item, answer, select};
use crate::failure::Failure;
use crate::ids;
use crate::xml::Xml;

/// Whose the cloud's own services are.
const OWNER: &str = "amazon";

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2("DescribeVpcEndpointServices", describe!["ServiceName"], |c| Box::pin(ready(services(c))))
        .noting("Those of the cloud itself. Nobody makes services of his own."),
    Action::ec2("DescribePrefixLists", describe!["PrefixListId"], |c| Box::pin(ready(prefix_lists(c))))
        .noting("That of S3's gateways."),
];

/// The id of the list that routes to a service have as their destination.
pub(crate) fn prefix_list_id(service: EndpointService) -> String {
    ids::hashed("pl", &format!("service\n{}", service.as_str()))
}

struct Service {
    place: String,
    name: String,
    service_id: String,
    kind: &'static str,
    dns: Vec<String>,
}

impl Item for Service {
    const FILTERS: &'static [&'static str] =
        &["service-name", "service-type", "owner", "supported-ip-address-types"];

    fn id(&self) -> &str {
        &self.name
    }
    // Some are there twice, as a gateway and as an interface.
    fn place(&self) -> &str {
        &self.place
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        match filter {
            "service-type" => vec![self.kind.into()],
            "owner" => vec![OWNER.into()],
            "supported-ip-address-types" => vec!["ipv4".into()],
            _ => vec![self.name.clone()],
        }
    }
    fn write(&self, x: &mut Xml) {
        x.text("serviceName", &self.name)
            .text("serviceId", &self.service_id)
            .list("serviceType", [self.kind], |x, kind| {
                x.text("serviceType", kind);
            })
            .text("serviceRegion", REGION)
            .list("availabilityZoneSet", [zone_in_region("")], |x, zone| {
                x.out_text(zone);
            })
            .text("owner", OWNER)
            .list("baseEndpointDnsNameSet", &self.dns, |x, name| {
                x.out_text(name);
            });
        if self.kind == "Interface" {
            x.given("privateDnsName", self.dns.first().map_or("", String::as_str)).list(
                "privateDnsNameSet",
                &self.dns,
                |x, name| {
                    x.text("privateDnsName", name);
                },
            );
        }
        x.text("vpcEndpointPolicySupported", true)
            .text("acceptanceRequired", false)
            .text("managesVpcEndpoints", false)
            .text("privateDnsNameVerificationState", "verified")
            .list("supportedIpAddressTypeSet", ["ipv4"], |x, kind| {
                x.out_text(kind);
            });
    }
}

/// There is no service of this name.
pub(crate) fn none(name: &str) -> Failure {
    let shown: String = name.chars().take(120).collect();
    Failure::new("InvalidServiceName", format!("The Vpc Endpoint Service '{shown}' does not exist"))
}

fn services(c: &Context) -> Answer {
    let of = |service: &EndpointService| {
        let one = |kind| Service {
            place: format!("{} {kind}", service.full_name()),
            name: service.full_name(),
            service_id: ids::hashed("vpce-svc", &format!("{}\n{kind}", service.as_str())),
            kind,
            dns: service.names(),
        };
        service
            .has_gateway()
            .then(|| one("Gateway"))
            .into_iter()
            .chain([one("Interface")])
            .collect::<Vec<_>>()
    };
    let shown = EndpointService::ALL.iter().flat_map(of).collect();
    let page = select::<Service>(&c.params, &Ids { parameter: "ServiceName", none }, shown)?;
    let mut names: Vec<&str> = page.items.iter().map(|service| service.name.as_str()).collect();
    names.dedup();
    let mut x = Xml::new();
    x.list("serviceNameSet", names, |x, name| {
        x.out_text(name);
    });
    x.append(&answer("serviceDetailSet", &page));
    Ok(x)
}

pub(crate) struct OfService {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) cidrs: Vec<String>,
}

/// The lists of services that routes lead to.
pub(crate) fn lists() -> impl Iterator<Item = OfService> {
    EndpointService::ALL.into_iter().filter_map(|service| {
        let address = service.gateway_address()?;
        let cidrs = vec![format!("{address}/32")];
        Some(OfService { id: prefix_list_id(service), name: service.full_name(), cidrs })
    })
}

/// The network that the list of a service stands for, by the list's id.
pub(crate) fn network_of(id: &str) -> Option<Cidr> {
    let list = lists().find(|list| list.id == id)?;
    list.cidrs.first()?.parse().ok()
}

/// The list that stands for a network.
pub(crate) fn list_of(network: Cidr) -> Option<String> {
    let network = network.to_string();
    lists().find(|list| list.cidrs.contains(&network)).map(|list| list.id)
}

impl Item for OfService {
    const FILTERS: &'static [&'static str] = &["prefix-list-id", "prefix-list-name"];

    fn id(&self) -> &str {
        &self.id
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        vec![if filter == "prefix-list-name" { self.name.clone() } else { self.id.clone() }]
    }
    fn write(&self, x: &mut Xml) {
        x.list("cidrSet", &self.cidrs, |x, cidr| {
            x.out_text(cidr);
        })
        .text("prefixListId", &self.id)
        .text("prefixListName", &self.name);
    }
}

fn prefix_lists(c: &Context) -> Answer {
    let ids = Ids { parameter: "PrefixListId", none: ids::none::<model::network::PrefixListSpec> };
    Ok(answer("prefixListSet", &select(&c.params, &ids, lists().collect())?))
}
