//! Flow logs into buckets.

use identity::iam::Resource;
use model::network::{FlowField, FlowLog, FlowLogSpec, FlowTraffic, PortSpec, SubnetSpec, VpcSpec};
use model::storage::BucketSpec;
use model::{ConditionStatus, Object, ObjectMeta};

use super::attachments::let_go_along;
use super::unsuccessful;
use super::world::{World, by_name};
use crate::actions::{Action, Answer};
use crate::authorize;
use crate::context::Context;
use crate::describe::{Ids, Item, answer, select};
use crate::failure::Failure;
use crate::ids::{self, Known};
use crate::tags::{self, Tags};
use crate::xml::Xml;

/// Most flow logs that one request makes or deletes.
const AT_ONCE_MAX: usize = 100;
const BUCKET_ARN: &str = "arn:aws:s3:::";
const DESTINATION: &str = "s3";
/// How often lines are written, in seconds.
const INTERVALS: [u32; 2] = [60, 600];
/// Fields of AWS's lines of which nothing is known here.
const NOT_KNOWN: [&str; 24] = [
    "tcp-flags",
    "pkt-srcaddr",
    "pkt-dstaddr",
    "az-id",
    "sublocation-type",
    "sublocation-id",
    "pkt-src-aws-service",
    "pkt-dst-aws-service",
    "traffic-path",
    "ecs-cluster-arn",
    "ecs-cluster-name",
    "ecs-container-instance-arn",
    "ecs-container-instance-id",
    "ecs-container-id",
    "ecs-second-container-id",
    "ecs-service-name",
    "ecs-task-definition-arn",
    "ecs-task-arn",
    "ecs-task-id",
    "reject-reason",
    "resource-id",
    "encryption-status",
    "interface-type",
    "next-hop",
];

pub(crate) const ACTIONS: &[Action] = &[
    Action::ec2(
        "CreateFlowLogs",
        &[
            "ClientToken",
            "DestinationOptions",
            "LogDestination",
            "LogDestinationType",
            "LogFormat",
            "MaxAggregationInterval",
            "ResourceId",
            "ResourceType",
            "TagSpecification",
            "TrafficType",
        ],
        |c| Box::pin(create(c)),
    )
    .noting(
        "Into a bucket of the account alone, as plain text; the caller's own rights are asked for. Fields of packets are \
         refused: flows are what is recorded.",
    ),
    Action::ec2("DeleteFlowLogs", &["FlowLogId"], |c| Box::pin(delete(c))),
    Action::ec2("DescribeFlowLogs", &["Filter", "MaxResults", "NextToken", "FlowLogId"], |c| {
        Box::pin(describe(c))
    }),
];

struct Shown {
    id: String,
    created: String,
    /// SUCCESS or FAILED; nothing before the first try.
    status: &'static str,
    error: String,
    resource_id: String,
    destination: String,
    format: String,
    spec: FlowLogSpec,
    tags: Tags,
}

impl Shown {
    fn of(world: &World, log: &FlowLog) -> Self {
        let spec = &log.spec;
        let delivered = log.status.conditions.iter().find(|condition| condition.kind == "Delivered");
        let (status, error) = match delivered {
            Some(condition) if condition.status == ConditionStatus::True => ("SUCCESS", String::new()),
            Some(condition) => ("FAILED", condition.message.clone()),
            None => ("", String::new()),
        };
        let resource_id = [
            by_name(&world.vpcs, &spec.vpc).map(ids::id),
            by_name(&world.subnets, &spec.subnet).map(ids::id),
            by_name(&world.ports, &spec.port).map(ids::id),
        ];
        let slash = if spec.prefix.is_empty() { "" } else { "/" };
        let words: Vec<String> = spec.line().iter().map(|field| format!("${{{}}}", field.as_str())).collect();
        Self {
            id: ids::id(log),
            created: super::created_at(&log.metadata),
            status,
            error,
            resource_id: resource_id.into_iter().flatten().next().unwrap_or_default(),
            destination: format!("{BUCKET_ARN}{}{slash}{}", spec.bucket, spec.prefix),
            format: words.join(" "),
            spec: spec.clone(),
            tags: tags::of(&log.metadata),
        }
    }

    fn traffic(&self) -> &'static str {
        match self.spec.traffic {
            FlowTraffic::All => "ALL",
            FlowTraffic::Accept => "ACCEPT",
            FlowTraffic::Reject => "REJECT",
        }
    }
}

