//! `corten host`: the machines of the cloud.

use std::time::Duration;

use client::ListParams;
use model::topology::Host;
use serde_json::json;

use super::api::Cloud;
use super::get::Listing;
use super::kind::{self, Target};
use super::output::{self, Form};
use super::{clock, parse, token};
use crate::failure::Failure;

/// List hosts, let new ones join, keep instances away from them
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show the hosts
    List {
        /// Form of the output
        #[arg(short, long, value_enum, default_value_t)]
        output: Form,
    },
    /// Print a token that lets one machine join
    Token {
        /// After this time it is refused
        #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse::duration)]
        expires: Duration,
    },
    /// Place no new instances on hosts
    Cordon {
        #[arg(required = true, value_name = "NAME", value_parser = parse::name)]
        names: Vec<String>,
    },
    /// Place instances on hosts again
    Uncordon {
        #[arg(required = true, value_name = "NAME", value_parser = parse::name)]
        names: Vec<String>,
    },
}

pub(crate) async fn run(cloud: Cloud, args: Args) -> Result<(), Failure> {
    match args.command {
        Command::List { output: form } => {
            let listing = Listing { cloud: &cloud, form, all_projects: false, params: ListParams::default() };
            listing.all(&[kind::of::<Host>()]).await
        }
        Command::Token { expires } => join_token(&cloud, expires).await,
        Command::Cordon { names } => cordon(&cloud, &names, true, "cordoned").await,
        Command::Uncordon { names } => cordon(&cloud, &names, false, "uncordoned").await,
    }
}

async fn join_token(cloud: &Cloud, expires: Duration) -> Result<(), Failure> {
    let token =
        token::make(cloud, server::JOIN_USER, Some(clock::after(expires)), "lets one host join").await?;
    if !cloud.global.quiet {
        eprintln!("on the new host, once: corten join {} TOKEN", cloud.endpoint);
    }
    // With it the new host knows the cloud's authority, which it has never seen, from an impostor.
    let ca = std::fs::read_to_string(&cloud.ca_file).map_err(Failure::io(cloud.ca_file.display()))?;
    let fingerprint = client::pin::fingerprint(&ca)
        .ok_or_else(|| Failure::failed(format!("{} holds no certificate", cloud.ca_file.display())))?;
    output::print(&format!("{}:{fingerprint}\n", token.expose()))
}

async fn cordon(cloud: &Cloud, names: &[String], cordoned: bool, done: &str) -> Result<(), Failure> {
    for name in names {
        let target = Target::new(kind::of::<Host>(), name)?;
        cloud.merge(target, &json!({ "spec": { "cordoned": cordoned } })).await?;
        if !cloud.global.quiet {
            output::print(&format!("{} {done}\n", target.full_name()))?;
        }
    }
    Ok(())
}
