//! What the cloud itself takes of a machine: memory, idle and with containers, and the time of a start.

use std::fs;
use std::time::{Duration, Instant};

use crate::Result;
use crate::cloud::Cloud;
use crate::container;
use crate::docker::Docker;
use crate::report::{Row, Verdict, times};
use crate::store::spread;

const STARTS: usize = 7;
const CONTAINERS: usize = 10;
/// Until what a start needed and idleness does not has been given back.
const SETTLE: Duration = Duration::from_secs(5);
const RSS_GOAL_MIB: f64 = 32.0;
const START_GOAL_MS: f64 = 200.0;

pub(crate) async fn measure() -> Result<Vec<Row>> {
    let cloud = Cloud::up()?;
    cloud.corten(&["image", "build", "busybox"])?;
    let mut docker = Docker::start().await;
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        cloud.stop()?;
        let started = Instant::now();
        cloud.start()?;
        let ours = started.elapsed();
        let theirs = match &mut docker {
            Ok(docker) => Some(docker.restart().await?),
            Err(_) => None,
        };
        starts.push((ours, theirs));
    }
    tokio::time::sleep(SETTLE).await;
    let idle = Memory::of(&cloud.processes());
    let docker_idle = docker.as_ref().ok().map(|docker| Memory::of(&docker.processes()));
    container::run_some(&cloud, CONTAINERS).await?;
    tokio::time::sleep(SETTLE).await;
    let busy = Memory::of(&cloud.processes());
    let docker_busy = match &mut docker {
        Ok(docker) => {
            docker.import(&container::archive(&cloud)?).await?;
            for _ in 0..CONTAINERS {
                docker.run(&container::SPEAK).await?;
            }
            tokio::time::sleep(SETTLE).await;
            Some(Memory::of(&docker.processes()))
        }
        Err(_) => None,
    };
    let why = docker.as_ref().err().map(ToString::to_string);
    let peer = |memory: &Option<Memory>| match (memory, &why) {
        (Some(memory), _) => format!("Docker 20.10: {memory}"),
        (None, why) => format!("Docker: not measured: {}", why.as_deref().unwrap_or_default()),
    };
    let ratio = |ours: &Memory, theirs: &Option<Memory>| {
        theirs
            .as_ref()
            .map_or_else(String::new, |theirs| format!("{:.1}x less", theirs.rss_mib / ours.rss_mib))
    };
    let ours = spread(starts.iter().map(|(ours, _)| ours.as_secs_f64() * 1e3));
    let paired = starts.iter().filter_map(|(ours, theirs)| Some((theirs.as_ref()?, ours)));
    let ratios: Vec<f64> = paired.map(|(theirs, ours)| theirs.as_secs_f64() / ours.as_secs_f64()).collect();
    Ok(vec![
        Row {
            what: "memory of server, controllers and agent, idle".into(),
            corten: idle.to_string(),
            peer: peer(&docker_idle),
            ratio: ratio(&idle, &docker_idle),
            goal: "<= 32 MiB".into(),
            verdict: Verdict::of(idle.rss_mib <= RSS_GOAL_MIB),
            note: "resident set and its proportional part, of all processes that are not guests: one for Corten, \
                   dockerd and containerd for Docker, which is started without networks."
                .into(),
        },
        Row {
            what: format!("the same with {CONTAINERS} containers"),
            corten: busy.to_string(),
            peer: peer(&docker_busy),
            ratio: ratio(&busy, &docker_busy),
            note: "with conmon per container for Corten, and containerd-shim per container for Docker.".into(),
            ..Row::default()
        },
        Row {
            what: "`corten up --detach` on existing data, until it returns ready".into(),
            corten: format!("{:.0} ms ({:.0} to {:.0})", ours.median, ours.min, ours.max),
            peer: if ratios.is_empty() { String::new() } else { "dockerd until it answers".into() },
            ratio: if ratios.is_empty() { String::new() } else { times(spread(ratios)) },
            goal: "<= 200 ms".into(),
            verdict: Verdict::of(ours.median <= START_GOAL_MS),
            note: "ready: the store is open, the API answers, the agent has looked for its guests and reported.".into(),
        },
    ])
}

/// Memory of some processes.
struct Memory {
    processes: usize,
    rss_mib: f64,
    pss_mib: f64,
}

impl Memory {
    fn of(pids: &[u32]) -> Self {
        let sum = |field: &str| pids.iter().map(|pid| kib(*pid, field)).sum::<f64>() / 1024.0;
        Self { processes: pids.len(), rss_mib: sum("Rss:"), pss_mib: sum("Pss:") }
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { processes, rss_mib, pss_mib } = self;
        write!(f, "RSS {rss_mib:.1} MiB, PSS {pss_mib:.1} MiB in {processes} process(es)")
    }
}

/// A field of proc_pid_smaps(5), summed up by the kernel.
fn kib(pid: u32, field: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
}
