//! `corten bucket`: where objects lie. Objects themselves are copied with `corten cp` and deleted with `corten rm`.

pub(crate) mod erase;
mod ls;

use client::ListParams;
use model::ObjectMeta;
use model::storage::{Bucket, BucketSpec, BucketVersioning, ObjectLock};
use serde_json::json;

use super::api::{Cloud, write_options};
use super::get::Listing;
use super::kind::{self, Target};
use super::objects::{Address, Store};
use super::output::{self, Form};
use super::{parse, show};
use crate::failure::{Failure, Failures};

/// How often a bucket is emptied before it is given up: others may go on writing.
const EMPTIED_MAX: u32 = 3;

/// Make places for objects, and see what lies in them
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a bucket; its name is one bucket's in the whole cloud
    Create {
        #[arg(value_parser = name)]
        name: String,
        /// Keep what is written over or deleted, as older versions
        #[arg(long)]
        versioning: bool,
        /// Let versions be locked, which keeps them from being deleted; with it, versions are kept
        #[arg(long)]
        object_lock: bool,
    },
    /// List buckets, or what lies in one
    #[command(alias = "list")]
    Ls(ls::Args),
    /// Show a bucket in full, and how much lies in it
    Show {
        #[arg(value_parser = name)]
        name: String,
    },
    /// Keep older versions from now on, or no longer; those that there are stay
    Versioning {
        #[arg(value_parser = name)]
        name: String,
        #[arg(value_parser = parse::on_off(), action = clap::ArgAction::Set)]
        on: bool,
    },
    /// Delete buckets
    #[command(alias = "delete")]
    Rm {
        #[arg(required = true, value_name = "NAME", value_parser = name)]
        names: Vec<String>,
        /// Delete everything in them first, with all its versions
        #[arg(long)]
        force: bool,
    },
}

fn name(text: &str) -> Result<String, String> {
    if model::storage::is_bucket_name(text) {
        return Ok(text.to_owned());
    }
    Err("a bucket's name has 3 to 63 of a-z, 0-9, - and .".into())
}

pub(crate) async fn run(cloud: Cloud, args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Create { name, versioning, object_lock } => {
            let versioning =
                if versioning || object_lock { BucketVersioning::Enabled } else { BucketVersioning::Off };
            let object_lock = object_lock.then(ObjectLock::default);
            let spec = BucketSpec { versioning, object_lock, ..BucketSpec::default() };
            let bucket = Bucket::new(ObjectMeta::in_project(cloud.project(), &name), spec);
            cloud.api::<Bucket>().with(write_options(false)).create(&bucket).await?;
            output::created(&cloud, kind::of::<Bucket>(), &name)
        }
        Command::Ls(args) => {
            if let Some(below) = args.address()? {
                return ls::objects(&Store::open(&cloud).await?, &below, args.recursive).await;
            }
            let (form, params) = (Form::Table, ListParams::default());
            let listing = Listing { cloud: &cloud, form, all_projects: false, params };
            listing.all(&[kind::of::<Bucket>()]).await
        }
        Command::Show { name } => {
            let word = format!("bucket/{name}");
            show::run(cloud.clone(), show::Args::of(word)).await?;
            ls::contents(&Store::open(&cloud).await?, &Address { bucket: name, key: String::new() }).await
        }
        Command::Versioning { name, on } => {
            let versioning = if on { BucketVersioning::Enabled } else { BucketVersioning::Suspended };
            let target = Target::new(kind::of::<Bucket>(), &name)?;
            cloud.merge(target, &json!({ "spec": { "versioning": versioning } })).await?;
            if cloud.global.quiet {
                Ok(())
            } else {
                output::print(&format!("{} changed\n", target.full_name()))
            }
        }
        Command::Rm { names, force } => {
            let store = Store::open(&cloud).await?;
            let mut failures = Failures::default();
            for name in names {
                match remove(&store, &name, force).await {
                    Ok(()) if cloud.global.quiet => {}
                    Ok(()) => {
                        let target = Target::new(kind::of::<Bucket>(), &name)?;
                        output::print(&format!("{} deleted\n", target.full_name()))?;
                    }
                    Err(failure) => failures.note(failure),
                }
            }
            failures.end()
        }
    }
}

/// Removes a bucket. S3's own deletion refuses one that is not empty, where the API's would wait until it is.
async fn remove(store: &Store, name: &str, force: bool) -> Result<(), Failure> {
    let bucket = Address { bucket: name.to_owned(), key: String::new() };
    let is_full = |failure: &Failure| failure.message.contains("(BucketNotEmpty)");
    let mut emptied = 0;
    loop {
        match store.delete(&bucket).await {
            Err(failure) if is_full(&failure) && !force => {
                return Err(failure.hint("--force deletes everything in it first"));
            }
            Err(failure) if is_full(&failure) && emptied < EMPTIED_MAX => {
                erase::all_versions(store, &bucket).await?;
                emptied += 1;
            }
            result => return result,
        }
    }
}
