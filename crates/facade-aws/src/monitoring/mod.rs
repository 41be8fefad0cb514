//! CloudWatch: what instances use, as their hosts have counted it.

mod data;
pub(crate) mod tree;

use std::collections::BTreeMap;

use client::samples::Sample;
use model::Timestamp;
use model::compute::{Instance, InstanceSpec};

use crate::actions::{Action, Answer};
use crate::context::Context;
use crate::failure::Failure;
use crate::ids;
use crate::params::Params;
use crate::scaling;
use tree::Tree;

pub(crate) use data::params_of;

/// The name of the service in the protocols that came after query.
pub(crate) const TARGET: &str = "GraniteServiceVersion20100801";
const NAMESPACE: &str = "AWS/EC2";
const INSTANCE: &str = "InstanceId";
const GROUP: &str = "AutoScalingGroupName";
const QUERIES_MAX: usize = 500;
const LISTED: usize = 500;
/// Seconds between two looks of a host: no period is shorter.
const PERIOD_MIN: i64 = 60;

pub(crate) const ACTIONS: &[Action] = &[
    Action::monitoring(
        "GetMetricData",
        &["MetricDataQueries", "StartTime", "EndTime", "ScanBy", "LabelOptions", "NextToken"],
        |c| Box::pin(as_xml(c)),
    )
    .noting(
        "Of AWS/EC2, by InstanceId or AutoScalingGroupName: CPUUtilization, NetworkIn, NetworkOut, NetworkPacketsIn, \
         NetworkPacketsOut, DiskReadBytes, DiskWriteBytes. A host looks once a minute and keeps three hours, until its agent \
         starts anew. Statistics are those without percentiles; there is no arithmetic.",
    ),
    Action::monitoring(
        "GetMetricStatistics",
        &["Namespace", "MetricName", "Dimensions", "StartTime", "EndTime", "Period", "Statistics", "Unit"],
        |c| Box::pin(as_xml(c)),
    ),
    Action::monitoring(
        "ListMetrics",
        &["Namespace", "MetricName", "Dimensions", "NextToken", "RecentlyActive"],
        |c| Box::pin(as_xml(c)),
    )
    .noting("Of instances that are there."),
];

async fn as_xml(c: &Context) -> Answer {
    Ok(answer(c).await?.xml())
}

/// The answer of an action, whatever the protocol.
pub(crate) async fn answer(c: &Context) -> Result<Tree, Failure> {
    match c.action.as_str() {
        "GetMetricData" => data(c).await,
        "GetMetricStatistics" => statistics(c).await,
        _ => list(c).await,
    }
}

/// Something that is counted.
struct Metric {
    name: &'static str,
    unit: &'static str,
    /// Its value in one look, of an instance with so many cores.
    of: fn(&Sample, f64) -> Option<f64>,
}

#[allow(clippy::cast_precision_loss)] // What is counted in a minute is far below 2^53.
fn float(n: u64) -> f64 {
    n as f64
}

const METRICS: [Metric; 7] = [
    Metric {
        name: "CPUUtilization",
        unit: "Percent",
        of: |s, cores| {
            let whole = float(s.over_ms) * 1e6 * cores.max(1.0);
            // What the machine around the guest takes is not more of the guest's cores.
            s.cpu_nanos.map(|nanos| (float(nanos) / whole * 100.0).min(100.0))
        },
    },
    Metric { name: "NetworkIn", unit: "Bytes", of: |s, _| s.network.map(|n| float(n.received_bytes)) },
    Metric { name: "NetworkOut", unit: "Bytes", of: |s, _| s.network.map(|n| float(n.sent_bytes)) },
    Metric {
        name: "NetworkPacketsIn",
        unit: "Count",
        of: |s, _| s.network.map(|n| float(n.received_packets)),
    },
    Metric { name: "NetworkPacketsOut", unit: "Count", of: |s, _| s.network.map(|n| float(n.sent_packets)) },
    Metric { name: "DiskReadBytes", unit: "Bytes", of: |s, _| s.disk.map(|d| float(d.read_bytes)) },
    Metric { name: "DiskWriteBytes", unit: "Bytes", of: |s, _| s.disk.map(|d| float(d.written_bytes)) },
];

