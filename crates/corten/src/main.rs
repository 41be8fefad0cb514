//! The one binary: reads the command line and ends with the exit code its contract promises.

mod cli;
mod daemon;
mod failure;

use std::process::ExitCode;

use clap::Parser;

/// Objects are many small allocations that live long and end in no order, on which glibc's allocator spends a
/// quarter of a busy server's time (measured by `bench/run schedule`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            if !failure.message.is_empty() {
                eprintln!("{failure}");
            }
            ExitCode::from(failure.exit as u8)
        }
    }
}
