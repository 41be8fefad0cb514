//! DhcpOptions: what guests of a Vpc are told by DHCP beside their own address.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::rules::{at_most, check_address};
use super::{Address, GROUP};
use crate::{Column, FieldErrors, KindInfo, Name, Object, Scope, Spec};

pub type DhcpOptions = Object<DhcpOptionsSpec>;

const SERVERS_MAX: usize = 4;
/// Kinds of NetBIOS nodes (RFC 2132, section 8.7): broadcast, peer to peer, mixed, hybrid.
const NODE_TYPES: [u8; 4] = [1, 2, 4, 8];

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DhcpOptionsSpec {
    /// The domain that guests search; instances are found under the Vpc's own all the same. None when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// Guests ask the Vpc's own name service, before any other.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub vpc_name_server: bool,
    /// Name servers that guests ask themselves; at most 4.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub name_servers: Vec<Address>,
    /// Servers that tell the time; at most 4, of IPv4.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ntp_servers: Vec<Address>,
    /// Name servers of NetBIOS; at most 4, of IPv4.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub netbios_name_servers: Vec<Address>,
    /// 1, 2, 4 or 8 (RFC 2132).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netbios_node_type: Option<u8>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DhcpOptionsStatus {}

impl DhcpOptionsSpec {
    /// Whom guests ask for names, where these are the Vpc's own.
    pub fn resolvers(&self, own: &[IpAddr]) -> Vec<IpAddr> {
        let own = own.iter().copied().filter(|_| self.vpc_name_server);
        own.chain(self.name_servers.iter().map(|server| server.0)).collect()
    }
}

impl Spec for DhcpOptionsSpec {
    type Status = DhcpOptionsStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "DhcpOptions",
        plural: "dhcpoptions",
        singular: "dhcpoptions",
        short_names: &["dopt"],
        scope: Scope::Project,
        summary: "What guests of a Vpc are told by DHCP beside their own address.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        if let (false, Err(e)) = (self.domain.is_empty(), Name::new(&self.domain)) {
            errors.push("spec.domain", e.to_string());
        }
        let lists = [
            ("spec.nameServers", &self.name_servers, true),
            ("spec.ntpServers", &self.ntp_servers, false),
            ("spec.netbiosNameServers", &self.netbios_name_servers, false),
        ];
        for (field, servers, with_ipv6) in lists {
            at_most(field, servers, SERVERS_MAX, errors);
            for (i, server) in servers.iter().enumerate() {
                let field = format!("{field}[{i}]");
                // A host's own clock and resolver are at link-local addresses on other clouds; here they are nowhere.
                check_address(&field, *server, errors);
                errors.require(with_ipv6 || server.0.is_ipv4(), &field, "must be an address of IPv4");
            }
        }
        errors.require(
            self.netbios_node_type.is_none_or(|kind| NODE_TYPES.contains(&kind)),
            "spec.netbiosNodeType",
            "must be 1, 2, 4 or 8",
        );
    }

    fn columns() -> &'static [Column<DhcpOptions>] {
        const COLUMNS: &[Column<DhcpOptions>] = &[
            Column::text("Domain", |o, _| json!(o.spec.domain)),
            Column::text("NameServers", |o, _| {
                let own = o.spec.vpc_name_server.then(|| "the vpc's".to_owned());
                let all = own.into_iter().chain(o.spec.name_servers.iter().map(ToString::to_string));
                json!(all.collect::<Vec<_>>().join(","))
            }),
        ];
        COLUMNS
    }
}
