//! `corten down`: stops the cloud on this machine.

use super::cloud::Global;
use crate::daemon;
use crate::failure::Failure;

/// Stop the cloud on this machine; guests keep running
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also remove every guest and all data
    #[arg(long)]
    purge: bool,
}

pub(crate) fn run(global: &Global, args: &Args) -> Result<(), Failure> {
    daemon::down(&global.data, args.purge)
}
