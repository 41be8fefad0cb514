//! What changed in a volume: Ceph's maps of objects tell it, between two of its snapshots.

use std::io;
use std::process::Stdio;

use async_trait::async_trait;
use driver::{Change, ChangeStream, DriverError, GRANULARITY, ReadChanges};
use model::{Bytes, Uid};
use tokio::io::{AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use crate::cluster::{Cluster, Failure, or_missing};

/// What `rbd export-diff` begins with: version 1 of the format (doc/dev/rbd-diff.rst of Ceph).
const BANNER: &[u8] = b"rbd diff v1\n";
/// Most bytes of one piece that has any; an object has 4 MiB.
const PIECE_MAX: u64 = 64 << 20;
/// Most bytes of a name in the stream.
const NAME_MAX: u32 = 4096;
const ERRORS_MAX: u64 = 2048;

/// The changes of a volume since the newest of `since` that the pool knows, with a snapshot of this moment.
pub(crate) async fn changes(
    cluster: &Cluster,
    image: &str,
    backup: &Uid,
    since: &[Uid],
) -> Result<ChangeStream, DriverError> {
    let now = name(backup);
    let known = cluster.snapshots(image).await?;
    let is_known = |uid: &&Uid| *uid != backup && known.iter().any(|snapshot| snapshot.name == name(uid));
    let since = since.iter().find(is_known).cloned();
    let kept = since.as_ref().map(name);
    for spare in known.iter().filter(|s| is_of_backup(&s.name) && Some(&s.name) != kept.as_ref()) {
        or_missing(cluster.remove_snapshot(image, &spare.name).await)?;
    }
    match cluster.take(image, &now).await {
        Ok(()) | Err(Failure::Exists) => {}
        Err(e) => return Err(e.into()),
    }
    let taken = cluster.snapshots(image).await?.into_iter().find(|snapshot| snapshot.name == now);
    let taken = taken.ok_or_else(|| DriverError::NotFound(format!("{now} (a snapshot)")))?;
    let since_then = kept.iter().flat_map(|kept| ["--from-snap".to_owned(), kept.clone()]);
    let args = cluster.identity().into_iter();
    let args = args.chain(["export-diff", "--no-progress", "--whole-object"].map(ToOwned::to_owned));
    let args = args.chain(since_then).chain([format!("{}@{now}", cluster.spec(image)), "-".to_owned()]);
    let child = Command::from(sys::command::helper("rbd", args))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = child.map_err(|e| DriverError::failed("rbd export-diff (package ceph-common)", e))?;
    let from =
        child.stdout.take().ok_or_else(|| DriverError::failed("rbd export-diff", "it has no output"))?;
    let changes = Box::new(Exported { child, pieces: Pieces::new(BufReader::new(from), taken.size) });
    Ok(ChangeStream { size: Bytes(taken.size), since, changes })
}

/// Ceph's snapshot of the moment of a backup.
fn name(backup: &Uid) -> String {
    format!("backup-{backup}")
}

pub(crate) fn is_of_backup(snapshot: &str) -> bool {
    snapshot.starts_with("backup-")
}

/// What `rbd export-diff` says.
struct Exported {
    child: Child,
    pieces: Pieces<BufReader<ChildStdout>>,
}

#[async_trait]
impl ReadChanges for Exported {
    async fn next(&mut self) -> io::Result<Option<Change>> {
        match self.pieces.next().await {
            Ok(Some(change)) => Ok(Some(change)),
            Ok(None) => {
                let status = self.child.wait().await?;
                if status.success() { Ok(None) } else { Err(self.words(&status.to_string()).await) }
            }
            // What it has to say of it is worth more.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Err(self.words("it ended early").await),
            Err(e) => Err(e),
        }
    }
}

impl Exported {
    async fn words(&mut self, how: &str) -> io::Error {
        let mut words = Vec::new();
        if let Some(errors) = self.child.stderr.take() {
            let _ = errors.take(ERRORS_MAX).read_to_end(&mut words).await;
        }
        io::Error::other(format!("rbd export-diff: {how}: {}", sys::command::last_words(&words)))
    }
}

/// The pieces of a stream.
struct Pieces<R> {
    from: R,
    size: u64,
    /// Where the piece before ended.
    end: u64,
    begun: bool,
}

impl<R: AsyncRead + Unpin + Send> Pieces<R> {
    fn new(from: R, size: u64) -> Self {
        Self { from, size, end: 0, begun: false }
    }

    async fn next(&mut self) -> io::Result<Option<Change>> {
        if !self.begun {
            let mut banner = [0; BANNER.len()];
            self.from.read_exact(&mut banner).await?;
            if banner != BANNER {
                return Err(io::Error::other(
                    "what rbd export-diff says is of a format that is not known here",
                ));
            }
            self.begun = true;
        }
        loop {
            match self.from.read_u8().await? {
                b'f' | b't' => {
                    let length = self.from.read_u32_le().await?;
                    if length > NAME_MAX {
                        return Err(io::Error::other("rbd export-diff names a snapshot that is too long"));
                    }
                    let mut name = vec![0; length as usize];
                    self.from.read_exact(&mut name).await?;
                }
                b's' => drop(self.from.read_u64_le().await?),
                b'w' => {
                    let (offset, length) = self.range().await?;
                    if length > PIECE_MAX {
                        return Err(io::Error::other(
                            "rbd export-diff says a piece that is larger than an object",
                        ));
                    }
                    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
                    self.from.read_exact(&mut bytes).await?;
                    return Ok(Some(Change::Data { offset, bytes }));
                }
                b'z' => {
                    let (offset, length) = self.range().await?;
                    return Ok(Some(Change::Zeros { offset, length }));
                }
                b'e' => return Ok(None),
                other => {
                    return Err(io::Error::other(format!("rbd export-diff says {other}, which is nothing")));
                }
            }
        }
    }

    async fn range(&mut self) -> io::Result<(u64, u64)> {
        let (offset, length) = (self.from.read_u64_le().await?, self.from.read_u64_le().await?);
        let end = offset.saturating_add(length);
        let is_whole = |at: u64| at.is_multiple_of(GRANULARITY.into()) || at == self.size;
        if offset < self.end || end > self.size {
            return Err(io::Error::other("rbd export-diff says a piece that is not where it should be"));
        }
        if !is_whole(offset) || !is_whole(end) {
            return Err(io::Error::other(
                "the cluster's map of the image is not valid: `rbd object-map rebuild` makes it anew",
            ));
        }
        self.end = end;
        Ok((offset, length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: u64 = GRANULARITY as u64;

    async fn read(stream: &[u8], size: u64) -> Result<Vec<Change>, String> {
        let mut pieces = Pieces::new(stream, size);
        let mut found = Vec::new();
        while let Some(change) = pieces.next().await.map_err(|e| e.to_string())? {
            found.push(change);
        }
        Ok(found)
    }

    fn piece(tag: u8, offset: u64, length: u64, data: &[u8]) -> Vec<u8> {
        [&[tag][..], &offset.to_le_bytes(), &length.to_le_bytes(), data].concat()
    }

    #[tokio::test]
    async fn a_stream_is_its_pieces_and_nothing_is_believed() {
        let named = |tag: u8, name: &str| {
            let length = u32::try_from(name.len()).unwrap_or_default();
            [&[tag][..], &length.to_le_bytes(), name.as_bytes()].concat()
        };
        let head = [BANNER, &named(b'f', "a"), &named(b't', "b"), b"s", &(3 * CHUNK).to_le_bytes()].concat();
        let bytes = vec![7; usize::try_from(CHUNK).unwrap_or_default()];
        let data = piece(b'w', 0, CHUNK, &bytes);
        let zeros = piece(b'z', CHUNK, CHUNK + 512, &[]);
        let whole = [&head[..], &data, &zeros, b"e"].concat();
        let expected = vec![
            Change::Data { offset: 0, bytes: bytes.clone() },
            Change::Zeros { offset: CHUNK, length: CHUNK + 512 },
        ];
        assert_eq!(read(&whole, 2 * CHUNK + 512).await, Ok(expected));
        let refused = [
            (whole[..whole.len() - 1].to_vec(), "end of file"),
            ([&head[..], &zeros, &data, b"e"].concat(), "not where it should be"),
            ([&head[..], &piece(b'z', 512, CHUNK, &[]), b"e"].concat(), "object-map rebuild"),
            ([&head[..], &piece(b'w', 0, u64::MAX, &[]), b"e"].concat(), "not where it should be"),
            ([&head[..], b"x"].concat(), "which is nothing"),
            (b"rbd diff v2\ne".to_vec(), "not known here"),
        ];
        for (stream, why) in refused {
            let error = read(&stream, 2 * CHUNK + 512).await.expect_err(why);
            assert!(error.contains(why), "{error}");
        }
        let large = [&head[..], &piece(b'w', 0, 2 * PIECE_MAX, &[])].concat();
        let error = read(&large, 4 * PIECE_MAX).await.expect_err("more than is read at once");
        assert!(error.contains("larger than an object"), "{error}");
    }
}
