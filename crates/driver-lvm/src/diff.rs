//! What changed in a volume: the pool's own map of blocks tells it, between two moments (`thin_delta`, of the package
//! thin-provisioning-tools).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use driver::{Change, ChangeStream, DriverError, GRANULARITY, ReadChanges};
use model::{Bytes, Uid};
use sys::command::run;

use crate::driver::LvmDriver;
use crate::lvm::ThinPool;
use crate::record::{Name, Record};

const THIN_DELTA: &str = "thin_delta";
/// It reads the map of two volumes.
const DELTA_MAX: Duration = Duration::from_secs(600);
/// Most bytes that are read at once.
const PIECE_MAX: u64 = 1 << 20;
const SECTOR: u64 = 512;

/// A range of a disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    offset: u64,
    length: u64,
    /// Nothing is there any more.
    is_gone: bool,
}

impl LvmDriver {
    /// The changes of a volume since the newest of `since` that the pool knows, with this moment noted.
    pub(crate) async fn changes_of(
        &self,
        pool: &ThinPool,
        volume: &Uid,
        backup: &Uid,
        since: &[Uid],
    ) -> Result<ChangeStream, DriverError> {
        let look = self.whole_look(pool, volume).await?;
        let own = Name::Volume(volume.clone());
        let record = Record::of(look.find(&own).ok_or_else(|| crate::driver::missing(volume))?);
        let moments: Vec<Uid> = look.volumes.iter().filter_map(|found| moment_of(found, volume)).collect();
        let since = since.iter().find(|uid| *uid != backup && moments.contains(uid)).cloned();
        for spare in moments.iter().filter(|uid| Some(*uid) != since.as_ref() && *uid != backup) {
            pool.remove(&Name::Backup(spare.clone())).await?;
        }
        let now = Name::Backup(backup.clone());
        // One that was left by an attempt before is of another moment than its bytes that were sent.
        if look.find(&now).is_some() {
            pool.remove(&now).await?;
        }
        look.require_metadata()?;
        pool.snapshot(&own, &now, &record.part_of(volume)).await?;
        pool.activate(&now).await?;
        let look = pool.look().await?;
        let taken = look.find(&now).ok_or_else(|| crate::driver::missing(backup))?;
        let ranges = match since.as_ref().and_then(|since| look.find(&Name::Backup(since.clone()))) {
            Some(base) => self.delta(pool, &base.thin_id, &taken.thin_id, taken.size).await?,
            None => vec![Range { offset: 0, length: taken.size.0, is_gone: false }],
        };
        let device = File::open(pool.device_path(&now));
        let device = device.map_err(|e| DriverError::failed("opening the moment of a backup", e))?;
        let is_whole = since.is_none();
        let changes = Box::new(Pieces { device: Arc::new(device), left: ranges, is_whole });
        Ok(ChangeStream { size: taken.size, since, changes })
    }

    /// The ranges in which two volumes of the pool differ, in order.
    async fn delta(
        &self,
        pool: &ThinPool,
        base: &str,
        taken: &str,
        size: Bytes,
    ) -> Result<Vec<Range>, DriverError> {
        // The kernel holds one such map of a pool at a time.
        let _alone = self.mapping.lock().await;
        pool.hold_metadata().await?;
        let path = pool.metadata_path();
        let told = run(THIN_DELTA, ["-m", "--snap1", base, "--snap2", taken, &path], DELTA_MAX).await;
        pool.release_metadata().await?;
        let told = told
            .map_err(|e| DriverError::failed("asking what changed (package thin-provisioning-tools)", e))?;
        let told = String::from_utf8_lossy(&told);
        ranges(&told, size.0).ok_or_else(|| DriverError::failed("reading what thin_delta says", told.trim()))
    }

    /// Nobody reads the moment of a backup any more.
    pub(crate) async fn finish_reading(&self, pool: &ThinPool, backup: &Uid) -> Result<(), DriverError> {
        let name = Name::Backup(backup.clone());
        match pool.look().await?.find(&name) {
            Some(found) if found.is_active() => pool.deactivate(&name).await,
            _ => Ok(()),
        }
    }
}

/// The backup of which it is the moment, if it is of this volume.
pub(crate) fn moment_of(found: &crate::lvm::LogicalVolume, volume: &Uid) -> Option<Uid> {
    match Name::parse(&found.name)? {
        Name::Backup(uid) if Record::of(found).volume.as_ref() == Some(volume) => Some(uid),
        _ => None,
    }
}

