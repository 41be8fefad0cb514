//! `corten token`: credentials of users. The secret is made here and shown once; the cloud keeps its digest.

use std::time::Duration;

use client::ListParams;
use identity::Token;
use model::identity::{AccessKey, AccessKeySpec};
use model::{ObjectMeta, Timestamp};
use ring::rand::{SecureRandom, SystemRandom};

use super::api::Cloud;
use super::get::Listing;
use super::output::{self, Form};
use super::{clock, kind, parse, rm};
use crate::failure::Failure;

/// Make, list and revoke tokens of users
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a token and print it, this once
    Create {
        #[arg(long, value_parser = parse::name)]
        user: String,
        /// After this time it is refused, as in 30d; never when not given
        #[arg(long, value_name = "TIME", value_parser = parse::duration)]
        expires: Option<Duration>,
        /// What it is for
        #[arg(long, default_value = "", hide_default_value = true)]
        description: String,
    },
    /// Show the tokens' names and users
    List,
    /// Revoke tokens
    Rm {
        #[arg(required = true, value_name = "NAME", value_parser = parse::name)]
        names: Vec<String>,
    },
}

pub(crate) async fn run(cloud: Cloud, args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Create { user, expires, description } => {
            let token = make(&cloud, &user, expires.map(clock::after), &description).await?;
            output::print(&format!("{}\n", token.expose()))
        }
        Command::List => {
            let params = ListParams::default();
            let listing = Listing { cloud: &cloud, form: Form::Table, all_projects: false, params };
            listing.all(&[kind::of::<AccessKey>()]).await
        }
        Command::Rm { names } => rm::run(cloud, rm::Args::of("accesskey", &names)).await,
    }
}

/// A new token of a user, known to the cloud by its digest.
pub(crate) async fn make(
    cloud: &Cloud,
    user: &str,
    expires: Option<Timestamp>,
    description: &str,
) -> Result<Token, Failure> {
    let mut random = [0; 32];
    SystemRandom::new()
        .fill(&mut random)
        .map_err(|_| Failure::failed("the system has no random numbers to give"))?;
    let token = Token::generate(&random);
    let spec = AccessKeySpec {
        user: user.into(),
        token_sha256: token.digest().to_hex(),
        expires,
        description: description.into(),
        ..AccessKeySpec::default()
    };
    let meta = ObjectMeta { generate_name: format!("{user}-"), ..ObjectMeta::default() };
    cloud.client.all::<AccessKey>().create(&AccessKey::new(meta, spec)).await?;
    Ok(token)
}
