//! `corten cp`: files to objects, objects to files, and objects to objects. What moves is told to be what was sent by a
//! checksum of all of it, and only so many parts are in memory at once.

mod download;
mod folder;
mod meter;
mod remember;
mod upload;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::api::Cloud;
use super::objects::{Address, Place, Store};
use super::output;
use crate::failure::{Exit, Failure};
use meter::Meter;

/// Bytes that move as one: bigger files move in parts of so many.
const PART_BYTES: u64 = 8 << 20;
/// How often a part is tried.
const TRIES: u32 = 4;
/// How long the second try waits; each after it twice as long as the one before.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Copy files to objects and back: s3://BUCKET/KEY names an object, - the standard input or output
///
/// An upload that was interrupted goes on where it stopped when the same command is given again.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What is copied
    from: String,
    /// Where it is copied to; in a folder, or below a key that ends with a slash, it keeps its name
    to: String,
    /// Copy what lies in a folder, or below a key
    #[arg(short, long)]
    recursive: bool,
    /// How many parts or files move at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=16))]
    parallel: u8,
    /// What objects are said to be, as in text/html
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
}

/// What all copies of one command share. Cheap to clone.
#[derive(Debug, Clone)]
struct Copier {
    cloud: Cloud,
    store: Store,
    meter: Meter,
    content_type: Option<String>,
    /// One for each part that may be in memory.
    parts: Arc<Semaphore>,
    parallel: usize,
}

pub(crate) async fn run(cloud: Cloud, args: Args) -> Result<(), Failure> {
    let (from, to) = (Place::parse(&args.from)?, Place::parse(&args.to)?);
    let is_object = |place: &Place| matches!(place, Place::Object(_));
    if !is_object(&from) && !is_object(&to) {
        return Err(Failure::usage("neither of them is an object").hint("name objects as s3://BUCKET/KEY"));
    }
    let parallel = usize::from(args.parallel);
    let copier = Copier {
        store: Store::open(&cloud).await?,
        meter: Meter::new(cloud.global.quiet),
        content_type: args.content_type,
        parts: Arc::new(Semaphore::new(parallel)),
        parallel,
        cloud,
    };
    let said =
        if args.recursive { folder::copy(&copier, &from, &to).await } else { copier.one(&from, &to).await };
    copier.meter.end();
    let said = said?;
    if copier.cloud.global.quiet || to == Place::Stream { Ok(()) } else { output::print(&said) }
}

impl Copier {
    /// Copies one file or object; answers what was done.
    async fn one(&self, from: &Place, to: &Place) -> Result<String, Failure> {
        let what = match (from, to) {
            (Place::File(from), Place::Object(to)) => {
                let to = named(to, || file_name(from))?;
                let file = upload::File::open(from).await?;
                self.meter.expect(&to.to_string(), file.size);
                upload::file(self, file, &to).await?;
                to.to_string()
            }
            (Place::Stream, Place::Object(to)) => {
                let to = named(to, || None)?;
                self.meter.expect(&to.to_string(), 0);
                upload::stream(self, &to).await?;
                to.to_string()
            }
            (Place::Object(from), Place::File(to)) => {
                let to = file_of(from, to)?;
                let head = self.store.head(from).await?;
                self.meter.expect(&from.to_string(), head.size);
                download::file(self, from, &head, &to).await?;
                to.display().to_string()
            }
            (Place::Object(from), Place::Stream) => {
                let head = self.store.head(from).await?;
                self.meter.expect(&from.to_string(), head.size);
                download::stream(self, from, &head, tokio::io::stdout()).await?;
                return Ok(String::new());
            }
            (Place::Object(from), Place::Object(to)) => {
                let to = named(to, || from.key.rsplit('/').next().map(str::to_owned))?;
                self.store.copy(from, &to).await?;
                to.to_string()
            }
            _ => return Err(Failure::usage("neither of them is an object")),
        };
        Ok(format!("{what} copied\n"))
    }

    /// Room for one part.
    async fn room(&self) -> Result<SemaphorePermit<'_>, Failure> {
        self.parts.acquire().await.map_err(|_| Failure::failed("the command ends"))
    }
}

/// Tries again what a moment's fault may have stopped.
async fn tried<T, F: Future<Output = Result<T, Failure>>>(attempt: impl Fn() -> F) -> Result<T, Failure> {
    let mut wait = AGAIN_AFTER;
    for _ in 1..TRIES {
        match attempt().await {
            Err(failure) if failure.exit == Exit::Failed => {}
            result => return result,
        }
        tokio::time::sleep(wait).await;
        wait *= 2;
    }
    attempt().await
}

/// An object; in a folder it is called as what it is copied from.
fn named(to: &Address, name: impl FnOnce() -> Option<String>) -> Result<Address, Failure> {
    if !to.is_folder() {
        return Ok(to.clone());
    }
    let name = name().filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Failure::usage(format!("{to} is no object: say its whole key")))?;
    Ok(to.with_key(format!("{}{name}", to.key)))
}

fn file_name(path: &Path) -> Option<String> {
    path.file_name().and_then(|name| name.to_str()).map(str::to_owned)
}

/// A file; in a folder it is called as the object.
fn file_of(from: &Address, to: &Path) -> Result<PathBuf, Failure> {
    if from.is_folder() {
        return Err(Failure::usage(format!("{from} is no object"))
            .hint("add --recursive to copy everything below it"));
    }
    if !to.is_dir() {
        return Ok(to.to_owned());
    }
    let name = from.key.rsplit('/').next().and_then(folder::inside);
    let name = name.ok_or_else(|| Failure::usage(format!("{from} does not say what to call the file")))?;
    Ok(to.join(name))
}
