//! Sending an image's files: the object first, then each file as one stream. When that fails or is interrupted,
//! the object is removed again, so that the same command can be repeated.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use client::DeleteOptions;
use http::Method;
use model::compute::{ArtifactRole, Image};
use tokio::io::AsyncRead;

use crate::cli::api::Cloud;
use crate::cli::kind::{self, Target};
use crate::cli::output;
use crate::cli::transfer::{self, Reader};
use crate::failure::{Exit, Failure};

/// One file of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) role: ArtifactRole,
    pub(super) path: PathBuf,
}

/// Makes the image out of files; the last part makes it complete.
pub(super) async fn create(cloud: &Cloud, image: &Image, parts: &[Part]) -> Result<(), Failure> {
    let api = cloud.api::<Image>();
    let made = api.create(image).await?;
    let name = made.metadata.name.as_str();
    let sent = async {
        for part in parts {
            send(cloud, name, part).await?;
        }
        Ok(())
    };
    let result = tokio::select! {
        result = sent => result,
        _ = tokio::signal::ctrl_c() => Err(Failure::failed("interrupted")),
    };
    if let Err(failure) = result {
        let only_this = DeleteOptions { uid: Some(made.metadata.uid.clone()), ..DeleteOptions::default() };
        // The first error is the one that matters; what is left shows itself as a failed image.
        let _ = api.delete(name, &only_this).await;
        return Err(failure);
    }
    if cloud.global.quiet {
        return Ok(());
    }
    output::print(&format!("{} imported\n", kind::full_name(kind::of::<Image>(), name)))
}

async fn send(cloud: &Cloud, name: &str, part: &Part) -> Result<(), Failure> {
    let target = Target::new(kind::of::<Image>(), name)?;
    let uri = format!("{}?role={}", cloud.path_below(target, "upload"), part.role.as_str());
    let (reader, total) = open(&part.path).await?;
    let request = http::Request::builder()
        .method(Method::PUT)
        .uri(uri)
        .body(transfer::body(reader, total, part.role.as_str(), cloud.global.quiet))
        .map_err(|e| Failure::failed(format!("cannot upload: {e}")))?;
    match cloud.https.upload(request).await {
        Ok(_) => Ok(()),
        // What is wrong with the bytes is not wrong with the command line.
        Err(e) => {
            let failure = Failure::from(e);
            let exit = if failure.exit == Exit::Usage { Exit::Failed } else { failure.exit };
            Err(Failure { exit, ..failure })
        }
    }
}

/// A file, or a folder (an OCI layout) as an archive; with the number of bytes to come, when it is known.
async fn open(path: &Path) -> Result<(Reader, u64), Failure> {
    let cannot = || Failure::io(format!("cannot read {}", path.display()));
    let meta = tokio::fs::metadata(path).await.map_err(cannot())?;
    if !meta.is_dir() {
        let file = tokio::fs::File::open(path).await.map_err(cannot())?;
        return Ok((Box::new(file), meta.len()));
    }
    let mut tar = tokio::process::Command::new("tar")
        .arg("-C")
        .arg(path)
        .args(["-cf", "-", "."])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(Failure::io("cannot run tar"))?;
    let stdout = tar.stdout.take().ok_or_else(|| Failure::failed("tar has no output"))?;
    Ok((Box::new(Archive { stdout, _tar: tar }), 0))
}

/// An archive as it is written; the program that writes it ends with it.
struct Archive {
    stdout: tokio::process::ChildStdout,
    _tar: tokio::process::Child,
}

impl AsyncRead for Archive {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stdout).poll_read(context, buffer)
    }
}
