//! `corten up`: starts the cloud on this machine.

use std::net::{IpAddr, SocketAddr};

use super::cloud::Global;
use crate::daemon::{self, UpOptions};
use crate::failure::Failure;

/// Start a cloud on this machine
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the API listens
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "CORTEN_LISTEN",
        default_value = "127.0.0.1:7443",
        hide_env_values = true
    )]
    listen: SocketAddr,
    /// This machine's address towards other hosts, for networks that span them; the one of --listen when left out
    #[arg(long, value_name = "ADDR", env = "CORTEN_UNDERLAY", hide_env_values = true)]
    underlay: Option<IpAddr>,
    /// Return when the cloud is ready, and leave it running
    #[arg(long)]
    detach: bool,
}

pub(crate) fn run(global: &Global, args: &Args) -> Result<(), Failure> {
    daemon::up(UpOptions {
        data: global.data.clone(),
        listen: args.listen,
        underlay: args.underlay,
        detach: args.detach,
    })
}
