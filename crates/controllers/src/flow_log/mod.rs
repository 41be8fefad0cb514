//! Flow logs: what hosts have recorded is asked of them now and then and written into a bucket, in the layout that AWS's
//! readers know. How far each host's lines are written stands in the status; a file that was written before that was
//! noted is written again under its own name, and says nothing twice.

mod lines;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use client::ListParams;
use flate2::Compression;
use flate2::write::GzEncoder;
use identity::iam::account_number;
use image::Digest;
use model::compute::{Instance, port_names};
use model::network::{FlowField, FlowLog, FlowLogProgress, Port, Subnet, Vpc};
use model::storage::Bucket;
use model::topology::Host;
use model::{
    ApiError, Condition, ConditionStatus, Object, REGION, Reason, Resource, Spec, Timestamp, Uid,
    set_condition, short_id,
};
use reconcile::{Cache, Change, Outcome, Queue};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::Context;
use crate::buckets::Buckets;
use lines::{Interface, Known, Told, tell};

const WORKERS: usize = 2;
/// How long after a try that failed there is another.
const TRY_AGAIN: Duration = Duration::from_secs(30);
/// A host that has not said its lines by then is asked again the next time.
const HOST_WITHIN: Duration = Duration::from_secs(30);
/// Most bytes of one host's lines.
const LINES_MAX_BYTES: u64 = 64 << 20;
/// Digits of what tells files of the same minute apart.
const HASH_DIGITS: usize = 8;
/// The condition that says whether lines arrive.
const CONDITION: &str = "Delivered";

/// The way to what hosts have recorded.
#[async_trait]
pub trait FlowReader: Send + Sync + 'static {
    /// All lines of a Vpc, up to this moment.
    async fn open(&self, host: &str, vpc: &Uid) -> Result<Pin<Box<dyn AsyncRead + Send>>, ApiError>;
}

/// Writes flow logs.
pub struct FlowLogs {
    context: Context,
    hosts: Arc<dyn FlowReader>,
    buckets: Arc<dyn Buckets>,
}

impl std::fmt::Debug for FlowLogs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FlowLogs").field("context", &self.context).finish_non_exhaustive()
    }
}

/// What a flow log is about.
struct Covered {
    vpc: Uid,
    known: Known,
    /// Where the ports are.
    hosts: BTreeSet<String>,
}

impl FlowLogs {
    pub fn new(context: Context, hosts: Arc<dyn FlowReader>, buckets: Arc<dyn Buckets>) -> Self {
        Self { context, hosts, buckets }
    }

    /// Writes what is wanted, for ever.
    pub async fn run(self) {
        let queue = Queue::new();
        let listener = {
            let queue = queue.clone();
            // What is noted here of a file that was written is no reason for the next.
            move |change: &Change<FlowLog>| {
                if change.is_of_spec() {
                    queue.add(change.object().metadata.key());
                }
            }
        };
        let client = self.context.client.all::<FlowLog>();
        let logs = Cache::start(client, ListParams::default(), vec![Box::new(listener)]);
        logs.synced().await;
        reconcile::run("flow-log", queue, WORKERS, |key| self.reconcile(&logs, key)).await;
    }

    async fn reconcile(&self, logs: &Cache<FlowLog>, key: String) -> Result<Outcome, ApiError> {
        let Some(known) = logs.get(&key) else { return Ok(Outcome::Done) };
        let project = self.context.client.project::<FlowLog>(&known.metadata.namespace);
        // The cache may not have what was noted last.
        let Some(log) = project.find(&known.metadata.name).await? else { return Ok(Outcome::Done) };
        if log.metadata.is_deleting() {
            return Ok(Outcome::Done);
        }
        let now = (self.context.now)();
        let interval = Duration::from_secs(log.spec.interval_seconds.into());
        let last = log.status.last.or(log.metadata.creation_timestamp).unwrap_or(now);
        let wait = interval.saturating_sub(Duration::from_secs(last.age_seconds(now)));
        if !wait.is_zero() {
            return Ok(Outcome::RequeueAfter(wait));
        }
        let mut changed = log.clone();
        let result = self.write(&log, &mut changed.status.hosts).await;
        let condition = match &result {
            Ok(()) => Condition::new(CONDITION, ConditionStatus::True, "Written", String::new()),
            Err(e) => Condition::new(CONDITION, ConditionStatus::False, "Waits", e.message.clone()),
        };
        set_condition(&mut changed.status.conditions, condition, now);
        if result.is_ok() {
            changed.status.last = Some(now);
        }
        match project.update_status(&changed).await {
            // It went, or was changed: what changed puts it in line again, and nothing was noted that is not so.
            Err(e) if e.is_conflict() || e.is_not_found() => {
                Ok(Outcome::RequeueAfter(Duration::from_secs(1)))
            }
            Err(e) => Err(e),
            Ok(_) => Ok(Outcome::RequeueAfter(if result.is_ok() { interval } else { TRY_AGAIN })),
        }
    }

