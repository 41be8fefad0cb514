//! Files and streams on their way to objects.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt};
use tokio::io::AsyncReadExt;

use super::remember::Remembered;
use super::{Copier, PART_BYTES, tried};
use crate::cli::objects::{Address, Checksum, UploadedPart};
use crate::failure::{Exit, Failure};

/// Most parts of an object, as S3 has it.
const PARTS_MAX: u64 = 10_000;
/// Parts of what comes over standard input, whose end is not known.
const STREAM_PART_BYTES: usize = 16 << 20;
const MIB: u64 = 1 << 20;

/// A file, and what it was when the copy began.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) size: u64,
    pub(super) modified_ns: u64,
    file: Arc<std::fs::File>,
}

impl File {
    pub(super) async fn open(path: &Path) -> Result<Self, Failure> {
        let cannot = format!("cannot read {}", path.display());
        let file = tokio::fs::File::open(path).await.map_err(Failure::io(&cannot))?;
        let found = file.metadata().await.map_err(Failure::io(&cannot))?;
        if found.is_dir() {
            return Err(Failure::usage(format!("{} is a folder", path.display()))
                .hint("add --recursive to copy what lies in it"));
        }
        if !found.is_file() {
            return Err(Failure::usage(format!("{} is no file", path.display()))
                .hint("what has no size is copied from standard input: -"));
        }
        let (path, size, modified_ns) = (path.to_owned(), found.size(), modified_ns(&found));
        Ok(Self { path, size, modified_ns, file: Arc::new(file.into_std().await) })
    }

    /// Bytes of each part but the last: as few as make no more parts than there may be.
    pub(super) fn part_bytes(&self) -> u64 {
        part_bytes(self.size)
    }

    async fn read(&self, offset: u64, len: u64) -> Result<Bytes, Failure> {
        let file = Arc::clone(&self.file);
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = BytesMut::zeroed(usize::try_from(len).unwrap_or(usize::MAX));
            file.read_exact_at(&mut bytes, offset).map(|()| bytes.freeze())
        });
        let read = read.await.map_err(|e| Failure::failed(e.to_string()))?;
        read.map_err(Failure::io(format!("cannot read {}", self.path.display())))
    }

    /// Whether it is still what it was.
    fn check(&self) -> Result<(), Failure> {
        let same = self
            .file
            .metadata()
            .is_ok_and(|now| now.size() == self.size && modified_ns(&now) == self.modified_ns);
        if same { Ok(()) } else { Err(self.changed()) }
    }

    fn changed(&self) -> Failure {
        Failure::failed(format!("{} was changed while it was copied", self.path.display()))
            .hint("copy it again when nobody writes to it")
    }
}

fn modified_ns(of: &std::fs::Metadata) -> u64 {
    let seconds = u64::try_from(of.mtime()).unwrap_or(0);
    seconds.wrapping_mul(1_000_000_000).wrapping_add(u64::try_from(of.mtime_nsec()).unwrap_or(0))
}

fn part_bytes(size: u64) -> u64 {
    size.div_ceil(PARTS_MAX).next_multiple_of(MIB).max(PART_BYTES)
}

/// Copies a file, in parts where it is big.
pub(super) async fn file(copier: &Copier, file: File, to: &Address) -> Result<(), Failure> {
    if file.size > PART_BYTES {
        return in_parts(copier, &file, to).await;
    }
    let _room = copier.room().await?;
    let bytes = file.read(0, file.size).await?;
    file.check()?;
    let content_type = copier.content_type.as_deref();
    tried(|| copier.store.put(to, bytes.clone(), content_type)).await?;
    copier.meter.moved(file.size);
    Ok(())
}

async fn in_parts(copier: &Copier, file: &File, to: &Address) -> Result<(), Failure> {
    let (upload, there) = begin(copier, file, to).await?;
    let (len, upload) = (file.part_bytes(), upload.as_str());
    let parts = (1..=file.size.div_ceil(len)).map(|number| {
        let offset = (number - 1) * len;
        let there = there.iter().find(|part| u64::from(part.number) == number);
        async move {
            let _room = copier.room().await?;
            let bytes = file.read(offset, len.min(file.size - offset)).await?;
            let checksum = Checksum::of(&bytes);
            let size = bytes.len() as u64;
            let is_there = |part: &&UploadedPart| part.size == size && part.checksum == checksum.encoded();
            let part = if let Some(part) = there.filter(is_there) {
                part.clone()
            } else {
                let number = u32::try_from(number).unwrap_or(u32::MAX);
                tried(|| copier.store.put_part(to, upload, number, bytes.clone(), checksum)).await?
            };
            copier.meter.moved(size);
            Ok::<_, Failure>((part, checksum))
        }
    });
    let sent = futures::stream::iter(parts).buffered(copier.parallel).try_collect::<Vec<_>>().await;
    let sent = sent.map_err(|failure| match failure.hint {
        None if failure.exit == Exit::Failed => {
            failure.hint("give the same command again: what has arrived is not sent again")
        }
        _ => failure,
    })?;
    let done = match file.check() {
        Ok(()) => complete(copier, to, upload, sent).await,
        // Its parts are of what is no more.
        Err(failure) => {
            let _ = copier.store.abort(to, upload).await;
            Err(failure)
        }
    };
    Remembered::forget(&copier.cloud, to, file);
    done
}

