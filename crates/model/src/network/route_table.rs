//! RouteTable: where packets of its subnets go. To the Vpc's own ranges there is always a way.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::rules::{at_most, check_name, is_default, require_name};
use super::{Cidr, GROUP, GatewaySpec, PeeringSpec, PortSpec, PrefixListSpec, VpcSpec};
use crate::compute::InstanceSpec;
use crate::{Claim, Column, Condition, FieldErrors, KindInfo, Object, Reference, Scope, Spec};

pub type RouteTable = Object<RouteTableSpec>;

const ROUTES_MAX: usize = 500;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteTableSpec {
    pub vpc: String,
    /// The narrowest destination wins. At most 500.
    pub routes: Vec<Route>,
    /// Subnets of the Vpc that name no table follow this one. A Vpc has at most one.
    #[serde(skip_serializing_if = "is_default")]
    pub is_main: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Route {
    /// Packets to this network; `0.0.0.0/0` is everything else, and `::/0` for IPv6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<Cidr>,
    /// Packets to the networks of this PrefixList, in place of a destination.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prefix_list: String,
    pub target: RouteTarget,
}

/// Where a route leads: exactly one of these. A route to what is gone drops its packets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteTarget {
    /// A Gateway of the Vpc.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gateway: String,
    /// A Port in the Vpc; its sourceDestinationCheck has to be off.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub port: String,
    /// An instance, by its primary port.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub instance: String,
    /// A Peering of the Vpc.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub peering: String,
    /// Within the Vpc.
    #[serde(skip_serializing_if = "is_default")]
    pub local: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteTableStatus {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

impl RouteTableSpec {
    /// What the main table of a Vpc holds.
    pub fn main_claim(project: &str, vpc: &str) -> Claim {
        let what = format!("the place of the main route table of vpc {vpc:?}");
        Claim::new(format!("main-table/{project}/{vpc}"), "spec.isMain", what)
    }
}

impl Spec for RouteTableSpec {
    type Status = RouteTableStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "RouteTable",
        plural: "routetables",
        singular: "routetable",
        short_names: &["rt"],
        scope: Scope::Project,
        summary: "Where packets of its subnets go.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        require_name("spec.vpc", &self.vpc, "the Vpc that it belongs to", errors);
        at_most("spec.routes", &self.routes, ROUTES_MAX, errors);
        for (i, route) in self.routes.iter().enumerate() {
            let field = format!("spec.routes[{i}]");
            route.validate(&field, errors);
            let same = |o: &Route| o.destination == route.destination && o.prefix_list == route.prefix_list;
            if self.routes[..i].iter().any(same) {
                errors.push(format!("{field}.destination"), "has a route already; keep one of the two");
            }
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        errors.require(self.vpc == old.vpc, "spec.vpc", "cannot be changed; make a new route table");
    }

    fn columns() -> &'static [Column<RouteTable>] {
        const COLUMNS: &[Column<RouteTable>] = &[
            Column::text("Vpc", |t, _| json!(t.spec.vpc)),
            Column::integer("Routes", |t, _| json!(t.spec.routes.len())),
            Column::text("Main", |t, _| json!(if t.spec.is_main { "yes" } else { "" })),
        ];
        COLUMNS
    }

    fn field(t: &RouteTable, path: &str) -> Option<String> {
        (path == "spec.vpc").then(|| t.spec.vpc.clone())
    }

    fn claims(t: &RouteTable) -> Vec<Claim> {
        let claim = || Self::main_claim(&t.metadata.namespace, &t.spec.vpc);
        t.spec.is_main.then(claim).into_iter().collect()
    }

    fn references(t: &RouteTable) -> Vec<Reference> {
        let meta = &t.metadata;
        let routes = t.spec.routes.iter().enumerate().flat_map(|(i, route)| {
            let field = |name: &str| format!("spec.routes[{i}].{name}");
            let target = &route.target;
            [
                Reference::kept(PrefixListSpec::KIND, meta, &route.prefix_list, field("prefixList")),
                Reference::kept(GatewaySpec::KIND, meta, &target.gateway, field("target.gateway")),
                Reference::kept(PeeringSpec::KIND, meta, &target.peering, field("target.peering")),
                // Instances and their ports come and go; a route must not keep them.
                Reference::named(PortSpec::KIND, meta, &target.port, field("target.port")),
                Reference::named(InstanceSpec::KIND, meta, &target.instance, field("target.instance")),
            ]
            .into_iter()
            .flatten()
        });
        Reference::kept(VpcSpec::KIND, meta, &t.spec.vpc, "spec.vpc").into_iter().chain(routes).collect()
    }
}

impl Route {
    fn validate(&self, field: &str, errors: &mut FieldErrors) {
        errors.require(
            self.destination.is_some() == self.prefix_list.is_empty(),
            &format!("{field}.destination"),
            "must be a network, such as 0.0.0.0/0; or set prefixList",
        );
        check_name(&format!("{field}.prefixList"), &self.prefix_list, errors);
        let RouteTarget { gateway, port, instance, peering, local } = &self.target;
        let names = [("gateway", gateway), ("port", port), ("instance", instance), ("peering", peering)];
        let given = names.iter().filter(|(_, name)| !name.is_empty()).count() + usize::from(*local);
        errors.require(
            given == 1,
            &format!("{field}.target"),
            "must be exactly one of gateway, port, instance, peering and local",
        );
        for (kind, name) in names {
            check_name(&format!("{field}.target.{kind}"), name, errors);
        }
    }
}
