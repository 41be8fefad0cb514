//! Backups as files: read whole and compared with their digests, written down, and brought in.

use std::path::Path;

use backup::CHUNK;
use backup::stream::{Frame, Receiver};
use client::DeleteOptions;
use futures::TryStreamExt;
use http::Method;
use http_body_util::BodyDataStream;
use model::Bytes;
use model::storage::VolumeBackup;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio_util::io::StreamReader;

use super::{output, say};
use crate::cli::api::Cloud;
use crate::cli::kind::{self, Target};
use crate::cli::progress::{Progress, transferred};
use crate::cli::transfer;
use crate::failure::{Exit, Failure};

/// How many bytes are read at once.
const BUFFER: usize = 256 << 10;

pub(super) async fn verify(cloud: &Cloud, name: &str) -> Result<(), Failure> {
    let target = Target::new(kind::of::<VolumeBackup>(), name)?;
    let body = BufReader::with_capacity(BUFFER, open(cloud, target).await?);
    let (size, chunks) = read(body, Progress::new(cloud.global.quiet)).await?;
    if cloud.global.quiet {
        return Ok(());
    }
    let bytes = Bytes(chunks * CHUNK as u64);
    output::print(&format!("{} verified: {bytes} of a disk of {}\n", target.full_name(), Bytes(size)))
}

/// Reads a stream to its end, whatever is in it.
async fn read(from: impl AsyncBufRead + Unpin, mut progress: Progress) -> Result<(u64, u64), Failure> {
    let wrong = |e: backup::Error| Failure::failed(e.to_string());
    let mut from = Receiver::begin(from).await.map_err(wrong)?;
    let size = from.head().size;
    let (mut data, mut chunks) = (Vec::new(), 0);
    loop {
        match from.next(&mut data).await.map_err(wrong)? {
            Frame::Data(index, _) => {
                chunks += 1;
                progress.say(&format!("verifying: {}", transferred(index * CHUNK as u64, size)));
            }
            Frame::Zeros { .. } => {}
            Frame::End => return Ok((size, chunks)),
        }
    }
}

pub(super) async fn export(cloud: &Cloud, name: &str, path: &Path) -> Result<(), Failure> {
    let target = Target::new(kind::of::<VolumeBackup>(), name)?;
    if cloud.api::<VolumeBackup>().get(name).await?.spec.is_encrypted() {
        let why = format!("backup {name:?} is of an encrypted volume, whose key no other cloud has");
        return Err(Failure::failed(why).hint("make a volume of it and copy what is in it"));
    }
    let cannot = || Failure::io(format!("cannot write {}", path.display()));
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".part");
    let mut body = open(cloud, target).await?;
    let written = async {
        let mut file = tokio::fs::File::create(&unfinished).await.map_err(cannot())?;
        let (mut buffer, mut done) = (vec![0; BUFFER], 0);
        let mut progress = Progress::new(cloud.global.quiet);
        loop {
            let n = body.read(&mut buffer).await.map_err(cannot())?;
            if n == 0 {
                break;
            }
            done += n as u64;
            file.write_all(&buffer[..n]).await.map_err(cannot())?;
            progress.say(&format!("exporting: {}", transferred(done, 0)));
        }
        file.sync_all().await.map_err(cannot())?;
        let file = tokio::fs::File::open(&unfinished).await.map_err(cannot())?;
        // What was damaged says so at its end.
        read(BufReader::with_capacity(BUFFER, file), Progress::new(true)).await?;
        tokio::fs::rename(&unfinished, path).await.map_err(cannot())
    };
    let written = written.await;
    if written.is_err() {
        let _ = tokio::fs::remove_file(&unfinished).await;
    }
    written?;
    say(cloud, target, "exported")
}

pub(super) async fn import(cloud: &Cloud, backup: &VolumeBackup, path: &Path) -> Result<(), Failure> {
    let cannot = || Failure::io(format!("cannot read {}", path.display()));
    let file = tokio::fs::File::open(path).await.map_err(cannot())?;
    let length = file.metadata().await.map_err(cannot())?.len();
    let api = cloud.api::<VolumeBackup>();
    let made = api.create(backup).await?;
    let name = made.metadata.name.as_str();
    let target = Target::new(kind::of::<VolumeBackup>(), name)?;
    let request = http::Request::builder()
        .method(Method::PUT)
        .uri(cloud.path_below(target, "content"))
        .body(transfer::body(Box::new(file), length, "backup", cloud.global.quiet))
        .map_err(|e| Failure::failed(format!("cannot import: {e}")))?;
    let sent = tokio::select! {
        sent = cloud.https.upload(request) => sent.map(drop).map_err(Failure::from),
        _ = tokio::signal::ctrl_c() => Err(Failure::failed("interrupted")),
    };
    if let Err(failure) = sent {
        let only_this = DeleteOptions { uid: Some(made.metadata.uid.clone()), ..DeleteOptions::default() };
        // The first error is the one that matters; what is left shows itself as a failed backup.
        let _ = api.delete(name, &only_this).await;
        // What is wrong with the bytes is not wrong with the command line.
        let exit = if failure.exit == Exit::Usage { Exit::Failed } else { failure.exit };
        return Err(Failure { exit, ..failure });
    }
    say(cloud, target, "imported")
}

async fn open(cloud: &Cloud, target: Target<'_>) -> Result<impl AsyncRead + Unpin + use<>, Failure> {
    let request = http::Request::get(cloud.path_below(target, "content"))
        .body(client::https::empty())
        .map_err(|e| Failure::failed(format!("cannot read a backup: {e}")))?;
    let body = cloud.https.upload(request).await?.into_body();
    Ok(StreamReader::new(BodyDataStream::new(body).map_err(std::io::Error::other)))
}
