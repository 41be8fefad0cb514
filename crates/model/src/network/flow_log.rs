//! FlowLog: what flows through a port, a subnet or a Vpc, written into a bucket.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::rules::{check_name, is_default};
use super::{GROUP, PortSpec, SubnetSpec, VpcSpec};
use crate::storage::{BucketSpec, is_bucket_name};
use crate::{Column, Condition, FieldErrors, KindInfo, Object, Reference, Scope, Spec, Timestamp};

pub type FlowLog = Object<FlowLogSpec>;

/// Longest prefix of keys, in bytes: the rest of a key has room in S3's 1024.
const PREFIX_MAX_BYTES: usize = 512;
const INTERVAL_MIN_SECONDS: u32 = 60;
const INTERVAL_MAX_SECONDS: u32 = 3600;
const INTERVAL_DEFAULT_SECONDS: u32 = 600;
const FIELDS_MAX: usize = 32;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FlowLogSpec {
    /// All ports of a Vpc; or else
    #[serde(skip_serializing_if = "String::is_empty")]
    pub vpc: String,
    /// those of a Subnet; or else
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subnet: String,
    /// one Port.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub port: String,
    #[serde(skip_serializing_if = "is_default")]
    pub traffic: FlowTraffic,
    /// The project's Bucket in which it is written, as gzipped text below `AWSLogs/`.
    pub bucket: String,
    /// What keys begin with, before `AWSLogs/`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// What a line says, in this order; when left out, what lines of AWS VPC flow logs of version 2 say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FlowField>,
    /// Seconds between two files; 600 when left out.
    pub interval_seconds: u32,
    /// Keys have a folder for each hour below that of their day.
    #[serde(skip_serializing_if = "is_default")]
    pub hourly: bool,
}

impl Default for FlowLogSpec {
    fn default() -> Self {
        Self {
            vpc: String::new(),
            subnet: String::new(),
            port: String::new(),
            traffic: FlowTraffic::All,
            bucket: String::new(),
            prefix: String::new(),
            fields: Vec::new(),
            interval_seconds: INTERVAL_DEFAULT_SECONDS,
            hourly: false,
        }
    }
}

/// Which flows are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum FlowTraffic {
    #[default]
    All,
    /// What passes.
    Accept,
    /// What a rule refuses.
    Reject,
}

/// What a line says of a flow; the words are AWS's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum FlowField {
    Version,
    AccountId,
    InterfaceId,
    Srcaddr,
    Dstaddr,
    Srcport,
    Dstport,
    Protocol,
    Packets,
    Bytes,
    Start,
    End,
    Action,
    LogStatus,
    VpcId,
    SubnetId,
    InstanceId,
    Type,
    Region,
    FlowDirection,
}