/// What `thin_delta` says without `--verbose`: a line of XML for each run of blocks.
fn ranges(told: &str, size: u64) -> Option<Vec<Range>> {
    let number = |line: &str, name: &str| -> Option<u64> {
        let (_, rest) = line.split_once(&format!(" {name}=\""))?;
        rest.split_once('"')?.0.parse().ok()
    };
    let mut block = None;
    let mut all: Vec<Range> = Vec::new();
    let mut ended = false;
    for line in told.lines().map(str::trim) {
        let tag = line.trim_start_matches('<').split([' ', '>', '/']).next()?;
        let is_gone = match tag {
            "superblock" => {
                block = Some(number(line, "data_block_size")?.checked_mul(SECTOR)?);
                continue;
            }
            "different" | "right_only" => false,
            "left_only" => true,
            "same" | "diff" => continue,
            _ if line == "</superblock>" => {
                ended = true;
                continue;
            }
            _ if line.starts_with("</") => continue,
            _ => return None,
        };
        let block = block.filter(|block| block % u64::from(GRANULARITY) == 0 && *block > 0)?;
        let offset = number(line, "begin")?.checked_mul(block)?;
        let length = number(line, "length")?.checked_mul(block)?.min(size.saturating_sub(offset));
        if all.last().is_some_and(|last| last.offset + last.length > offset) {
            return None;
        }
        if length > 0 {
            all.push(Range { offset, length, is_gone });
        }
    }
    ended.then_some(all)
}

/// Ranges of a device, read piece by piece.
struct Pieces {
    device: Arc<File>,
    left: Vec<Range>,
    /// Of a whole disk, zeros need no mention.
    is_whole: bool,
}

#[async_trait]
impl ReadChanges for Pieces {
    async fn next(&mut self) -> io::Result<Option<Change>> {
        while let Some(range) = self.left.first_mut() {
            let Range { offset, length, is_gone } = *range;
            let piece = if is_gone { length } else { length.min(PIECE_MAX) };
            (range.offset, range.length) = (offset + piece, length - piece);
            if range.length == 0 {
                self.left.remove(0);
            }
            if is_gone {
                return Ok(Some(Change::Zeros { offset, length }));
            }
            let device = Arc::clone(&self.device);
            let read = tokio::task::spawn_blocking(move || read(&device, offset, piece));
            let bytes = read.await.unwrap_or_else(|e| Err(io::Error::other(e)))?;
            if !self.is_whole || bytes.iter().any(|byte| *byte != 0) {
                return Ok(Some(Change::Data { offset, bytes }));
            }
        }
        Ok(None)
    }
}

fn read(device: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    device.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: u64 = 128 << 10;

    #[test]
    fn what_thin_delta_says_is_ranges_and_nothing_is_believed() {
        let told = |lines: &str| {
            format!(
                "<superblock uuid=\"\" time=\"4\" transaction=\"6\" data_block_size=\"256\" nr_data_blocks=\"0\">\n  <diff \
                 left=\"3\" right=\"4\">\n{lines}  </diff>\n</superblock>\n"
            )
        };
        let all = "    <same begin=\"0\" length=\"160\"/>\n    <different begin=\"160\" length=\"2\"/>\n    <left_only \
                   begin=\"200\" length=\"1\"/>\n    <right_only begin=\"320\" length=\"16\"/>\n";
        let size = 330 * BLOCK + 512;
        let range = |block: u64, length: u64, is_gone| Range { offset: block * BLOCK, length, is_gone };
        assert_eq!(
            ranges(&told(all), size),
            Some(vec![
                range(160, 2 * BLOCK, false),
                range(200, BLOCK, true),
                range(320, 10 * BLOCK + 512, false),
            ])
        );
        assert_eq!(ranges(&told(""), size), Some(Vec::new()));
        let bad = [
            String::new(),
            told(all).replace("</superblock>", ""),
            told(all).replace("256", "100"),
            told("    <different begin=\"5\" length=\"2\"/>\n    <different begin=\"6\" length=\"2\"/>\n"),
            told("    <different begin=\"x\" length=\"2\"/>\n"),
            told("    <strange begin=\"5\" length=\"2\"/>\n"),
        ];
        for text in bad {
            assert_eq!(ranges(&text, size), None, "{text}");
        }
    }
}
