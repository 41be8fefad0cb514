//! `corten version`.

use super::output;
use crate::failure::Failure;

/// Say which version this is
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args) -> Result<(), Failure> {
    output::print(concat!("corten ", env!("CARGO_PKG_VERSION"), "\n"))
}