/// The values of one period.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Bucket {
    count: f64,
    sum: f64,
    min: f64,
    max: f64,
}

impl Bucket {
    fn add(&mut self, value: f64) {
        let first = self.count == 0.0;
        self.min = if first { value } else { self.min.min(value) };
        self.max = if first { value } else { self.max.max(value) };
        self.count += 1.0;
        self.sum += value;
    }

    fn statistic(&self, name: &str) -> Option<f64> {
        Some(match name {
            "SampleCount" => self.count,
            "Average" => self.sum / self.count,
            "Sum" => self.sum,
            "Minimum" => self.min,
            "Maximum" => self.max,
            _ => return None,
        })
    }
}

/// What a request wants to know of one metric.
struct Question<'a> {
    metric: Option<&'static Metric>,
    dimensions: Vec<(String, String)>,
    period: i64,
    from: Timestamp,
    to: Timestamp,
    params: &'a Params,
}

impl<'a> Question<'a> {
    /// `metric` names what is counted, `params` the period.
    fn of(c: &Context, metric: &Params, params: &'a Params) -> Result<Self, Failure> {
        let namespace = metric.require("Namespace")?;
        let name = metric.require("MetricName")?;
        // What is not counted has no values, as with AWS.
        let metric_of = METRICS.iter().find(|m| m.name == name && namespace == NAMESPACE);
        let period = params.number("Period")?.ok_or_else(|| Failure::missing("Period"))?;
        if period < PERIOD_MIN || period % PERIOD_MIN != 0 {
            return Err(params.invalid("Period", &period.to_string(), "must be a multiple of 60"));
        }
        let unit = params.get("Unit");
        if let Some((metric, unit)) = metric_of.zip(unit).filter(|(metric, unit)| metric.unit != *unit) {
            return Err(params.invalid("Unit", unit, &format!("can only be {}", metric.unit)));
        }
        let (from, to) = (time(&c.params, "StartTime")?, time(&c.params, "EndTime")?);
        if from >= to {
            return Err(Failure::value("The parameter StartTime must be less than the parameter EndTime"));
        }
        Ok(Self { metric: metric_of, dimensions: dimensions(metric)?, period, from, to, params })
    }

    /// The values by the beginnings of their periods, in milliseconds, and whether every host has said them.
    async fn answered(
        &self,
        c: &Context,
        instances: &[Instance],
    ) -> Result<(BTreeMap<i64, Bucket>, bool), Failure> {
        let (mut buckets, mut is_whole) = (BTreeMap::<i64, Bucket>::new(), true);
        let Some(metric) = self.metric else { return Ok((buckets, true)) };
        for instance in meant(c, &self.dimensions, instances).await? {
            let samples = c.cloud.samples(&c.signer.principal, c.project(), &instance.metadata.name).await;
            let samples = match samples {
                Ok(samples) => samples,
                Err(e) if matches!(e.reason, model::Reason::Forbidden) => return Err(e.into()),
                Err(e) => {
                    tracing::debug!(error = %e, "a host has not said what an instance uses");
                    is_whole = false;
                    continue;
                }
            };
            let millis = instance.spec.resources.cpu.0;
            for sample in &samples {
                let began = sample.at.0 - i64::try_from(sample.over_ms).unwrap_or(i64::MAX);
                let period = self.period * 1000;
                let at = began.div_euclid(period) * period;
                if (self.from.0..self.to.0).contains(&began)
                    && let Some(value) = (metric.of)(sample, float(millis) / 1000.0)
                {
                    buckets.entry(at).or_default().add(value);
                }
            }
        }
        Ok((buckets, is_whole))
    }
}

fn dimensions(params: &Params) -> Result<Vec<(String, String)>, Failure> {
    let given = params.structs("Dimensions.member");
    given.iter().map(|d| Ok((d.require("Name")?.to_owned(), d.text("Value").to_owned()))).collect()
}

/// The instances that dimensions are of: of none and of several together nothing is counted.
async fn meant<'a>(
    c: &Context,
    dimensions: &[(String, String)],
    instances: &'a [Instance],
) -> Result<Vec<&'a Instance>, Failure> {
    let [(name, value)] = dimensions else { return Ok(Vec::new()) };
    Ok(match name.as_str() {
        INSTANCE => instances.iter().filter(|instance| ids::id(instance) == *value).collect(),
        GROUP => scaling::members_of(c, value, instances).await?,
        _ => Vec::new(),
    })
}

