//! `VpcEndpoint`: a way from inside of a Vpc to the cloud's own API, without any way out.

use std::net::{IpAddr, Ipv4Addr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::rules::{check_names, is_default, require_name};
use super::{GROUP, PortSpec, RouteTableSpec, SecurityGroupSpec, SubnetSpec, VpcSpec};
use crate::{
    Claim, Column, Condition, FieldErrors, KindInfo, Name, Object, REGION, Reference, Scope, Spec, Uid,
    short_id,
};

pub type VpcEndpoint = Object<VpcEndpointSpec>;

const ROUTE_TABLES_MAX: usize = 200;
const SUBNETS_MAX: usize = 16;
const GROUPS_MAX: usize = 16;
const POLICY_MAX_BYTES: usize = 20_480;
/// So much of an endpoint's name is kept in the names of its ports.
const PREFIX_MAX: usize = 40;
/// What names that the cloud answers itself end in.
const DOMAIN: &str = "amazonaws.com";

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VpcEndpointSpec {
    /// The Vpc that it belongs to.
    pub vpc: String,
    /// What is reached through it.
    pub service: EndpointService,
    #[serde(rename = "type")]
    pub endpoint_type: EndpointType,
    /// The `RouteTables` whose subnets reach a `gateway`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub route_tables: Vec<String>,
    /// The subnets that an `interface` has an address in, one of each family that the subnet has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subnets: Vec<String>,
    /// What may reach an `interface`; the Vpc's default group when left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<String>,
    /// The service's own names lead to an `interface` in the Vpc.
    #[serde(skip_serializing_if = "is_default")]
    pub private_dns: bool,
    /// What may be asked through it: a policy document in JSON, as buckets have. Everything when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub policy: String,
}

/// A service of the cloud's own, as AWS calls it.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum EndpointService {
    #[default]
    S3,
    Ec2,
    Sts,
    Iam,
    ElasticLoadBalancing,
    AutoScaling,
    Monitoring,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum EndpointType {
    /// Routes of the Vpc lead to the service; for `s3`.
    #[default]
    Gateway,
    /// An address in each of its subnets.
    Interface,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VpcEndpointStatus {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

impl EndpointService {
    pub const ALL: [Self; 7] = [
        Self::S3,
        Self::Ec2,
        Self::Sts,
        Self::Iam,
        Self::ElasticLoadBalancing,
        Self::AutoScaling,
        Self::Monitoring,
    ];

    /// As credentials name it in their scope.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Ec2 => "ec2",
            Self::Sts => "sts",
            Self::Iam => "iam",
            Self::ElasticLoadBalancing => "elasticloadbalancing",
            Self::AutoScaling => "autoscaling",
            Self::Monitoring => "monitoring",
        }
    }

    /// As AWS's clients name it where they make endpoints.
    pub fn full_name(self) -> String {
        format!("com.amazonaws.{REGION}.{}", self.as_str())
    }

    pub fn of_full_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.full_name() == name)
    }

    /// Whether routes can lead to it.
    pub fn has_gateway(self) -> bool {
        self == Self::S3
    }

    /// Where routes lead, for who is let through: the same address in every Vpc. Nobody else has it: above those of
    /// ways out, and none that guests of other clouds look for.
    pub fn gateway_address(self) -> Option<IpAddr> {
        self.has_gateway().then(|| Ipv4Addr::new(169, 254, 171, 3).into())
    }

    /// The names that its clients look for by themselves.
    pub fn names(self) -> Vec<String> {
        let regional = format!("{}.{REGION}.{DOMAIN}", self.as_str());
        match self {
            // One for all regions, there.
            Self::Sts | Self::Iam => vec![regional, format!("{}.{DOMAIN}", self.as_str())],
            _ => vec![regional],
        }
    }
}

impl VpcEndpoint {
    /// As AWS's clients know it.
    pub fn id(&self) -> String {
        short_id("vpce", &self.metadata)
    }

    pub fn is_interface(&self) -> bool {
        self.spec.endpoint_type == EndpointType::Interface
    }

    /// The name that only this one has; of an `interface`.
    pub fn own_name(&self) -> Option<String> {
        let service = self.spec.service.as_str();
        self.is_interface().then(|| format!("{}.{service}.{REGION}.vpce.{DOMAIN}", self.id()))
    }

    /// Every name that leads to it in its Vpc.
    pub fn names(&self) -> Vec<String> {
        let with_service = !self.is_interface() || self.spec.private_dns;
        let service = with_service.then(|| self.spec.service.names()).into_iter().flatten();
        self.own_name().into_iter().chain(service).collect()
    }

