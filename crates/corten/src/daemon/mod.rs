//! The daemon: one process that is server, controllers and agent of a one-host cloud, or only the agent of a
//! host that joined one. The only place that names a concrete store or driver.

mod aws;
mod backups;
mod blobs;
mod credentials;
mod detach;
mod drivers;
mod endpoints;
mod gateway;
mod join;
mod layout;
mod logs;
mod remote;
mod s3;
mod serve;
mod stop;
mod underlay;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

pub(crate) use drivers::oci_runtime;
pub(crate) use join::join;
pub(crate) use layout::Layout;

/// What `corten up` was asked for.
#[derive(Debug, Clone)]
pub(crate) struct UpOptions {
    pub(crate) data: PathBuf,
    pub(crate) listen: SocketAddr,
    pub(crate) underlay: Option<IpAddr>,
    pub(crate) detach: bool,
}

/// Runs the cloud until told to stop, or starts it in the background and returns when it answers.
pub(crate) fn up(options: UpOptions) -> Result<(), Failure> {
    let layout = Layout::prepare(&options.data)?;
    if options.detach {
        return detach::up(&layout, options.listen, options.underlay);
    }
    logs::to_stderr();
    runtime()?.block_on(serve::serve(layout, options.listen, options.underlay))
}

/// Stops the cloud; with `purge` also ends every guest and removes the data.
pub(crate) fn down(data: &Path, purge: bool) -> Result<(), Failure> {
    stop::down(&Layout::at(data), purge)
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::failed(format!("the runtime cannot be started: {e}")))
}
