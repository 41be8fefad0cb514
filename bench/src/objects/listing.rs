//! Lists of many keys, page by page, by one caller.

use std::time::Instant;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::{Extent, Peer, Side, caller};
use crate::Result;
use crate::line::Line;
use crate::report::{Row, Verdict, number, times};
use crate::store::spread;

const WRITERS: usize = 64;
const PREFIX: &str = "listed/";

pub(super) async fn measure(ours: &Side, peer: &Peer, extent: Extent) -> Result<Row> {
    let theirs = &peer.side;
    fill(ours, extent.listed).await?;
    fill(theirs, extent.listed).await?;
    let (mut own, mut their, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    // The first pair warms both and does not count.
    for pair in 0..=extent.pairs {
        let (a, b) = (all(ours, extent.listed).await?, all(theirs, extent.listed).await?);
        if pair > 0 {
            own.push(a);
            their.push(b);
            ratios.push(b / a);
        }
    }
    let ratio = spread(ratios);
    let said = |seconds: Vec<f64>| {
        let seconds = spread(seconds).median;
        format!("{:.0} ms, {} keys/s", seconds * 1e3, number(extent.listed as f64 / seconds))
    };
    let goal = peer.goals[2];
    Ok(Row {
        what: format!("LIST of {} keys beside {}", extent.listed, theirs.name),
        corten: said(own),
        peer: format!("{}: {}", theirs.name, said(their)),
        ratio: times(ratio),
        goal: goal.map(|goal| format!(">= {goal:.0}x")).unwrap_or_default(),
        verdict: goal.map_or(Verdict::None, |goal| Verdict::of(ratio.median >= goal)),
        note: format!(
            "{} pairs; ListObjectsV2 in pages of 1000, one after the other by one caller, from the first request to \
             the last byte; every key has to come. Ours over TLS, theirs without",
            extent.pairs
        ),
    })
}

async fn all(side: &Side, expected: usize) -> Result<f64> {
    let mut line = Line::new(&side.endpoint);
    let started = Instant::now();
    let keys = caller::list(&mut line, PREFIX).await?;
    let seconds = started.elapsed().as_secs_f64();
    if keys == expected { Ok(seconds) } else { Err(format!("{keys} keys came of {expected}").into()) }
}

/// Writes what is going to be listed. What is there already is written again, and is the same.
async fn fill(side: &Side, count: usize) -> Result<()> {
    if caller::list(&mut Line::new(&side.endpoint), PREFIX).await? == count {
        return Ok(());
    }
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let endpoint = side.endpoint.clone();
        writers.spawn(async move {
            let mut line = Line::new(&endpoint);
            for number in (writer..count).step_by(WRITERS) {
                let key = format!("{PREFIX}{:03}/object-{number:08}", number % 1000);
                caller::put(&mut line, &key, Bytes::from_static(b"listed")).await?;
            }
            Result::Ok(())
        });
    }
    while let Some(written) = writers.join_next().await {
        written??;
    }
    Ok(())
}
