//! Measures Corten beside its peers and floors: one module per measurement, one table for all. Owns no
//! measurement itself. Reached through `bench/run`, which builds what is measured.

mod api;
mod aws;
mod boot;
mod cloud;
mod container;
mod decide;
mod docker;
mod footprint;
mod guest_io;
mod line;
mod list;
mod load;
mod network;
mod objects;
mod placement;
mod plane;
mod report;
mod restart;
mod schedule;
mod signature;
mod storage;
mod store;
mod writes;

use std::path::Path;
use std::process::ExitCode;

use report::{Row, Section};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The same as the daemon's: part of what is measured runs in this process.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Every measurement, in the order of the table.
const NAMES: [&str; 15] = [
    "store",
    "api",
    "placement",
    "schedule",
    "list",
    "restart",
    "signature",
    "aws",
    "boot",
    "container",
    "footprint",
    "network",
    "storage",
    "guest-io",
    "objects",
];

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((first, rest)) = arguments.split_first()
        && first == "store-child"
    {
        return match store::child(rest).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => fail(&e.to_string()),
        };
    }
    if let Some(unknown) = arguments.iter().find(|name| !NAMES.contains(&name.as_str())) {
        return fail(&format!("there is no measurement {unknown:?}: choose from {}", NAMES.join(", ")));
    }
    let mut sections = Vec::new();
    for name in NAMES.into_iter().filter(|name| arguments.is_empty() || arguments.iter().any(|a| a == name)) {
        eprintln!("measuring {name} ...");
        let rows = measure(name).await.unwrap_or_else(|e| vec![Row::failed(name, &e.to_string())]);
        let section = Section { name, rows };
        println!("{}", section.table());
        sections.push(section);
    }
    match report::rewrite(Path::new("bench/RESULTS.md"), &NAMES, &sections) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => fail(&format!("bench/RESULTS.md cannot be written: {e}")),
    }
}

async fn measure(name: &str) -> Result<Vec<Row>> {
    match name {
        "store" => writes::measure().await,
        "api" => api::measure().await,
        "schedule" => schedule::measure().await,
        "list" => list::measure().await,
        "restart" => restart::measure().await,
        "placement" => decide::measure().await,
        "signature" => signature::measure().await,
        "aws" => aws::measure().await,
        "boot" => boot::measure().await,
        "container" => container::measure().await,
        "footprint" => footprint::measure().await,
        "network" => network::measure().await,
        "storage" => storage::measure().await,
        "guest-io" => guest_io::measure().await,
        "objects" => objects::measure().await,
        _ => Err(format!("{name} is in the list of names, but nothing measures it").into()),
    }
}

fn fail(message: &str) -> ExitCode {
    eprintln!("{message}");
    ExitCode::FAILURE
}