impl Item for Shown {
    const FILTERS: &'static [&'static str] = &[
        "deliver-log-status",
        "flow-log-id",
        "log-destination-type",
        "log-group-name",
        "resource-id",
        "traffic-type",
    ];

    fn id(&self) -> &str {
        &self.id
    }
    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
    fn facts(&self, filter: &str) -> Vec<String> {
        match filter {
            "deliver-log-status" => vec![self.status.into()],
            "flow-log-id" => vec![self.id.clone()],
            "log-destination-type" => vec![DESTINATION.into()],
            "resource-id" => vec![self.resource_id.clone()],
            "traffic-type" => vec![self.traffic().into()],
            _ => Vec::new(),
        }
    }
    fn write(&self, x: &mut Xml) {
        x.given("creationTime", &self.created)
            .given("deliverLogsErrorMessage", &self.error)
            .given("deliverLogsStatus", self.status)
            .text("flowLogId", &self.id)
            .text("flowLogStatus", "ACTIVE")
            .given("resourceId", &self.resource_id)
            .text("trafficType", self.traffic())
            .text("logDestinationType", DESTINATION)
            .text("logDestination", &self.destination)
            .text("logFormat", &self.format)
            .text("maxAggregationInterval", self.spec.interval_seconds)
            .node("destinationOptions", |x| {
                x.text("fileFormat", "plain-text")
                    .text("hiveCompatiblePartitions", false)
                    .text("perHourPartition", self.spec.hourly);
            });
        tags::write(x, &self.tags);
    }
}

async fn describe(c: &Context) -> Answer {
    let world = World::load(c).await?;
    let logs = c.list::<FlowLogSpec>().await?;
    let shown = logs.iter().map(|log| Shown::of(&world, log)).collect();
    let ids = Ids { parameter: "FlowLogId", none: ids::none::<FlowLogSpec> };
    Ok(answer("flowLogSet", &select(&c.params, &ids, shown)?))
}

/// The ids of a list that has to be there.
fn listed(c: &Context, parameter: &str) -> Result<Vec<String>, Failure> {
    let ids = c.params.list(parameter);
    match ids.len() {
        0 => Err(Failure::missing(parameter)),
        n if n > AT_ONCE_MAX => Err(Failure::value(format!(
            "{parameter} has {n} entries; at most {AT_ONCE_MAX} are taken at once"
        ))),
        _ => Ok(ids),
    }
}

/// What all flow logs of a request have in common.
fn asked(c: &Context) -> Result<FlowLogSpec, Failure> {
    let p = &c.params;
    let traffic = match p.require("TrafficType")? {
        "ALL" => FlowTraffic::All,
        "ACCEPT" => FlowTraffic::Accept,
        "REJECT" => FlowTraffic::Reject,
        other => return Err(p.invalid("TrafficType", other, "must be ACCEPT, REJECT or ALL")),
    };
    match p.get("LogDestinationType") {
        Some(DESTINATION) => {}
        None | Some("cloud-watch-logs" | "kinesis-data-firehose") => {
            let message = "Flow logs of this cloud are written into buckets: LogDestinationType must be s3";
            return Err(Failure::unsupported(message));
        }
        Some(other) => return Err(p.invalid("LogDestinationType", other, "must be s3")),
    }
    let destination = p.require("LogDestination")?;
    let place = destination.strip_prefix(BUCKET_ARN).filter(|place| !place.is_empty());
    let place = place.ok_or_else(|| {
        p.invalid("LogDestination", destination, "must be arn:aws:s3:::BUCKET or arn:aws:s3:::BUCKET/PREFIX")
    })?;
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    let options = p.below("DestinationOptions");
    if options.get("FileFormat").is_some_and(|format| format != "plain-text") {
        return Err(Failure::unsupported("Flow logs of this cloud are plain text"));
    }
    if options.flag("HiveCompatiblePartitions")? == Some(true) {
        return Err(Failure::unsupported("Partitions of Hive are not made in this cloud"));
    }
    let interval = p.number("MaxAggregationInterval")?.unwrap_or(600);
    let interval = INTERVALS.into_iter().find(|known| i64::from(*known) == interval);
    let interval_seconds = interval.ok_or_else(|| {
        p.invalid("MaxAggregationInterval", p.text("MaxAggregationInterval"), "must be 60 or 600")
    })?;
    Ok(FlowLogSpec {
        traffic,
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
        fields: p.get("LogFormat").map(fields).transpose()?.unwrap_or_default(),
        interval_seconds,
        hourly: options.flag("PerHourPartition")?.unwrap_or(false),
        ..FlowLogSpec::default()
    })
}

/// `${version} ${account-id}`: the names of fields.
fn fields(format: &str) -> Result<Vec<FlowField>, Failure> {
    let field = |word: &str| {
        let name = word.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).unwrap_or("");
        FlowField::named(name).ok_or_else(|| {
            let shown: String = word.chars().take(80).collect();
            if NOT_KNOWN.contains(&name) {
                Failure::unsupported(format!("The field {shown} is not recorded in this cloud"))
            } else {
                Failure::new("InvalidParameter", format!("Unknown fields provided: [{shown}]"))
            }
        })
    };
    let found: Vec<FlowField> = format.split_whitespace().map(field).collect::<Result<_, _>>()?;
    // What is said in full and what is left out is the same.
    Ok(if found == FlowField::DEFAULT { Vec::new() } else { found })
}