impl FlowField {
    /// Those of version 2, in their order.
    pub const DEFAULT: [Self; 14] = [
        Self::Version,
        Self::AccountId,
        Self::InterfaceId,
        Self::Srcaddr,
        Self::Dstaddr,
        Self::Srcport,
        Self::Dstport,
        Self::Protocol,
        Self::Packets,
        Self::Bytes,
        Self::Start,
        Self::End,
        Self::Action,
        Self::LogStatus,
    ];
    /// Those of later versions.
    const LATER: [Self; 6] =
        [Self::VpcId, Self::SubnetId, Self::InstanceId, Self::Type, Self::Region, Self::FlowDirection];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::AccountId => "account-id",
            Self::InterfaceId => "interface-id",
            Self::Srcaddr => "srcaddr",
            Self::Dstaddr => "dstaddr",
            Self::Srcport => "srcport",
            Self::Dstport => "dstport",
            Self::Protocol => "protocol",
            Self::Packets => "packets",
            Self::Bytes => "bytes",
            Self::Start => "start",
            Self::End => "end",
            Self::Action => "action",
            Self::LogStatus => "log-status",
            Self::VpcId => "vpc-id",
            Self::SubnetId => "subnet-id",
            Self::InstanceId => "instance-id",
            Self::Type => "type",
            Self::Region => "region",
            Self::FlowDirection => "flow-direction",
        }
    }

    /// The field of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::DEFAULT.into_iter().chain(Self::LATER).find(|field| field.as_str() == name)
    }

    /// The version of AWS's lines that has it first.
    pub fn since(self) -> u8 {
        match self {
            Self::VpcId | Self::SubnetId | Self::InstanceId | Self::Type => 3,
            Self::Region => 4,
            Self::FlowDirection => 5,
            _ => 2,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FlowLogStatus {
    /// How far each host's lines are written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["host"]))]
    pub hosts: Vec<FlowLogProgress>,
    /// When hosts were last asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Lines of a host that are written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FlowLogProgress {
    pub host: String,
    /// All that end up to then, in Unix seconds.
    pub until: u64,
    /// It has no port of these any more, and all of its lines are written.
    #[serde(skip_serializing_if = "is_default")]
    pub done: bool,
}

impl FlowLogSpec {
    /// What a line says, in order.
    pub fn line(&self) -> &[FlowField] {
        if self.fields.is_empty() { &FlowField::DEFAULT } else { &self.fields }
    }

    /// Whether what flows through a port is written: a port by its name, its subnet and its Vpc.
    pub fn covers(&self, port: &str, subnet: &str, vpc: &str) -> bool {
        let is = |own: &str, other: &str| !own.is_empty() && own == other;
        is(&self.port, port) || is(&self.subnet, subnet) || is(&self.vpc, vpc)
    }

    /// What the keys of its files begin with, in the account that the project is: nothing is written but below this.
    pub fn folder(&self, account: &str) -> String {
        let prefix = self.prefix.trim_end_matches('/');
        let slash = if prefix.is_empty() { "" } else { "/" };
        format!("{prefix}{slash}AWSLogs/{account}/")
    }

    /// Kind and name of what it is about.
    pub fn target(&self) -> (KindInfo, &str) {
        if !self.vpc.is_empty() {
            (VpcSpec::KIND, &self.vpc)
        } else if !self.subnet.is_empty() {
            (SubnetSpec::KIND, &self.subnet)
        } else {
            (PortSpec::KIND, &self.port)
        }
    }
}

impl Spec for FlowLogSpec {
    type Status = FlowLogStatus;
    const KIND: KindInfo = KindInfo {
        group: GROUP,
        version: "v1",
        kind: "FlowLog",
        plural: "flowlogs",
        singular: "flowlog",
        short_names: &[],
        scope: Scope::Project,
        summary: "What flows through a port, a subnet or a Vpc, written into a bucket.",
    };

    fn validate(&self, errors: &mut FieldErrors) {
        let targets = [("spec.vpc", &self.vpc), ("spec.subnet", &self.subnet), ("spec.port", &self.port)];
        for (field, name) in targets {
            check_name(field, name, errors);
        }
        let named = targets.iter().filter(|(_, name)| !name.is_empty()).count();
        errors.require(named == 1, "spec", "must name exactly one of vpc, subnet and port");
        errors.require(
            is_bucket_name(&self.bucket),
            "spec.bucket",
            "must be the name of a bucket; `corten get buckets` lists them",
        );
        let plain = self.prefix.len() <= PREFIX_MAX_BYTES && !self.prefix.chars().any(char::is_control);
        errors.require(plain, "spec.prefix", "must have at most 512 bytes, and no control characters");
        errors.require(
            !self.prefix.starts_with('/') && !self.prefix.split('/').any(|part| part == "AWSLogs"),
            "spec.prefix",
            "must not begin with a slash, and not have the part AWSLogs, which comes after it",
        );
        errors.require(self.fields.len() <= FIELDS_MAX, "spec.fields", "must be at most 32");
        for (i, field) in self.fields.iter().enumerate() {
            let is_new = !self.fields[..i].contains(field);
            errors.require(is_new, &format!("spec.fields[{i}]"), "is named twice; once is enough");
        }
        errors.require(
            (INTERVAL_MIN_SECONDS..=INTERVAL_MAX_SECONDS).contains(&self.interval_seconds),
            "spec.intervalSeconds",
            "must be 60 to 3600 seconds",
        );
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        errors.require(
            (&self.vpc, &self.subnet, &self.port) == (&old.vpc, &old.subnet, &old.port),
            "spec",
            "vpc, subnet and port cannot be changed; make a new flow log",
        );
    }

    fn columns() -> &'static [Column<FlowLog>] {
        const COLUMNS: &[Column<FlowLog>] = &[
            Column::text("Of", |f, _| {
                let (kind, name) = f.spec.target();
                json!(format!("{}/{name}", kind.singular))
            }),
            Column::text("Traffic", |f, _| json!(f.spec.traffic)),
            Column::text("Bucket", |f, _| json!(f.spec.bucket)),
            Column::text("Last", |f, now| json!(f.status.last.map(|last| last.age(now)).unwrap_or_default())),
        ];
        COLUMNS
    }

    fn references(f: &FlowLog) -> Vec<Reference> {
        // Both may go all the same: then nothing is written, and the condition says so.
        let (kind, name) = f.spec.target();
        let field = format!("spec.{}", kind.singular);
        let target = Reference::named(kind, &f.metadata, name, field);
        let bucket = Reference::named(BucketSpec::KIND, &f.metadata, &f.spec.bucket, "spec.bucket");
        target.into_iter().chain(bucket).collect()
    }
}
