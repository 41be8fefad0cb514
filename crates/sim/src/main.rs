//! The simulation's command line: seeds in, violations out.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use sim::{Options, run};

/// Long runs say how far they are after so many seeds.
const TELL_EVERY: u64 = 50;

/// Simulates whole clouds on virtual time, with faults.
#[derive(Debug, Parser)]
#[command(name = "sim")]
struct Args {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, one after another.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Virtual minutes of rough weather per seed.
    #[arg(long, default_value_t = 20)]
    minutes: u64,
    /// Guests have network cards, and users make networks.
    #[arg(long)]
    networks: bool,
    /// Go on after a violation, and count them.
    #[arg(long)]
    keep_going: bool,
    /// Print every commit.
    #[arg(long)]
    trace: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let began = Instant::now();
    let (mut hours, mut commits, mut violations) = (0.0, 0, 0);
    for done in 0..args.seeds {
        let seed = args.seed + done;
        if done > 0 && done % TELL_EVERY == 0 {
            eprintln!("{done} seeds, {violations} violations so far");
        }
        let rough = Duration::from_secs(args.minutes * 60);
        match run(Options { seed, rough, networked: args.networks, traced: args.trace }) {
            Ok(report) => {
                hours += report.virtual_time.as_secs_f64() / 3600.0;
                commits += report.commits;
                if args.seeds == 1 {
                    println!("seed {seed}: {:016x}, {} commits", report.hash, report.commits);
                    for (what, count) in &report.counts {
                        println!("  {count:7} {what}");
                    }
                }
            }
            Err(violation) => {
                violations += 1;
                println!(
                    "{violation}\nreplay with: cargo xtask sim --seed {seed} --minutes {}{}",
                    args.minutes,
                    if args.networks { " --networks" } else { "" }
                );
                if !args.keep_going {
                    return ExitCode::FAILURE;
                }
            }
        }
    }
    let wall = began.elapsed().as_secs_f64();
    println!(
        "{} seeds, {violations} violations, {commits} commits, {hours:.1} virtual hours in {wall:.1} s: {:.2} virtual hours per second",
        args.seeds,
        hours / wall
    );
    if violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