/// The bucket is the account's, and the caller's to write.
async fn may_write(c: &Context, spec: &FlowLogSpec) -> Result<(), Failure> {
    let denied = || {
        let message = format!(
            "Access Denied for LogDestination: {}. Please check LogDestination permission",
            spec.bucket.chars().take(80).collect::<String>()
        );
        Failure::new("400", message)
    };
    if c.api::<BucketSpec>().find(&spec.bucket).await?.is_none() {
        return Err(denied());
    }
    let resource = Resource::One(format!("{BUCKET_ARN}{}/{}*", spec.bucket, spec.folder(&c.account())));
    authorize::also(c, "s3:PutObject", resource).await.map_err(|_| denied())
}

/// What one flow log is about, and whose it is: it goes with it.
async fn about<S: Known>(
    c: &Context,
    id: &str,
    meta: &mut ObjectMeta,
    place: &mut String,
) -> Result<(), Failure> {
    let target: Object<S> = c.find(id).await?;
    place.clone_from(&target.metadata.name);
    let_go_along(meta, &target, true);
    Ok(())
}

async fn create(c: &Context) -> Answer {
    let wanted = listed(c, "ResourceId")?;
    let kind = c.params.require("ResourceType")?;
    let spec = asked(c)?;
    let new_tags = tags::for_new(&c.params, "vpc-flow-log")?;
    let allowed = may_write(c, &spec).await;
    let known = c.list::<FlowLogSpec>().await?;
    let (mut made, mut failed) = (Vec::new(), Vec::new());
    for (n, id) in wanted.iter().enumerate() {
        let one = async {
            allowed.clone()?;
            let (mut meta, mut spec) = (ObjectMeta::in_project(c.project(), c.new_id("fl", n)), spec.clone());
            tags::give(&mut meta, new_tags.clone());
            match kind {
                "VPC" => about::<VpcSpec>(c, id, &mut meta, &mut spec.vpc).await?,
                "Subnet" => about::<SubnetSpec>(c, id, &mut meta, &mut spec.subnet).await?,
                "NetworkInterface" => about::<PortSpec>(c, id, &mut meta, &mut spec.port).await?,
                other => {
                    let message = format!("Flow logs of {other} are not made in this cloud");
                    return Err(Failure::unsupported(message.chars().take(200).collect::<String>()));
                }
            }
            if known.iter().any(|log| log.spec == spec && log.metadata.name != meta.name) {
                let message =
                    "There is an existing Flow Log with the same configuration and log destination.";
                return Err(Failure::new("FlowLogAlreadyExists", message));
            }
            let name = meta.name.clone();
            match c.create(Object::new(meta, spec)).await {
                // Those that come after it are asked for as well.
                Err(e) if e.code == "DryRunOperation" && n + 1 < wanted.len() => Ok(name),
                result => result.map(|log| ids::id(&log)),
            }
        };
        match one.await {
            Ok(id) => made.push(id),
            Err(failure) => unsuccessful::note(&mut failed, id, failure)?,
        }
    }
    let mut x = Xml::new();
    x.given("clientToken", c.params.text("ClientToken")).list("flowLogIdSet", &made, |x, id| {
        x.out_text(id);
    });
    unsuccessful::write(&mut x, &failed);
    Ok(x)
}

async fn delete(c: &Context) -> Answer {
    let wanted = listed(c, "FlowLogId")?;
    let mut failed = Vec::new();
    for (n, id) in wanted.iter().enumerate() {
        let one = async {
            let log = c.find::<FlowLogSpec>(id).await?;
            c.delete::<FlowLogSpec>(&log.metadata.name, "DependencyViolation").await
        };
        match one.await {
            Ok(()) => {}
            Err(e) if e.code == "DryRunOperation" && n + 1 < wanted.len() => {}
            Err(failure) => unsuccessful::note(&mut failed, id, failure)?,
        }
    }
    let mut x = Xml::new();
    unsuccessful::write(&mut x, &failed);
    Ok(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_read() {
        let whole: Vec<String> = FlowField::DEFAULT.iter().map(|f| format!("${{{}}}", f.as_str())).collect();
        assert_eq!(fields(&whole.join(" ")), Ok(Vec::new()), "the usual one");
        assert_eq!(fields("${vpc-id}  ${srcaddr}"), Ok(vec![FlowField::VpcId, FlowField::Srcaddr]));
        for (wrong, code) in [
            ("${tcp-flags}", "UnsupportedOperation"),
            ("${colour}", "InvalidParameter"),
            ("srcaddr", "InvalidParameter"),
        ] {
            assert_eq!(fields(wrong).unwrap_err().code, code, "{wrong}");
        }
    }
}
