//! Big objects beside the disk itself: the same bytes written to a file and synced, and read from one.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Instant;

use bytes::Bytes;

use super::{Extent, Side, caller};
use crate::Result;
use crate::cloud::Cloud;
use crate::line::Line;
use crate::report::{Row, Verdict, times};
use crate::store::spread;

const BYTES: usize = 64 << 20;
const BLOCK: usize = 1 << 20;
const PAIRS_MORE: usize = 4;
const GOAL: f64 = 0.8;

pub(super) async fn measure(ours: &Side, cloud: &Cloud, extent: Extent) -> Result<Vec<Row>> {
    let mut body = vec![0; BYTES];
    File::open("/dev/urandom")?.read_exact(&mut body)?;
    let body = Bytes::from(body);
    let file = cloud.data().join("raw");
    let mut line = Line::new(&ours.endpoint);
    let (mut puts, mut gets) = (Vec::new(), Vec::new());
    for pair in 0..=extent.pairs + PAIRS_MORE {
        let key = format!("big/{pair}");
        let began = Instant::now();
        caller::put(&mut line, &key, body.clone()).await?;
        let put = began.elapsed().as_secs_f64();
        let written = raw_write(&file, &body)?;
        // Both are read from the disk, or both would be read from memory and neither measured.
        forget_pages()?;
        let began = Instant::now();
        if caller::get(&mut line, &key).await? != BYTES {
            return Err("not all of a big object came".into());
        }
        let get = began.elapsed().as_secs_f64();
        forget_pages()?;
        let read = raw_read(&file)?;
        if pair > 0 {
            puts.push((put, written));
            gets.push((get, read));
        }
    }
    fs::remove_file(&file)?;
    Ok(vec![row("PUT", "write and fdatasync", &puts), row("GET", "read", &gets)])
}

fn row(verb: &str, raw: &str, pairs: &[(f64, f64)]) -> Row {
    let ratio = spread(pairs.iter().map(|(ours, disk)| disk / ours));
    let rate = |of: fn(&(f64, f64)) -> f64| {
        let seconds = spread(pairs.iter().map(of)).median;
        format!("{:.0} MiB/s", (BYTES >> 20) as f64 / seconds)
    };
    Row {
        what: format!("{verb} of 64 MiB, one caller, beside the disk"),
        corten: rate(|pair| pair.0),
        peer: format!("{raw} of a file: {}", rate(|pair| pair.1)),
        ratio: times(ratio),
        goal: format!(">= {GOAL:.1}x"),
        verdict: Verdict::of(ratio.median >= GOAL),
        note: format!(
            "{} pairs; one request over TLS, its ETag (MD5), its checksum and those of its blocks made and compared; \
             the file lies in the same folder, in blocks of 1 MiB. Nothing of either is in the page cache when it is \
             read",
            pairs.len()
        ),
    }
}

fn raw_write(file: &Path, body: &[u8]) -> Result<f64> {
    let began = Instant::now();
    let mut to = File::create(file)?;
    for block in body.chunks(BLOCK) {
        to.write_all(block)?;
    }
    to.sync_data()?;
    Ok(began.elapsed().as_secs_f64())
}

fn raw_read(file: &Path) -> Result<f64> {
    let began = Instant::now();
    let mut from = File::open(file)?;
    let mut block = vec![0; BLOCK];
    while from.read(&mut block)? > 0 {}
    Ok(began.elapsed().as_secs_f64())
}

fn forget_pages() -> Result<()> {
    Ok(fs::write("/proc/sys/vm/drop_caches", "1")?)
}
