//! The row of `placement`: what its measurement means beside the goal.

use crate::Result;
use crate::placement;
use crate::report::{Row, Verdict, number};

const GOAL: f64 = 300_000.0;

pub(crate) async fn measure() -> Result<Vec<Row>> {
    let measured = tokio::task::spawn_blocking(placement::run).await?;
    // The last mix is all kinds of rules in turn: what the goal speaks of.
    let (all, kinds) = measured.mixes.split_last().ok_or("nothing was measured")?;
    let kinds: Vec<String> = kinds.iter().map(describe).collect();
    let verdict = Verdict::of(all.per_second >= GOAL);
    Ok(vec![Row {
        what: format!(
            "placements decided and claimed, {} simulated hosts, all kinds of rules in turn",
            measured.hosts
        ),
        corten: format!(
            "{}/s on one core, median {:.1} us, p99 {:.1} us",
            number(all.per_second),
            micros(all.median),
            micros(all.p99)
        ),
        goal: ">= 300 k/s".into(),
        verdict,
        note: format!(
            "the pure core, without server or store; the cloud is half full ({} bound), and an old instance leaves \
             for every new one. Each kind: {}. A refusal with the reasons of all hosts takes {:.0} us when \
             something has changed and {:.1} us when not; reading the whole cloud {:.0} ms.",
            measured.bound,
            kinds.join(", "),
            micros(measured.refusal),
            micros(measured.refusal_again),
            measured.build.as_secs_f64() * 1e3
        ),
        ..Row::default()
    }])
}

/// A kind of request in a few words.
fn describe(mix: &placement::MixNumbers) -> String {
    format!(
        "{} {}/s ({}/s of processor time, {:.0} hosts looked at, {} of {} refused)",
        mix.name,
        number(mix.per_second),
        number(mix.per_cpu_second),
        mix.examined,
        mix.refused,
        mix.placements
    )
}

fn micros(duration: std::time::Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
