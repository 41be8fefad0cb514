//! Instances are run, described and terminated, one after the other by each caller.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::caller::call;
use super::{CALLERS, Ours, Side, Theirs};
use crate::Result;
use crate::cloud;
use crate::line::{Line, between};
use crate::load::{self, Measured};
use crate::report::{Row, Verdict, number, times};
use crate::store::spread;

const PAIRS: usize = 7;
const EACH: Duration = Duration::from_secs(4);
const HOSTS: usize = 100;
const GOAL: f64 = 50.0;
const GOAL_MS: f64 = 10.0;

struct Turn {
    calls: Measured,
    /// What the server's process spent per call, in microseconds of processor time.
    cpu_us: f64,
}

pub(super) async fn measure() -> Result<Row> {
    let ours = Ours::start(HOSTS).await?;
    let mut pairs = Vec::new();
    // Connections, tables and the project's network are there before it counts.
    turn(&ours.side, EACH / 4, || cloud::processor_time(ours.cloud.pid()?)).await?;
    for _ in 0..PAIRS {
        let corten = turn(&ours.side, EACH, || cloud::processor_time(ours.cloud.pid()?)).await?;
        // What is terminated stays in moto and makes it slower: each turn has a new one.
        let theirs = Theirs::start().await?;
        let moto = turn(&theirs.side, EACH, || theirs.moto.processor_time()).await?;
        pairs.push((corten, moto));
    }
    let ratio =
        spread(pairs.iter().map(|(corten, moto)| corten.calls.per_second() / moto.calls.per_second()));
    let p99 = spread(pairs.iter().map(|(corten, _)| corten.calls.permille_ms(990)));
    Ok(Row {
        what: format!("RunInstances, DescribeInstances, TerminateInstances in turn, {CALLERS} callers"),
        corten: side(pairs.iter().map(|(corten, _)| corten)),
        peer: format!("moto: {}", side(pairs.iter().map(|(_, moto)| moto))),
        ratio: times(ratio),
        goal: format!(">= {GOAL:.0}x, p99 <= {GOAL_MS:.0} ms"),
        verdict: Verdict::of(ratio.median >= GOAL && p99.median <= GOAL_MS),
        note: format!(
            "one instance of one image, without a ClientToken, described by its id and terminated by it; {PAIRS} pairs in \
             turns of {} s, closed loop, calls counted and not lives. The same client for both signs with version 4 over \
             HTTP/1.1 on kept connections, and shares the cores with the servers. Ours is the whole daemon over TLS with \
             verified signatures: each instance is a durable object with a port and an address, is placed on one of \
             {HOSTS} simulated hosts, which say of it durably that it runs and that it is gone. moto has neither TLS nor \
             signatures, keeps all in memory, and starts anew for every turn.",
            EACH.as_secs()
        ),
    })
}

fn side<'a>(turns: impl Iterator<Item = &'a Turn> + Clone) -> String {
    let of = |value: fn(&Turn) -> f64| spread(turns.clone().map(value)).median;
    format!(
        "{}/s, p99 {:.1} ms, {:.0} us of the server's cpu each",
        number(of(|turn| turn.calls.per_second())),
        of(|turn| turn.calls.permille_ms(990)),
        of(|turn| turn.cpu_us)
    )
}

/// A caller, and the instance that it has.
struct Caller {
    line: Line,
    id: String,
}

async fn turn(side: &Side, each: Duration, spent: impl Fn() -> Result<Duration>) -> Result<Turn> {
    let caller = |_| Mutex::new(Caller { line: Line::new(&side.endpoint), id: String::new() });
    let callers: Arc<Vec<Mutex<Caller>>> = Arc::new((0..CALLERS).map(caller).collect());
    let side = side.clone();
    let before = spent()?;
    let calls = load::closed(CALLERS, each, move |number, call| {
        let (callers, side) = (Arc::clone(&callers), side.clone());
        async move { callers[number].lock().await.step(&side, call).await }
    })
    .await?;
    let spent = spent()?.saturating_sub(before);
    let cpu_us = spent.as_secs_f64() * 1e6 / calls.count() as f64;
    Ok(Turn { calls, cpu_us })
}

impl Caller {
    async fn step(&mut self, side: &Side, turn: u64) -> Result<()> {
        match turn % 3 {
            0 => {
                let text = call(&mut self.line, &side.run(1, "")).await?;
                let id = between(&text, "<instanceId>", "</instanceId>").ok_or("nothing was run")?;
                id.clone_into(&mut self.id);
            }
            1 => {
                let text =
                    call(&mut self.line, &format!("Action=DescribeInstances&InstanceId.1={}", self.id))
                        .await?;
                if !text.contains(&self.id) || !text.contains("<reservationId>") {
                    return Err(format!("{} was not described: {text}", self.id).into());
                }
            }
            _ => {
                let text =
                    call(&mut self.line, &format!("Action=TerminateInstances&InstanceId.1={}", self.id))
                        .await?;
                if !text.contains("shutting-down") {
                    return Err(format!("{} was not terminated: {text}", self.id).into());
                }
            }
        }
        Ok(())
    }
}
