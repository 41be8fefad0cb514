//! Objects on their way to files and streams. A file is there under its name only when all of it has arrived.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;
use futures::{StreamExt, TryStreamExt};
use http_body_util::BodyExt;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::{Copier, PART_BYTES, tried};
use crate::cli::objects::{Address, Checksum, Head};
use crate::failure::Failure;

/// Copies an object to a file.
pub(super) async fn file(copier: &Copier, from: &Address, head: &Head, to: &Path) -> Result<(), Failure> {
    let cannot = |e| Failure::io(format!("cannot write {}", to.display()))(e);
    // A device or a pipe is written to; in its place nothing else is put.
    if to.metadata().is_ok_and(|found| !found.is_file()) {
        let open = tokio::fs::OpenOptions::new().write(true).open(to).await.map_err(cannot)?;
        return stream(copier, from, head, open).await;
    }
    let unfinished = Unfinished::create(to).map_err(cannot)?;
    let whole = parts(copier, from, head, &unfinished).await?;
    compare(from, head, whole)?;
    let finish = move |to: PathBuf| move || unfinished.finish(&to);
    let finished = tokio::task::spawn_blocking(finish(to.to_owned())).await;
    finished.map_err(|e| Failure::failed(e.to_string()))?.map_err(cannot)
}

/// All the bytes, each part at its place; answers their checksum.
async fn parts(copier: &Copier, from: &Address, head: &Head, to: &Unfinished) -> Result<Checksum, Failure> {
    let kind = kind(head);
    let parts = (0..head.size.div_ceil(PART_BYTES)).map(|number| {
        let range = number * PART_BYTES..((number + 1) * PART_BYTES).min(head.size);
        async move {
            let _room = copier.room().await?;
            let bytes = tried(|| part(copier, from, head, range.clone())).await?;
            let checksum = kind.like(&bytes);
            let (file, offset) = (Arc::clone(&to.file), range.start);
            let written = tokio::task::spawn_blocking(move || file.write_all_at(&bytes, offset)).await;
            let written = written.map_err(|e| Failure::failed(e.to_string()))?;
            written.map_err(Failure::io("cannot write what has arrived"))?;
            Ok::<_, Failure>(checksum)
        }
    });
    let sums = futures::stream::iter(parts).buffered(copier.parallel);
    sums.try_fold(kind, |whole, next| async move { Ok(whole.then(next)) }).await
}

async fn part(
    copier: &Copier,
    from: &Address,
    head: &Head,
    range: std::ops::Range<u64>,
) -> Result<BytesMut, Failure> {
    let wanted = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
    let mut body = copier.store.get(from, range, head).await?.into_body();
    let mut bytes = BytesMut::with_capacity(wanted);
    let arrived = async {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| Failure::failed(format!("{from} broke off: {e}")))?;
            if let Some(data) = frame.data_ref() {
                if bytes.len() + data.len() > wanted {
                    return Err(Failure::failed(format!("{from}: more came than was asked for")));
                }
                bytes.extend_from_slice(data);
                copier.meter.moved(data.len() as u64);
            }
        }
        if bytes.len() == wanted { Ok(()) } else { Err(Failure::failed(format!("{from} broke off"))) }
    };
    let arrived = arrived.await;
    if let Err(failure) = arrived {
        copier.meter.take_back(bytes.len() as u64);
        return Err(failure);
    }
    Ok(bytes)
}

/// Copies an object to a stream. What is wrong with it is told at its end, when it has been written.
pub(super) async fn stream(
    copier: &Copier,
    from: &Address,
    head: &Head,
    mut to: impl AsyncWrite + Unpin,
) -> Result<(), Failure> {
    let cannot = "cannot write what has arrived";
    let mut whole = kind(head);
    let mut arrived = 0;
    if head.size > 0 {
        let mut body = copier.store.get(from, 0..head.size, head).await?.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| Failure::failed(format!("{from} broke off: {e}")))?;
            if let Some(data) = frame.data_ref() {
                whole = whole.then(whole.like(data));
                arrived += data.len() as u64;
                to.write_all(data).await.map_err(Failure::io(cannot))?;
                copier.meter.moved(data.len() as u64);
            }
        }
    }
    to.flush().await.map_err(Failure::io(cannot))?;
    if arrived != head.size {
        return Err(Failure::failed(format!("{from} broke off")));
    }
    compare(from, head, whole)
}

/// The checksum of nothing, of the kind that the store has of the object.
fn kind(head: &Head) -> Checksum {
    head.checksum().map_or(Checksum::of(&[]), |(nothing, _)| nothing)
}

fn compare(from: &Address, head: &Head, arrived: Checksum) -> Result<(), Failure> {
    match head.checksum() {
        Some((_, said)) if said != arrived.encoded() => {
            Err(Failure::failed(format!("{from} did not arrive as it was written: its checksum is another")))
        }
        _ => Ok(()),
    }
}

/// A file that has no name yet. Dropped before, it goes.
struct Unfinished {
    path: PathBuf,
    file: Arc<std::fs::File>,
}

impl Unfinished {
    fn create(to: &Path) -> std::io::Result<Self> {
        let name = to.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let path = to.with_file_name(format!(".{name}.{}.part", std::process::id()));
        let file = std::fs::File::options().write(true).create(true).truncate(true).open(&path)?;
        Ok(Self { path, file: Arc::new(file) })
    }

    fn finish(self, to: &Path) -> std::io::Result<()> {
        self.file.sync_all()?;
        std::fs::rename(&self.path, to)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Gone already when it has its name.
        let _ = std::fs::remove_file(&self.path);
    }
}
