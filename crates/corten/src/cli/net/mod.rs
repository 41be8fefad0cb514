//! `corten net`: what networks do: which rule stops a packet, what hosts have programmed, what ports have
//! carried and what flowed through them.

mod ask;
mod check;
mod flows;
mod objects;
mod top;
mod trace;

use super::api::Cloud;
use crate::failure::Failure;

/// The exit code of a packet that is stopped, and of hosts that differ from the plan. No failure has it.
const NO: u8 = 10;

/// See why packets pass or do not, and whether hosts have networks as they should be
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Trace(trace::Args),
    Check(check::Args),
    Top(top::Args),
    Flows(flows::Args),
}

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum Form {
    #[default]
    Text,
    Json,
}

pub(crate) async fn run(cloud: Cloud, args: Args) -> Result<u8, Failure> {
    match args.command {
        Command::Trace(args) => trace::run(cloud, args).await,
        Command::Check(args) => check::run(cloud, args).await,
        Command::Flows(args) => flows::run(cloud, args).await.map(|()| 0),
        Command::Top(_) => top::run(cloud).await.map(|()| 0),
    }
}

fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value);
    text.map(|text| text + "\n").map_err(|e| Failure::failed(format!("cannot print the answer: {e}")))
}
