//! DnsZone and DnsRecord: names that only the guests of some Vpcs can find out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::record_value::RecordValue;
use super::rules::{at_most, check_names, is_default, require_name};
use super::{GROUP, VpcSpec};
use crate::{Claim, Column, FieldErrors, KindInfo, Name, Object, Reference, Scope, Spec};

pub type DnsZone = Object<DnsZoneSpec>;
pub type DnsRecord = Object<DnsRecordSpec>;

const VPCS_MAX: usize = 64;
const VALUES_MAX: usize = 100;
const VALUE_MAX_BYTES: usize = 4096;
const LABEL_MAX: usize = 63;

/// A domain and the Vpcs in which it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DnsZoneSpec {
    /// As in `db.example.internal`, without a dot at its end.
    pub domain: String,
    /// The Vpcs of the project in which the zone is known.
    pub vpcs: Vec<String>,
}

/// Answers to one question.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DnsRecordSpec {
    /// The DnsZone that it is in.
    pub zone: String,
    /// The name below the zone's domain, as in `www` or `*.apps`; `@` is the domain itself.
    pub name: String,
    #[serde(rename = "type")]
    pub record_type: RecordType,
    /// Answers, in the form of a zone file (RFC 1035), as in `10.0.0.7`.
    pub values: Vec<String>,
    /// How long an answer may be kept, in seconds; 60 when left out.
    #[serde(skip_serializing_if = "is_default")]
    pub ttl_seconds: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(inline)]
pub enum RecordType {
    #[default]
    A,
    Aaaa,
    Cname,
    Txt,
    Mx,
    Srv,
    Ptr,
    Ns,
    Caa,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DnsZoneStatus {}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DnsRecordStatus {}

impl RecordType {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Cname => "CNAME",
            Self::Txt => "TXT",
            Self::Mx => "MX",
            Self::Srv => "SRV",
            Self::Ptr => "PTR",
            Self::Ns => "NS",
            Self::Caa => "CAA",
        }
    }
}

impl Spec for DnsZoneSpec {
    type Status = DnsZoneStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "DnsZone",
        plural: "dnszones",
        singular: "dnszone",
        short_names: &[],
        scope: Scope::Project,
        summary: "A domain and the Vpcs in which it is known.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        let ok = Name::new(&self.domain).is_ok();
        errors.require(ok, "spec.domain", "must be a domain, such as db.example.internal");
        check_names("spec.vpcs", &self.vpcs, VPCS_MAX, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        errors.require(self.domain == old.domain, "spec.domain", "cannot be changed; make a new zone");
    }

    fn columns() -> &'static [Column<DnsZone>] {
        const COLUMNS: &[Column<DnsZone>] = &[
            Column::text("Domain", |z, _| json!(z.spec.domain)),
            Column::text("Vpcs", |z, _| json!(z.spec.vpcs.join(","))),
        ];
        COLUMNS
    }

    fn claims(z: &DnsZone) -> Vec<Claim> {
        let (project, domain) = (&z.metadata.namespace, &z.spec.domain);
        let claim = |(i, vpc): (usize, &String)| {
            let key = format!("zone/{project}/{vpc}/{domain}");
            Claim::new(key, format!("spec.vpcs[{i}]"), format!("domain {domain:?} in vpc {vpc:?}"))
        };
        z.spec.vpcs.iter().enumerate().map(claim).collect()
    }

    fn references(z: &DnsZone) -> Vec<Reference> {
        let vpcs = z.spec.vpcs.iter().enumerate();
        vpcs.filter_map(|(i, vpc)| {
            Reference::kept(VpcSpec::KIND, &z.metadata, vpc, format!("spec.vpcs[{i}]"))
        })
        .collect()
    }
}

impl Spec for DnsRecordSpec {
    type Status = DnsRecordStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "DnsRecord",
        plural: "dnsrecords",
        singular: "dnsrecord",
        short_names: &["record", "records"],
        scope: Scope::Project,
        summary: "Answers to one question in a zone.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        require_name("spec.zone", &self.zone, "the DnsZone that it is in", errors);
        errors.require(
            self.name == "@" || is_record_name(&self.name),
            "spec.name",
            "must be a name below the zone's domain, as in www; or @ for the domain itself",
        );
        errors.require(!self.values.is_empty(), "spec.values", "must have an answer");
        at_most("spec.values", &self.values, VALUES_MAX, errors);
        errors.require(
            self.record_type != RecordType::Cname || (self.values.len() == 1 && self.name != "@"),
            "spec.values",
            "of type CNAME must be exactly one, and not for the domain itself",
        );
        for (i, value) in self.values.iter().enumerate() {
            let field = format!("spec.values[{i}]");
            if value.len() > VALUE_MAX_BYTES || value.contains(['\n', '\r', '\0']) || value.is_empty() {
                errors.push(field, "must be one line of 1 to 4096 bytes");
            } else if let Err(message) = RecordValue::parse(self.record_type, value) {
                errors.push(field, message);
            }
        }
        errors.require(self.ttl_seconds <= 604_800, "spec.ttlSeconds", "must be at most 604800, a week");
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        errors.require(self.zone == old.zone, "spec.zone", "cannot be changed; make a new record");
    }

    fn columns() -> &'static [Column<DnsRecord>] {
        const COLUMNS: &[Column<DnsRecord>] = &[
            Column::text("Zone", |r, _| json!(r.spec.zone)),
            Column::text("Record", |r, _| json!(r.spec.name)),
            Column::text("Type", |r, _| json!(r.spec.record_type)),
            Column::text("Values", |r, _| json!(r.spec.values.join(","))),
        ];
        COLUMNS
    }

    fn field(r: &DnsRecord, path: &str) -> Option<String> {
        (path == "spec.zone").then(|| r.spec.zone.clone())
    }

    fn claims(r: &DnsRecord) -> Vec<Claim> {
        let (project, spec) = (&r.metadata.namespace, &r.spec);
        let kind = spec.record_type.as_str();
        let key = format!("record/{project}/{}/{}/{kind}", spec.zone, spec.name);
        let what = format!("record {:?} of type {kind} in zone {:?}", spec.name, spec.zone);
        vec![Claim::new(key, "spec.name", what)]
    }

    fn references(r: &DnsRecord) -> Vec<Reference> {
        Reference::kept(DnsZoneSpec::KIND, &r.metadata, &r.spec.zone, "spec.zone").into_iter().collect()
    }
}

/// Labels of records may begin with an underscore (RFC 8552), and the first may be `*` (RFC 4592).
fn is_record_name(name: &str) -> bool {
    let label = |(i, label): (usize, &str)| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
        let is_word = (1..=LABEL_MAX).contains(&label.len())
            && label.bytes().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-');
        is_word || (i == 0 && label == "*")
    };
    name.len() <= 253 && name.split('.').enumerate().all(label)
}
