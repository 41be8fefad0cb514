//! Chores of the repository, run as `cargo xtask CHORE`. Owns the command line only.

mod architecture;
mod code;
mod layers;
mod licences;
mod ratchet;
mod sources;
mod tidy;

use std::process::{Command, ExitCode};

const USAGE: &str = "\
usage: cargo xtask CHORE

  tidy             check the rules of the house; one line per breach
  tidy --lower     the same, after lowering xtask/ratchet.txt to what is really there
  sim --seed N     simulate a whole cloud on virtual time, with faults; see sim --help for more
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["tidy"] => report(tidy::run(&tidy::workspace_root())),
        ["tidy", "--lower"] => {
            let root = tidy::workspace_root();
            report(tidy::lower_ratchet(&root).and_then(|()| tidy::run(&root)))
        }
        ["sim", ..] => simulate(&args[1..]),
        _ => {
            eprint!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// The simulation is a program of its own, so that chores need none of what it is made of.
fn simulate(args: &[&str]) -> ExitCode {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let run = Command::new(cargo)
        .args(["run", "--quiet", "--release", "--package", "sim", "--"])
        .args(args)
        .current_dir(tidy::workspace_root())
        .status();
    match run {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("sim: cargo cannot be run: {e}");
            ExitCode::FAILURE
        }
    }
}

fn report(outcome: Result<Vec<tidy::Breach>, tidy::TidyError>) -> ExitCode {
    match outcome {
        Ok(breaches) if breaches.is_empty() => {
            println!("tidy: nothing to complain about");
            ExitCode::SUCCESS
        }
        Ok(breaches) => {
            for breach in &breaches {
                println!("{breach}");
            }
            println!("tidy: {} breaches", breaches.len());
            ExitCode::FAILURE
        }
        Err(e) => {
            eprintln!("tidy: {e}");
            ExitCode::FAILURE
        }
    }
}