    /// Writes what each host has recorded since, and notes how far that is. The first thing that went wrong is told
    /// after all else is done.
    async fn write(&self, log: &FlowLog, progress: &mut Vec<FlowLogProgress>) -> Result<(), ApiError> {
        let project = &log.metadata.namespace;
        let found = self.context.client.project::<Bucket>(project).find(&log.spec.bucket).await?;
        let bucket = found.filter(|bucket| !bucket.metadata.is_deleting());
        let bucket = bucket.ok_or_else(|| {
            let message = format!("bucket {:?} is gone; nothing is written", log.spec.bucket);
            ApiError::new(Reason::NotFound, message)
        })?;
        let covered = self.covered(log).await?;
        let mut hosts = covered.hosts.clone();
        // A port that has left a host has left its lines there.
        hosts.extend(progress.iter().filter(|known| !known.done).map(|known| known.host.clone()));
        let mut wrong = None;
        for host in hosts {
            let at = progress.iter().position(|known| known.host == host);
            let began = log.metadata.creation_timestamp.unwrap_or_default().0 / 1000;
            let after = at.map_or(u64::try_from(began).unwrap_or_default(), |at| progress[at].until);
            let written = self.write_of_host(log, &bucket, &covered, &host, after).await;
            if written.is_err() && !self.is_gone(&host).await {
                wrong = wrong.or(written.err());
                continue;
            }
            progress.retain(|known| known.host != host);
            if let Ok(until) = written {
                let done = !covered.hosts.contains(&host);
                progress.push(FlowLogProgress { host, until, done });
            }
        }
        wrong.map_or(Ok(()), Err)
    }

    async fn write_of_host(
        &self,
        log: &FlowLog,
        bucket: &Bucket,
        covered: &Covered,
        host: &str,
        after: u64,
    ) -> Result<u64, ApiError> {
        let failed = |e: &dyn std::fmt::Display| {
            ApiError::new(Reason::ServiceUnavailable, format!("host {host:?} does not say its lines: {e}"))
        };
        let read = async {
            let stream = self.hosts.open(host, &covered.vpc).await?;
            let mut recorded = Vec::new();
            stream.take(LINES_MAX_BYTES).read_to_end(&mut recorded).await.map_err(|e| failed(&e))?;
            Ok(recorded)
        };
        let recorded: Result<Vec<u8>, ApiError> =
            tokio::time::timeout(HOST_WITHIN, read).await.map_err(|e| failed(&e))?;
        let recorded = recorded?;
        let account = account_number(&log.metadata.namespace);
        let text = String::from_utf8_lossy(&recorded);
        let Told { lines, until } = tell(&log.spec, &account, &covered.known, &text, after);
        if !lines.is_empty() {
            let bytes = packed(&lines).map_err(|e| failed(&e))?;
            let key = key(log, &account, host, after);
            self.buckets.write(bucket, &key, "application/octet-stream", bytes.into()).await?;
        }
        Ok(until)
    }

    async fn covered(&self, log: &FlowLog) -> Result<Covered, ApiError> {
        let (project, spec) = (&log.metadata.namespace, &log.spec);
        let (vpcs, subnets, ports) = tokio::try_join!(
            self.all::<Vpc>(project),
            self.all::<Subnet>(project),
            self.all::<Port>(project)
        )?;
        let wants_instances = spec.line().contains(&FlowField::InstanceId);
        let instances = if wants_instances { self.all::<Instance>(project).await? } else { Vec::new() };
        let mut holders = BTreeMap::new();
        for instance in &instances {
            let id = short_id("i", &instance.metadata);
            holders.extend(port_names(instance).into_iter().map(|port| (port, id.clone())));
        }
        let subnet_of = |port: &Port| named(&subnets, &port.spec.subnet);
        let own = named(&subnets, &spec.subnet).or_else(|| named(&ports, &spec.port).and_then(subnet_of));
        let vpc = named(&vpcs, own.map_or(&spec.vpc, |subnet| &subnet.spec.vpc)).ok_or_else(|| {
            let (kind, name) = spec.target();
            ApiError::not_found(kind.singular, name)
        })?;
        let vpc_id = short_id("vpc", &vpc.metadata);
        let mut known = Known { vpc: vpc.metadata.name.clone(), vpc_id: vpc_id.clone(), ..Known::default() };
        let id = |subnet: &Arc<Subnet>| (subnet.metadata.name.clone(), short_id("subnet", &subnet.metadata));
        known.subnets = subnets.iter().map(id).collect();
        let mut hosts = BTreeSet::new();
        for port in &ports {
            let (name, Some(subnet)) = (&port.metadata.name, subnet_of(port)) else { continue };
            if !spec.covers(name, &port.spec.subnet, &subnet.spec.vpc) {
                continue;
            }
            if !port.status.host.is_empty() {
                hosts.insert(port.status.host.clone());
            }
            let interface = Interface {
                id: short_id("eni", &port.metadata),
                subnet_id: short_id("subnet", &subnet.metadata),
                vpc_id: vpc_id.clone(),
                instance_id: holders.remove(name).unwrap_or_default(),
                addresses: port.spec.addresses.iter().map(|address| address.0).collect(),
            };
            known.interfaces.insert(name.clone(), interface);
        }
        Ok(Covered { vpc: vpc.metadata.uid.clone(), known, hosts })
    }