/// An upload that goes on, with the parts that have arrived, or a new one.
async fn begin(copier: &Copier, file: &File, to: &Address) -> Result<(String, Vec<UploadedPart>), Failure> {
    if let Some(found) = Remembered::find(&copier.cloud, to, file)
        && let Some(parts) = copier.store.parts(to, &found.upload).await?
    {
        return Ok((found.upload, parts));
    }
    let upload = copier.store.begin(to, copier.content_type.as_deref()).await?;
    Remembered::new(upload.clone(), to, file).keep(&copier.cloud, to, file)?;
    Ok((upload, Vec::new()))
}

async fn complete(
    copier: &Copier,
    to: &Address,
    upload: &str,
    sent: Vec<(UploadedPart, Checksum)>,
) -> Result<(), Failure> {
    let whole = sent.iter().map(|(_, sum)| *sum).fold(Checksum::of(&[]), Checksum::then);
    let parts: Vec<UploadedPart> = sent.into_iter().map(|(part, _)| part).collect();
    copier.store.complete(to, upload, &parts, whole).await
}

/// Copies what comes over standard input. What ends before its end leaves nothing.
pub(super) async fn stream(copier: &Copier, to: &Address) -> Result<(), Failure> {
    let mut input = tokio::io::stdin();
    let first = filled(&mut input).await?;
    if first.len() < STREAM_PART_BYTES {
        let content_type = copier.content_type.as_deref();
        tried(|| copier.store.put(to, first.clone(), content_type)).await?;
        copier.meter.moved(first.len() as u64);
        return Ok(());
    }
    let upload = copier.store.begin(to, copier.content_type.as_deref()).await?;
    let done = tokio::select! {
        done = stream_in_parts(copier, to, &upload, first, input) => done,
        _ = tokio::signal::ctrl_c() => Err(Failure::failed("interrupted")),
    };
    if done.is_err() {
        // The first error is the one that matters.
        let _ = copier.store.abort(to, &upload).await;
    }
    done
}

async fn stream_in_parts(
    copier: &Copier,
    to: &Address,
    upload: &str,
    first: Bytes,
    input: tokio::io::Stdin,
) -> Result<(), Failure> {
    let parts = futures::stream::try_unfold((first, input, 1_u32), |(bytes, mut input, number)| async move {
        if bytes.is_empty() {
            return Ok(None);
        }
        if u64::from(number) > PARTS_MAX {
            let most = (PARTS_MAX * STREAM_PART_BYTES as u64) >> 30;
            return Err(Failure::failed(format!("standard input has more than {most} GiB: copy a file")));
        }
        let is_last = bytes.len() < STREAM_PART_BYTES;
        let next = if is_last { Bytes::new() } else { filled(&mut input).await? };
        Ok(Some(((number, bytes), (next, input, number + 1))))
    });
    let sent = parts
        .map_ok(|(number, bytes)| async move {
            let (checksum, size) = (Checksum::of(&bytes), bytes.len() as u64);
            let part = tried(|| copier.store.put_part(to, upload, number, bytes.clone(), checksum)).await?;
            copier.meter.moved(size);
            Ok((part, checksum))
        })
        .try_buffered(copier.parallel)
        .try_collect::<Vec<_>>()
        .await?;
    complete(copier, to, upload, sent).await
}

/// A whole part; fewer bytes only at the end.
async fn filled(input: &mut tokio::io::Stdin) -> Result<Bytes, Failure> {
    let mut bytes = Vec::new();
    let mut input = input.take(STREAM_PART_BYTES as u64);
    input.read_to_end(&mut bytes).await.map_err(Failure::io("cannot read standard input"))?;
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_has_more_parts_than_there_may_be() {
        assert_eq!(part_bytes(9 << 20), PART_BYTES);
        for size in [PART_BYTES * PARTS_MAX, PART_BYTES * PARTS_MAX + 1, 5 << 40] {
            let part = part_bytes(size);
            assert!(size.div_ceil(part) <= PARTS_MAX && part.is_multiple_of(MIB), "{size}: {part}");
        }
    }
}