    /// The port that is made for it in one of its subnets: told apart by a digest of the subnet's name.
    pub fn port_name(&self, subnet: &str) -> String {
        let digest = subnet.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let name = &self.metadata.name;
        let whole = format!("{name}-{digest:016x}-vpce");
        if Name::new(&whole).is_ok() {
            return whole;
        }
        let cut: String = name.chars().take(PREFIX_MAX).collect();
        let uid: String = self.metadata.uid.as_str().chars().take(8).collect();
        format!("{}-{uid}-{:08x}-vpce", cut.trim_end_matches(['-', '.']), digest >> 32)
    }
}

/// A guest's connection to the cloud's API, which its host carries to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    pub project: String,
    /// The `VpcEndpoint` that it comes by.
    pub endpoint: String,
    pub uid: Uid,
    /// The port that it comes from, and the address there.
    pub port: String,
    pub from: IpAddr,
}

impl Spec for VpcEndpointSpec {
    type Status = VpcEndpointStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "VpcEndpoint",
        plural: "vpcendpoints",
        singular: "vpcendpoint",
        short_names: &["vpce"],
        scope: Scope::Project,
        summary: "A way from inside of a Vpc to the cloud's own API.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        require_name("spec.vpc", &self.vpc, "the Vpc that it belongs to", errors);
        check_names("spec.routeTables", &self.route_tables, ROUTE_TABLES_MAX, errors);
        check_names("spec.subnets", &self.subnets, SUBNETS_MAX, errors);
        check_names("spec.securityGroups", &self.security_groups, GROUPS_MAX, errors);
        let is_gateway = self.endpoint_type == EndpointType::Gateway;
        errors.require(
            !is_gateway || self.service.has_gateway(),
            "spec.type",
            "gateway is only for spec.service s3; use interface",
        );
        let of_interfaces = "is only for spec.type interface; leave it out";
        errors.require(!is_gateway || self.subnets.is_empty(), "spec.subnets", of_interfaces);
        errors.require(!is_gateway || self.security_groups.is_empty(), "spec.securityGroups", of_interfaces);
        errors.require(!is_gateway || !self.private_dns, "spec.privateDns", of_interfaces);
        errors.require(
            is_gateway || self.route_tables.is_empty(),
            "spec.routeTables",
            "is only for spec.type gateway; leave it out",
        );
        errors.require(
            self.policy.len() <= POLICY_MAX_BYTES,
            "spec.policy",
            "has more than 20480 bytes; make it shorter",
        );
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        let fixed = "cannot be changed; make a new vpc endpoint";
        errors.require(self.vpc == old.vpc, "spec.vpc", fixed);
        errors.require(self.service == old.service, "spec.service", fixed);
        errors.require(self.endpoint_type == old.endpoint_type, "spec.type", fixed);
    }

    fn columns() -> &'static [Column<VpcEndpoint>] {
        const COLUMNS: &[Column<VpcEndpoint>] = &[
            Column::text("Vpc", |e, _| json!(e.spec.vpc)),
            Column::text("Service", |e, _| json!(e.spec.service)),
            Column::text("Type", |e, _| json!(e.spec.endpoint_type)),
            Column::text("From", |e, _| {
                json!(if e.is_interface() { &e.spec.subnets } else { &e.spec.route_tables }.join(","))
            }),
            Column::wide_text("Names", |e, _| json!(e.names().join(","))),
        ];
        COLUMNS
    }

    fn field(e: &VpcEndpoint, path: &str) -> Option<String> {
        (path == "spec.vpc").then(|| e.spec.vpc.clone())
    }

    fn claims(e: &VpcEndpoint) -> Vec<Claim> {
        let (project, spec, service) = (&e.metadata.namespace, &e.spec, e.spec.service.as_str());
        let tables = spec.route_tables.iter().enumerate().map(|(i, table)| {
            let what = format!("the route to {service} of route table {table:?}");
            Claim::new(
                format!("endpoint-route/{project}/{service}/{table}"),
                format!("spec.routeTables[{i}]"),
                what,
            )
        });
        let names = spec.private_dns.then(|| {
            let what = format!("the names of {service} in vpc {:?}", spec.vpc);
            Claim::new(format!("endpoint-names/{project}/{service}/{}", spec.vpc), "spec.privateDns", what)
        });
        let ports = spec.subnets.iter().enumerate().map(|(i, subnet)| {
            let port = e.port_name(subnet);
            // As an instance would attach it.
            let field = format!("spec.subnets[{i}]");
            Claim::new(format!("attached/{project}/{port}"), field, format!("port {port:?}"))
        });
        tables.chain(names).chain(ports).collect()
    }

    fn references(e: &VpcEndpoint) -> Vec<Reference> {
        let (meta, spec) = (&e.metadata, &e.spec);
        let listed = |kind: KindInfo, names: &[String], field: &str| -> Vec<Reference> {
            let kept =
                |(i, name): (usize, &String)| Reference::kept(kind, meta, name, format!("spec.{field}[{i}]"));
            names.iter().enumerate().filter_map(kept).collect()
        };
        let ports = spec.subnets.iter().enumerate().filter_map(|(i, subnet)| {
            Reference::kept(PortSpec::KIND, meta, &e.port_name(subnet), format!("spec.subnets[{i}]"))
        });
        Reference::kept(VpcSpec::KIND, meta, &spec.vpc, "spec.vpc")
            .into_iter()
            .chain(listed(RouteTableSpec::KIND, &spec.route_tables, "routeTables"))
            .chain(listed(SubnetSpec::KIND, &spec.subnets, "subnets"))
            .chain(listed(SecurityGroupSpec::KIND, &spec.security_groups, "securityGroups"))
            .chain(ports)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ObjectMeta, Uid};

    fn endpoint(name: &str, spec: VpcEndpointSpec) -> VpcEndpoint {
        let mut made = Object::new(ObjectMeta::in_project("p", name), spec);
        made.metadata.uid = Uid::from_random([7; 16]);
        made
    }

    #[test]
    fn each_form_has_fields_of_its_own() {
        let one = |name: &str| vec![name.to_owned()];
        let base = || VpcEndpointSpec { vpc: "v".into(), ..VpcEndpointSpec::default() };
        let interface = || VpcEndpointSpec { endpoint_type: EndpointType::Interface, ..base() };
        let cases = [
            (base(), ""),
            (VpcEndpointSpec { route_tables: one("main"), ..base() }, ""),
            (VpcEndpointSpec { subnets: one("s"), private_dns: true, ..interface() }, ""),
            (VpcEndpointSpec { service: EndpointService::Ec2, ..base() }, "spec.type"),
            (VpcEndpointSpec { subnets: one("s"), ..base() }, "spec.subnets"),
            (VpcEndpointSpec { security_groups: one("g"), ..base() }, "spec.securityGroups"),
            (VpcEndpointSpec { private_dns: true, ..base() }, "spec.privateDns"),
            (VpcEndpointSpec { route_tables: one("main"), ..interface() }, "spec.routeTables"),
            (VpcEndpointSpec { policy: "x".repeat(20_481), ..base() }, "spec.policy"),
            (VpcEndpointSpec { vpc: String::new(), ..base() }, "spec.vpc"),
        ];
        for (spec, expected) in cases {
            let mut errors = FieldErrors::default();
            spec.validate(&mut errors);
            let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
            assert_eq!(fields.join(","), expected, "{spec:?}");
        }
    }

    #[test]
    fn names_lead_to_gateways_and_to_interfaces_that_want_them() {
        let gateway = endpoint("store", VpcEndpointSpec::default());
        assert_eq!(gateway.names(), ["s3.my-corten-1.amazonaws.com"]);
        let spec = VpcEndpointSpec {
            service: EndpointService::Sts,
            endpoint_type: EndpointType::Interface,
            ..VpcEndpointSpec::default()
        };
        let mut interface = endpoint("vpce-00000000000000001", spec);
        let own = "vpce-00000000000000001.sts.my-corten-1.vpce.amazonaws.com";
        assert_eq!(interface.names(), [own]);
        interface.spec.private_dns = true;
        assert_eq!(interface.names(), [own, "sts.my-corten-1.amazonaws.com", "sts.amazonaws.com"]);
    }

    #[test]
    fn ports_have_names_that_are_names_and_differ() {
        for name in ["e", &"n".repeat(63)] {
            let made = endpoint(name, VpcEndpointSpec::default());
            let ports = ["a", "b"].map(|subnet| made.port_name(subnet));
            assert_ne!(ports[0], ports[1]);
            assert!(ports.iter().all(|port| Name::new(port).is_ok()), "{ports:?}");
        }
    }

    #[test]
    fn services_are_known_by_the_names_that_clients_use() {
        for service in EndpointService::ALL {
            assert_eq!(EndpointService::of_full_name(&service.full_name()), Some(service));
            assert_eq!(json!(service), json!(service.as_str()));
        }
        assert_eq!(EndpointService::of_full_name("com.amazonaws.us-east-1.s3"), None);
    }
}