    async fn all<R: Resource>(&self, project: &str) -> Result<Vec<Arc<R>>, ApiError> {
        self.context.client.project::<R>(project).shared().await
    }

    /// Whether a host is of the cloud no more: what it had recorded went with it.
    async fn is_gone(&self, host: &str) -> bool {
        matches!(self.context.client.all::<Host>().find(host).await, Ok(None))
    }
}

fn named<'a, S: Spec>(objects: &'a [Arc<Object<S>>], name: &str) -> Option<&'a Object<S>> {
    objects.iter().map(|object| &**object).find(|object| object.metadata.name == name)
}

fn packed(lines: &[String]) -> std::io::Result<Vec<u8>> {
    let mut to = GzEncoder::new(Vec::new(), Compression::default());
    for line in lines {
        writeln!(to, "{line}")?;
    }
    to.finish()
}

/// Where the lines of a host are written that end later than `after`.
fn key(log: &FlowLog, account: &str, host: &str, after: u64) -> String {
    let seconds = i64::try_from(after).unwrap_or(i64::MAX / 1000);
    // Such as 2026-01-02T03:04:05Z.
    let text = Timestamp(seconds.saturating_mul(1000)).to_string();
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    let (year, month, day, hour, minute) = (part(0, 4), part(4, 6), part(6, 8), part(8, 10), part(10, 12));
    let hash = Digest::of(format!("{}/{host}/{after}", log.metadata.uid).as_bytes()).to_string();
    let hash: String = hash.chars().take(HASH_DIGITS).collect();
    let id = short_id("fl", &log.metadata);
    let folder = log.spec.folder(account);
    let hourly = if log.spec.hourly { format!("{hour}/") } else { String::new() };
    format!(
        "{folder}vpcflowlogs/{REGION}/{year}/{month}/{day}/{hourly}\
         {account}_vpcflowlogs_{REGION}_{id}_{year}{month}{day}T{hour}{minute}Z_{hash}.log.gz"
    )
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use model::ObjectMeta;
    use model::network::FlowLogSpec;

    use super::*;

    #[test]
    fn keys_are_those_that_readers_look_for() {
        let meta = ObjectMeta::in_project("team", "fl-0123456789abcdef0");
        let spec = FlowLogSpec { prefix: "net/".into(), ..FlowLogSpec::default() };
        let mut log = Object::new(meta, spec);
        let found = key(&log, "012345678901", "h1", 1_700_000_000);
        let (start, hash) = found.rsplit_once('_').unwrap();
        assert_eq!(
            start,
            "net/AWSLogs/012345678901/vpcflowlogs/my-corten-1/2023/11/14/\
             012345678901_vpcflowlogs_my-corten-1_fl-0123456789abcdef0_20231114T2213Z"
        );
        assert!(hash.len() == HASH_DIGITS + ".log.gz".len() && hash.ends_with(".log.gz"), "{hash}");
        assert_eq!(found, key(&log, "012345678901", "h1", 1_700_000_000), "a second try has the same");
        for (host, after) in [("h2", 1_700_000_000), ("h1", 1_700_000_001)] {
            assert_ne!(found, key(&log, "012345678901", host, after), "{host} {after}");
        }
        (log.spec.prefix, log.spec.hourly) = (String::new(), true);
        let hourly = key(&log, "1", "h1", 1_700_000_000);
        assert!(hourly.starts_with("AWSLogs/1/vpcflowlogs/my-corten-1/2023/11/14/22/1_vpc"), "{hourly}");
    }

    #[test]
    fn files_are_text_that_is_gzipped() {
        let packed = packed(&["a b".into(), "c d".into()]).unwrap();
        let mut text = String::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).unwrap();
        assert_eq!(text, "a b\nc d\n");
    }
}
