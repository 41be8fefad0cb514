//! Small objects: many callers, each waiting for its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Mutex;

use super::{Extent, Peer, Side, caller, syncs};
use crate::Result;
use crate::line::Line;
use crate::load::{self, Measured};
use crate::report::{Row, Verdict, number, times};
use crate::store::spread;

const CALLERS: usize = 64;
const SIZES: [usize; 2] = [4 << 10, 64 << 10];
/// Objects that are read, in turn.
const READ: u64 = 1_000;

/// What callers do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Put,
    Get,
}

pub(super) async fn measure(ours: &Side, peer: &Peer, extent: Extent) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for size in SIZES {
        for (what, goal) in [(What::Put, peer.goals[0]), (What::Get, peer.goals[1])] {
            // Goals are of the smallest ones.
            let goal = goal.filter(|_| size == SIZES[0] || what == What::Get);
            rows.push(pairs(ours, &peer.side, (what, size, goal), extent).await?);
        }
    }
    Ok(rows)
}

async fn pairs(
    ours: &Side,
    theirs: &Side,
    (what, size, goal): (What, usize, Option<f64>),
    extent: Extent,
) -> Result<Row> {
    let (mine, other) = (Load::of(ours, what, size).await?, Load::of(theirs, what, size).await?);
    let each = Duration::from_millis(extent.each_ms);
    let (mut rates, mut ratios) = (Vec::new(), Vec::new());
    // The first pair warms both and does not count.
    for pair in 0..=extent.pairs {
        let (a, b) = (mine.run(each).await?, other.run(each).await?);
        if pair > 0 {
            ratios.push(a.per_second() / b.per_second());
            rates.push((a, b));
        }
    }
    let ratio = spread(ratios);
    let said = |of: fn(&(Measured, Measured)) -> &Measured, syncs: Option<f64>| {
        let rate = spread(rates.iter().map(|pair| of(pair).per_second())).median;
        let p99 = spread(rates.iter().map(|pair| of(pair).permille_ms(990))).median;
        let syncs = syncs.map(|n| format!(", {n:.3} fdatasyncs each")).unwrap_or_default();
        format!("{}/s, p99 {p99:.1} ms{syncs}", number(rate))
    };
    let (own_syncs, their_syncs) = match what {
        What::Put => (mine.syncs(each).await, other.syncs(each).await),
        What::Get => (None, None),
    };
    let verb = if what == What::Put { "PUT" } else { "GET" };
    Ok(Row {
        what: format!("{verb} of {} KiB, {CALLERS} callers, beside {}", size >> 10, theirs.name),
        corten: said(|pair| &pair.0, own_syncs),
        peer: format!("{}: {}", theirs.name, said(|pair| &pair.1, their_syncs)),
        ratio: times(ratio),
        goal: goal.map(|goal| format!(">= {goal:.0}x")).unwrap_or_default(),
        verdict: goal.map_or(Verdict::None, |goal| Verdict::of(ratio.median >= goal)),
        note: format!(
            "{} pairs of {} ms; signed with version 4, bodies not; HTTP/1.1, one connection a caller. Ours over TLS, \
             theirs without; client and servers share the cores. {}",
            extent.pairs,
            extent.each_ms,
            if what == What::Put {
                "New keys all the time. fsync, fdatasync, msync and sync_file_range are counted by the kernel in a run \
                 of their own, of all that writes"
            } else {
                "A thousand objects in turn, all in memory"
            }
        ),
    })
}

/// Callers of one side.
#[derive(Clone)]
struct Load {
    side: Side,
    lines: Arc<Vec<Mutex<Line>>>,
    what: What,
    body: Bytes,
    /// No key is written twice.
    next: Arc<AtomicU64>,
}

impl Load {
    async fn of(side: &Side, what: What, size: usize) -> Result<Self> {
        let body: Bytes = (0..size).map(|n| u8::try_from(n * 31 % 251).unwrap_or(0)).collect();
        let lines = (0..CALLERS).map(|_| Mutex::new(Line::new(&side.endpoint))).collect();
        let load = Self {
            side: side.clone(),
            lines: Arc::new(lines),
            what,
            body: body.clone(),
            next: Arc::default(),
        };
        if what == What::Get {
            for number in 0..READ {
                let mut line = load.lines[0].lock().await;
                caller::put(&mut line, &read_key(size, number), body.clone()).await?;
            }
        }
        Ok(load)
    }

    async fn run(&self, each: Duration) -> Result<Measured> {
        let load = self.clone();
        load::closed(CALLERS, each, move |caller, call| {
            let load = load.clone();
            async move { load.call(caller, call).await }
        })
        .await
    }

    async fn call(&self, caller: usize, call: u64) -> Result<()> {
        let mut line = self.lines[caller].lock().await;
        let size = self.body.len();
        match self.what {
            What::Put => {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                let key = format!("put-{size}/{caller:03}/{number:09}");
                caller::put(&mut line, &key, self.body.clone()).await
            }
            What::Get => {
                let number = (call * CALLERS as u64 + caller as u64) % READ;
                match caller::get(&mut line, &read_key(size, number)).await? {
                    came if came == size => Ok(()),
                    came => Err(format!("{came} bytes came of {size}").into()),
                }
            }
        }
    }

    /// How often the disk is waited for, for each object; nothing where the kernel does not tell.
    async fn syncs(&self, each: Duration) -> Option<f64> {
        let counter = syncs::Counter::start(&self.side.pids).ok()?;
        let measured = self.run(each).await.ok()?;
        Some(counter.stop().ok()? as f64 / measured.count() as f64)
    }
}

fn read_key(size: usize, number: u64) -> String {
    format!("get-{size}/{number:06}")
}
