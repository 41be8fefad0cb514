//! The rows of `store`: what its measurements mean beside the goals.

use std::time::Duration;

use crate::Result;
use crate::report::{Row, Verdict, number, times};
use crate::store::{self, spread};

const PAIRS: usize = 7;
const WRITERS: usize = 500;
const EACH: Duration = Duration::from_secs(3);
const OBJECTS: u64 = 100_000;
const OPENINGS: usize = 5;

pub(crate) async fn measure() -> Result<Vec<Row>> {
    let pairs = store::write_pairs(PAIRS, WRITERS, EACH).await?;
    let ratio = spread(pairs.iter().map(store::Pair::ratio));
    let side = |load: fn(&store::Pair) -> store::Load| {
        let rate = spread(pairs.iter().map(|pair| load(pair).per_second())).median;
        let fsyncs = spread(pairs.iter().map(|pair| load(pair).fsyncs_per_transaction())).median;
        format!("{}/s, {fsyncs:.4} fdatasyncs per write", number(rate))
    };
    let theirs = store::etcd_check_perf().await?;
    let own_tool = spread(pairs.iter().map(|pair| pair.corten.per_second() / theirs.per_second()));
    let own = Row {
        what: "durable transactions of 1 KiB, 500 writers, in process".into(),
        corten: side(|pair| pair.corten),
        peer: format!(
            "etcd 3.4, its own `etcdctl check perf --load=l`: {}/s, {:.4} fdatasyncs per write",
            number(theirs.per_second()),
            theirs.fsyncs_per_transaction()
        ),
        ratio: times(own_tool),
        goal: ">= 10x".into(),
        verdict: Verdict::of(own_tool.median >= 10.0),
        note: "etcd's tool runs for a minute on the same cores, right after the pairs of the row below: 500 clients, \
               values of 1 KiB, held at 8,000 a second at most. Our writers run in our process."
            .into(),
    };
    let writes = Row {
        what: "the same beside etcd under a lighter client".into(),
        corten: side(|pair| pair.corten),
        peer: format!("etcd 3.4: {}", side(|pair| pair.etcd)),
        ratio: times(ratio),
        note: "our store is called in process, etcd over gRPC without TLS on loopback (100 connections, as its own \
               benchmark does), because neither offers the other's way; etcd's client runs on the same cores; etcd \
               counts its log's and its backend's fdatasyncs."
            .into(),
        ..Row::default()
    };
    let openings = store::openings_after_kill(&std::env::current_exe()?, OBJECTS, OPENINGS).await?;
    let ms = |part: fn(&store::Opening) -> Duration| {
        spread(openings.iter().map(|opening| part(opening).as_secs_f64() * 1e3))
    };
    let (open, first) = (ms(|opening| opening.open), ms(|opening| opening.first_write));
    let opening = Row {
        what: "store of 100,000 objects after `kill -9`: open, and first durable write".into(),
        corten: format!("{:.0} ms, {:.0} ms (at most {:.0} ms)", open.median, first.median, first.max),
        note:
            "from the start of the new process's work in its store, without the server around it; the whole \
               server is the row `restart`."
                .into(),
        ..Row::default()
    };
    Ok(vec![own, writes, opening])
}
