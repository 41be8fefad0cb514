//! Ten thousand instances are described: all of them in pages, and those of one tag in pages.

use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};

use super::caller::call;
use super::{CALLERS, Ours, Side, Theirs};
use crate::Result;
use crate::line::{Line, between};
use crate::report::{Row, Verdict};
use crate::store::{Spread, spread};

const INSTANCES: usize = 10_000;
/// Instances of a tag's value: one in so many.
const TAGGED: usize = 10;
const MOTO_BATCH: usize = 50;
const HOSTS: usize = 500;
/// As many as there is patience for, as moto may take a minute for one.
const PAIRS: usize = 7;
const PATIENCE: Duration = Duration::from_secs(60);
const PAGE: usize = 1000;
const TAGGED_PAGE: usize = 500;
const GOAL: f64 = 50.0;

/// A question, and how many instances it is about.
struct Question {
    what: String,
    parameters: String,
    expected: usize,
}

pub(super) async fn measure() -> Result<Vec<Row>> {
    let questions = [
        Question {
            what: format!("DescribeInstances of {INSTANCES} instances, in pages of {PAGE}"),
            parameters: format!("&MaxResults={PAGE}"),
            expected: INSTANCES,
        },
        Question {
            what: format!("the {} of them with a tag's value, in pages of {TAGGED_PAGE}", INSTANCES / TAGGED),
            parameters: format!("&MaxResults={TAGGED_PAGE}&Filter.1.Name=tag:Group&Filter.1.Value.1=group-3"),
            expected: INSTANCES / TAGGED,
        },
    ];
    let (ours, theirs) = (Ours::start(HOSTS).await?, Theirs::start().await?);
    let filled = fill(&ours.side, 1).await?;
    // One by one it takes moto 25 minutes: each call looks at all that there are.
    let filled_theirs = fill(&theirs.side, MOTO_BATCH).await?;
    let mut rows = Vec::new();
    for question in &questions {
        let mut pairs = Vec::new();
        let begun = Instant::now();
        while pairs.len() < PAIRS && (pairs.is_empty() || begun.elapsed() < PATIENCE) {
            let corten = question.ask(&ours.side).await?;
            pairs.push((corten, question.ask(&theirs.side).await?));
        }
        rows.push(question.row(&pairs, filled, filled_theirs));
    }
    Ok(rows)
}

impl Question {
    /// All pages, one after the other, by one caller.
    async fn ask(&self, side: &Side) -> Result<Duration> {
        let mut line = Line::new(&side.endpoint);
        let (mut token, mut seen) = (String::new(), 0);
        let begun = Instant::now();
        loop {
            let text =
                call(&mut line, &format!("Action=DescribeInstances{}{token}", self.parameters)).await?;
            seen += text.matches("<instanceType>").count();
            let Some(next) = between(&text, "<nextToken>", "</nextToken>").filter(|next| !next.is_empty())
            else {
                break;
            };
            token = format!("&NextToken={}", encoded(next));
        }
        let took = begun.elapsed();
        if seen == self.expected {
            Ok(took)
        } else {
            Err(format!("{seen} instances were described, not {}", self.expected).into())
        }
    }

    fn row(&self, pairs: &[(Duration, Duration)], filled: Duration, filled_theirs: Duration) -> Row {
        let of = |side: fn(&(Duration, Duration)) -> f64| spread(pairs.iter().map(side));
        let ratio = of(|(corten, moto)| moto.as_secs_f64() / corten.as_secs_f64());
        Row {
            what: self.what.clone(),
            corten: shown(of(|(corten, _)| corten.as_secs_f64() * 1e3), "ms"),
            peer: format!("moto: {}", shown(of(|(_, moto)| moto.as_secs_f64()), "s")),
            ratio: format!("{:.0}x ({:.0}x to {:.0}x)", ratio.median, ratio.min, ratio.max),
            goal: format!(">= {GOAL:.0}x"),
            verdict: Verdict::of(ratio.median >= GOAL),
            note: format!(
                "{} pair(s) in turns, as many as a minute has room for; all pages one after the other by one caller, from the first request \
                 to the last byte. Each instance has tags and a network interface, made with RunInstances by {CALLERS} callers: \
                 by ours one at a time, on {HOSTS} simulated hosts, in {:.0} s, by moto {MOTO_BATCH} at a time in {:.0} s, which \
                 counts what is made together as one when it makes pages. \
                 The client and what is not equal are those of the row above.",
                pairs.len(),
                filled.as_secs_f64(),
                filled_theirs.as_secs_f64()
            ),
        }
    }
}

fn shown(spread: Spread, unit: &str) -> String {
    format!("{:.1} {unit} ({:.1} to {:.1})", spread.median, spread.min, spread.max)
}

/// `batch` instances by each call.
async fn fill(side: &Side, batch: usize) -> Result<Duration> {
    let begun = Instant::now();
    stream::iter(0..CALLERS)
        .map(|caller| fill_part(side, caller, batch))
        .buffer_unordered(CALLERS)
        .try_collect::<()>()
        .await?;
    Ok(begun.elapsed())
}

async fn fill_part(side: &Side, caller: usize, batch: usize) -> Result<()> {
    let mut line = Line::new(&side.endpoint);
    for number in (caller..INSTANCES / batch).step_by(CALLERS) {
        let more = format!(
            "&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=Name\
             &TagSpecification.1.Tag.1.Value=server-{number}&TagSpecification.1.Tag.2.Key=Group\
             &TagSpecification.1.Tag.2.Value=group-{}",
            number % TAGGED
        );
        call(&mut line, &side.run(batch, &more)).await?;
    }
    Ok(())
}

/// Tokens may have anything in them.
fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
