//! `corten join`: makes this machine a host of a cloud.

use std::net::IpAddr;

use super::cloud::Global;
use super::parse;
use crate::daemon;
use crate::failure::Failure;

/// Make this machine a host of another cloud
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The cloud's address, https://HOST:PORT
    url: String,
    /// A token of `corten host token`; it works once
    token: String,
    /// The host's name; this machine's own when not given
    #[arg(long, value_parser = parse::name)]
    name: Option<String>,
    /// This machine's address towards other hosts, for networks that span them; the one towards the cloud when left out
    #[arg(long, value_name = "ADDR", env = "CORTEN_UNDERLAY", hide_env_values = true)]
    underlay: Option<IpAddr>,
}

pub(crate) fn run(global: &Global, args: Args) -> Result<(), Failure> {
    daemon::join(&args.url, &args.token, args.name, args.underlay, global.data.clone())
}