/// A time as text or in seconds since 1970.
fn time(params: &Params, name: &str) -> Result<Timestamp, Failure> {
    let text = params.require(name)?;
    if let Ok(seconds) = text.parse::<f64>() {
        #[allow(clippy::cast_possible_truncation)] // A float that is too large becomes the largest number.
        return Ok(Timestamp((seconds * 1000.0) as i64));
    }
    let why = "must be a time, such as 2030-01-01T00:00:00Z";
    Timestamp::parse(text).ok_or_else(|| params.invalid(name, text, why))
}

async fn data(c: &Context) -> Result<Tree, Failure> {
    if c.params.has("NextToken") {
        // All that is kept fits one answer.
        return Err(Failure::new("InvalidNextToken", "The token is not one that was given"));
    }
    let newest_first = match c.params.text("ScanBy") {
        "" | "TimestampDescending" => true,
        "TimestampAscending" => false,
        other => {
            return Err(c.params.invalid(
                "ScanBy",
                other,
                "must be TimestampDescending or TimestampAscending",
            ));
        }
    };
    let queries = c.params.structs("MetricDataQueries.member");
    if queries.is_empty() {
        return Err(Failure::missing("MetricDataQueries"));
    }
    if queries.len() > QUERIES_MAX {
        return Err(Failure::value(format!("At most {QUERIES_MAX} queries are asked at once")));
    }
    let instances = c.list::<InstanceSpec>().await?;
    let mut results = Vec::new();
    for query in &queries {
        let id = query.require("Id")?;
        if query.has("Expression") {
            return Err(Failure::value("Expressions are not supported by this cloud"));
        }
        let asked = query.below("MetricStat");
        let statistic = asked.require("Stat")?.to_owned();
        if Bucket::default().statistic(&statistic).is_none() {
            let why = "must be SampleCount, Average, Sum, Minimum or Maximum";
            return Err(asked.invalid("Stat", &statistic, why));
        }
        let metric = asked.below("Metric");
        let question = Question::of(c, &metric, &asked)?;
        let (buckets, is_whole) = question.answered(c, &instances).await?;
        if query.flag("ReturnData")? == Some(false) {
            continue;
        }
        let mut points: Vec<(i64, f64)> =
            buckets.iter().filter_map(|(at, bucket)| Some((*at, bucket.statistic(&statistic)?))).collect();
        if newest_first {
            points.reverse();
        }
        results.push(Tree::Map(vec![
            ("Id", Tree::text(id)),
            ("Label", Tree::text(query.get("Label").unwrap_or(metric.text("MetricName")))),
            ("Timestamps", Tree::List(points.iter().map(|(at, _)| Tree::Time(Timestamp(*at))).collect())),
            ("Values", Tree::List(points.iter().map(|(_, value)| Tree::Number(*value)).collect())),
            ("StatusCode", Tree::text(if is_whole { "Complete" } else { "PartialData" })),
        ]));
    }
    Ok(Tree::Map(vec![("MetricDataResults", Tree::List(results))]))
}

async fn statistics(c: &Context) -> Result<Tree, Failure> {
    let names = c.params.list("Statistics.member");
    if names.is_empty() {
        return Err(Failure::missing("Statistics"));
    }
    if let Some(unknown) = names.iter().find(|name| Bucket::default().statistic(name).is_none()) {
        let why = "must be SampleCount, Average, Sum, Minimum or Maximum";
        return Err(c.params.invalid("Statistics", unknown, why));
    }
    let question = Question::of(c, &c.params, &c.params)?;
    let instances = c.list::<InstanceSpec>().await?;
    let (buckets, _) = question.answered(c, &instances).await?;
    let unit = question.metric.map_or("None", |metric| metric.unit);
    let points = buckets.iter().map(|(at, bucket)| {
        let mut point = vec![("Timestamp", Tree::Time(Timestamp(*at)))];
        for known in ["SampleCount", "Average", "Sum", "Minimum", "Maximum"] {
            if names.iter().any(|name| name == known) {
                point.extend(bucket.statistic(known).map(|value| (known, Tree::Number(value))));
            }
        }
        point.push(("Unit", Tree::text(unit)));
        Tree::Map(point)
    });
    let label = question.params.text("MetricName");
    Ok(Tree::Map(vec![("Label", Tree::text(label)), ("Datapoints", Tree::List(points.collect()))]))
}

