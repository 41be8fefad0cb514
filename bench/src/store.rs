//! What the store costs: durable transactions per second beside etcd's, and the time from `kill -9` to the first
//! good write. Measures and returns numbers; prints nothing.
//!
//! Equal on both sides: a new key of 1 KiB per transaction, the same number of writers that each wait for their
//! answer (closed loop), the same disk, every answer after an fsync. Not equal, and to be said beside the numbers:
//! our store is called in process, etcd over gRPC on loopback (as etcd's own `benchmark --conns=100 put` does),
//! because neither offers the other's way; etcd's client runs on the same cores.

pub(crate) mod etcd;

use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::store::{Options, SqliteStore, Store as _, Txn};
use tokio::io::{AsyncBufReadExt, BufReader};

/// One run of writers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) transactions: u64,
    pub(crate) elapsed: Duration,
    /// Counted by the store, and by etcd's own metrics (log and backend).
    pub(crate) fsyncs: u64,
}

impl Load {
    pub(crate) fn per_second(&self) -> f64 {
        self.transactions as f64 / self.elapsed.as_secs_f64()
    }

    pub(crate) fn fsyncs_per_transaction(&self) -> f64 {
        self.fsyncs as f64 / self.transactions as f64
    }
}

/// One run of each, one after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair {
    pub(crate) corten: Load,
    pub(crate) etcd: Load,
}

impl Pair {
    pub(crate) fn ratio(&self) -> f64 {
        self.corten.per_second() / self.etcd.per_second()
    }
}

/// From the start of a process to an open store, and to its first durable transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opening {
    pub(crate) open: Duration,
    pub(crate) first_write: Duration,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// Of at least one number.
pub(crate) fn spread(numbers: impl IntoIterator<Item = f64>) -> Spread {
    let mut numbers: Vec<f64> = numbers.into_iter().collect();
    numbers.sort_by(f64::total_cmp);
    Spread { median: numbers[numbers.len() / 2], min: numbers[0], max: numbers[numbers.len() - 1] }
}

/// A B A B: our store, then etcd, so often. Needs `etcd` (3.4) on the path.
pub(crate) async fn write_pairs(pairs: usize, writers: usize, each: Duration) -> io::Result<Vec<Pair>> {
    let mut measured = Vec::with_capacity(pairs);
    for _ in 0..pairs {
        let corten = corten_writes(writers, each).await?;
        let etcd = etcd::writes(writers, each).await?;
        measured.push(Pair { corten, etcd });
    }
    Ok(measured)
}

/// etcd under its own tool's load.
pub(crate) async fn etcd_check_perf() -> io::Result<Load> {
    etcd::check_perf().await
}

pub(crate) const VALUE_BYTES: usize = 1024;

pub(crate) fn key(writer: usize, number: u64) -> String {
    format!("/bench/{writer:04}/{number:08}")
}

async fn corten_writes(writers: usize, each: Duration) -> io::Result<Load> {
    let directory = tempfile::tempdir()?;
    let store = SqliteStore::open(directory.path(), Options::default()).await.map_err(io::Error::other)?;
    let store = Arc::new(store);
    let before = store.stats();
    let started = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut number = 0;
                while started.elapsed() < each {
                    let txn = Txn::new().put(key(writer, number), vec![7; VALUE_BYTES]);
                    store.txn(txn).await.map_err(io::Error::other)?;
                    number += 1;
                }
                io::Result::Ok(number)
            })
        })
        .collect();
    let mut transactions = 0;
    for task in tasks {
        transactions += task.await??;
    }
    let elapsed = started.elapsed();
    let fsyncs = store.stats().fsyncs - before.fsyncs;
    Ok(Load { transactions, elapsed, fsyncs })
}

/// Fills a store with so many objects of 1 KiB, kills its process with `kill -9`, and opens it in a new process, so
/// often. `program` is this benchmark: called with `store-child ...` it must call [`child`].
pub(crate) async fn openings_after_kill(
    program: &Path,
    objects: u64,
    times: usize,
) -> io::Result<Vec<Opening>> {
    let directory = tempfile::tempdir()?;
    let start = |verb: &str| -> io::Result<Killed> {
        let mut command = Command::new(program);
        command.args(["store-child", verb]).arg(directory.path()).arg(objects.to_string());
        Ok(Killed(command.stdout(Stdio::piped()).spawn()?))
    };
    start("fill")?.line().await?;
    let mut openings = Vec::with_capacity(times);
    for _ in 0..times {
        let line = start("open")?.line().await?;
        let mut micros = line.split_whitespace().map(|number| number.parse().map(Duration::from_micros));
        let mut next = || micros.next().and_then(Result::ok).ok_or_else(|| io::Error::other(line.clone()));
        openings.push(Opening { open: next()?, first_write: next()? });
    }
    Ok(openings)
}

/// A child process that says one line and waits; dropping it is `kill -9`.
struct Killed(Child);

impl Killed {
    async fn line(mut self) -> io::Result<String> {
        let output = self.0.stdout.take().ok_or_else(|| io::Error::other("the child has no output"))?;
        let mut line = String::new();
        BufReader::new(tokio::process::ChildStdout::from_std(output)?).read_line(&mut line).await?;
        Ok(line)
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The child's side of [`openings_after_kill`], with what follows `store-child` on the command line. Never returns
/// by itself when all is well: it waits to be killed.
pub(crate) async fn child(arguments: &[String]) -> io::Result<()> {
    let started = Instant::now();
    let [verb, directory, objects] = arguments else {
        return Err(io::Error::other("store-child wants: fill|open DIRECTORY OBJECTS"));
    };
    let store = SqliteStore::open(directory, Options::default()).await.map_err(io::Error::other)?;
    let store = Arc::new(store);
    if verb == "fill" {
        fill(&store, objects.parse().map_err(io::Error::other)?).await?;
        println!("filled");
    } else {
        let open = started.elapsed();
        store.txn(Txn::new().put("/first", "write")).await.map_err(io::Error::other)?;
        println!("{} {}", open.as_micros(), started.elapsed().as_micros());
    }
    std::future::pending().await
}

async fn fill(store: &Arc<SqliteStore>, objects: u64) -> io::Result<()> {
    const WRITERS: u64 = 100;
    let tasks: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                for number in (writer..objects).step_by(usize::try_from(WRITERS).map_err(io::Error::other)?) {
                    // Names in no order, as objects are created in life.
                    let name = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                    let key = format!("/compute/instances/project-{:02}/{name:016x}", number % 50);
                    store.txn(Txn::new().put(key, vec![7; VALUE_BYTES])).await.map_err(io::Error::other)?;
                }
                io::Result::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(())
}
