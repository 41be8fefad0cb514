//! FloatingIp: an address of the outside that a project has, and the port that it stands for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::rules::{check_name, require_name};
use super::{Address, AddressPoolSpec, GROUP, PortSpec};
use crate::{Claim, Column, Condition, FieldErrors, KindInfo, Object, Reference, Scope, Spec};

pub type FloatingIp = Object<FloatingIpSpec>;

/// Below this lie the claims of all floating addresses, whatever pool they are from.
const ADDRESSES: &str = "floating/";

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FloatingIpSpec {
    /// The AddressPool that it is from; may be left out where there is only one.
    pub pool: String,
    /// Given by the server when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// The Port that it stands for; none when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub port: String,
    /// Which of the port's addresses; its first of the same family when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_address: Option<Address>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FloatingIpStatus {
    /// The host that answers for it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

impl FloatingIpSpec {
    /// Below this lie the claims of all floating addresses.
    pub fn addresses() -> &'static str {
        ADDRESSES
    }

    /// What a FloatingIp that has the address holds.
    pub fn address_claim(address: Address) -> Claim {
        Claim::new(format!("{ADDRESSES}{address}"), "spec.address", format!("floating address {address}"))
    }

    /// What whoever uses a FloatingIp holds: a port or a gateway, but not both.
    pub fn use_claim(project: &str, name: &str, field: &str) -> Claim {
        let what = format!("the use of floating ip {name:?}");
        Claim::new(Self::use_key(project, name), field, what)
    }

    /// The key of that claim.
    pub fn use_key(project: &str, name: &str) -> String {
        format!("floating-use/{project}/{name}")
    }
}

impl Spec for FloatingIpSpec {
    type Status = FloatingIpStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "FloatingIp",
        plural: "floatingips",
        singular: "floatingip",
        short_names: &["fip", "fips"],
        scope: Scope::Project,
        summary: "An address of the outside that a project has, and the port that it stands for.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        require_name(
            "spec.pool",
            &self.pool,
            "an address pool; `corten get addresspools` lists them",
            errors,
        );
        check_name("spec.port", &self.port, errors);
        errors.require(
            self.port_address.is_none() || !self.port.is_empty(),
            "spec.portAddress",
            "needs a spec.port beside it",
        );
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        let fixed = "cannot be changed; make a new floating ip";
        errors.require(self.pool == old.pool, "spec.pool", fixed);
        errors.require(self.address == old.address, "spec.address", fixed);
    }

    fn columns() -> &'static [Column<FloatingIp>] {
        const COLUMNS: &[Column<FloatingIp>] = &[
            Column::text("Address", |f, _| json!(f.spec.address)),
            Column::text("Pool", |f, _| json!(f.spec.pool)),
            Column::text("Port", |f, _| json!(f.spec.port)),
            Column::text("Host", |f, _| json!(f.status.host)),
        ];
        COLUMNS
    }

    fn field(f: &FloatingIp, path: &str) -> Option<String> {
        Some(match path {
            "spec.port" => f.spec.port.clone(),
            "status.host" => f.status.host.clone(),
            _ => return None,
        })
    }

    fn claims(f: &FloatingIp) -> Vec<Claim> {
        let (project, spec) = (&f.metadata.namespace, &f.spec);
        let mut claims: Vec<Claim> = spec.address.map(Self::address_claim).into_iter().collect();
        if !spec.port.is_empty() {
            claims.push(Self::use_claim(project, &f.metadata.name, "spec.port"));
            let at = spec.port_address.map_or_else(|| "primary".into(), |address| address.to_string());
            let what = format!("the floating address of port {:?} ({at})", spec.port);
            claims.push(Claim::new(format!("floating-port/{project}/{}/{at}", spec.port), "spec.port", what));
        }
        claims
    }

    fn references(f: &FloatingIp) -> Vec<Reference> {
        let (meta, spec) = (&f.metadata, &f.spec);
        let pool = Reference::kept(AddressPoolSpec::KIND, meta, &spec.pool, "spec.pool");
        // A port goes with its instance, whatever address stands for it.
        let port = Reference::named(PortSpec::KIND, meta, &spec.port, "spec.port");
        pool.into_iter().chain(port).collect()
    }
}