async fn list(c: &Context) -> Result<Tree, Failure> {
    let wanted = dimensions(&c.params)?;
    let of = |name: &str| c.params.get(name).map(str::to_owned);
    let (namespace, metric) = (of("Namespace"), of("MetricName"));
    let mut instances = c.list::<InstanceSpec>().await?;
    instances.sort_by_key(ids::id);
    let mut found: Vec<(String, &'static str)> = Vec::new();
    for instance in instances.iter().filter(|_| namespace.as_deref().is_none_or(|n| n == NAMESPACE)) {
        let id = ids::id(instance);
        let fits = |(name, value): &(String, String)| name == INSTANCE && (value.is_empty() || *value == id);
        if !wanted.iter().all(fits) {
            continue;
        }
        let counted = METRICS.iter().filter(|m| metric.as_deref().is_none_or(|name| name == m.name));
        found.extend(counted.map(|m| (id.clone(), m.name)));
    }
    let key = |(id, name): &(String, &str)| format!("{id}/{name}");
    if let Some(token) = c.params.get("NextToken") {
        if !token.starts_with("i-") {
            return Err(Failure::value("The token is not one that was given"));
        }
        let at = found.iter().position(|entry| key(entry) == token).map_or(found.len(), |at| at + 1);
        found.drain(..at);
    }
    let more = found.len() > LISTED;
    found.truncate(LISTED);
    let next = found.last().filter(|_| more).map(key);
    let shown = found.iter().map(|(id, name)| {
        let dimension = Tree::Map(vec![("Name", Tree::text(INSTANCE)), ("Value", Tree::text(id))]);
        Tree::Map(vec![
            ("Namespace", Tree::text(NAMESPACE)),
            ("MetricName", Tree::text(name)),
            ("Dimensions", Tree::List(vec![dimension])),
        ])
    });
    let mut answer = vec![("Metrics", Tree::List(shown.collect()))];
    answer.extend(next.map(|token| ("NextToken", Tree::text(&token))));
    Ok(Tree::Map(answer))
}

#[cfg(test)]
mod tests {
    use client::samples::NetworkUse;

    use super::*;

    #[test]
    fn a_period_has_the_values_of_its_looks() {
        let mut bucket = Bucket::default();
        for value in [4.0, 1.0, 7.0] {
            bucket.add(value);
        }
        let told = ["SampleCount", "Sum", "Minimum", "Maximum", "Average"].map(|name| bucket.statistic(name));
        assert_eq!(told, [Some(3.0), Some(12.0), Some(1.0), Some(7.0), Some(4.0)]);
        assert_eq!(bucket.statistic("p99"), None);
    }

    #[test]
    fn what_is_counted_becomes_what_is_told() {
        let network = Some(NetworkUse { received_bytes: 5, ..NetworkUse::default() });
        let sample =
            Sample { over_ms: 60_000, cpu_nanos: Some(30_000_000_000), network, ..Sample::default() };
        let value = |name: &str, cores| {
            let metric = METRICS.iter().find(|m| m.name == name).expect("a metric");
            (metric.of)(&sample, cores)
        };
        assert_eq!((value("CPUUtilization", 1.0), value("CPUUtilization", 2.0)), (Some(50.0), Some(25.0)));
        assert_eq!(value("CPUUtilization", 0.1), Some(50.0), "a part of a core is a core of the guest's");
        assert_eq!((value("NetworkIn", 1.0), value("DiskReadBytes", 1.0)), (Some(5.0), None));
    }

    #[test]
    fn times_are_text_or_numbers() {
        let params = |text: &str| Params::parse(format!("At={text}").as_bytes(), &[]).expect(text);
        assert_eq!(time(&params("1.5"), "At"), Ok(Timestamp(1500)));
        assert_eq!(time(&params("1970-01-01T00:00:02Z"), "At"), Ok(Timestamp(2000)));
        assert!(time(&params("yesterday"), "At").is_err());
    }
}
