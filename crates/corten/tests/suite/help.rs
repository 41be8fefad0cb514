//! The help of every command, held against `contracts/cli-help.txt`: a difference there is a review of the
//! command's contract. `UPDATE_CONTRACTS=1` writes the file anew.

use std::fmt::Write;
use std::path::Path;

use crate::program::{run, text};

#[test]
fn the_help_is_as_agreed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contracts/cli-help.txt");
    let found = all_help();
    if std::env::var_os("UPDATE_CONTRACTS").is_some_and(|value| !value.is_empty()) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &found).unwrap();
    }
    let agreed = std::fs::read_to_string(&path).unwrap_or_default();
    let difference = agreed.lines().zip(found.lines()).position(|(a, b)| a != b);
    assert!(
        agreed == found,
        "the help differs from contracts/cli-help.txt, first at line {:?}; UPDATE_CONTRACTS=1 cargo test -p corten \
         writes it anew",
        difference.map(|line| line + 1)
    );
}

#[test]
fn help_lines_are_short() {
    for line in all_help().lines() {
        assert!(line.chars().count() <= 110, "too long: {line}");
    }
}

/// The help of the program and of every command below it, without what all have in common.
fn all_help() -> String {
    let mut out = String::new();
    let mut waiting = vec![Vec::new()];
    while let Some(path) = waiting.pop() {
        let help = help_of(&path);
        let title =
            std::iter::once("corten").chain(path.iter().map(String::as_str)).collect::<Vec<_>>().join(" ");
        let shown = if path.is_empty() { help.as_str() } else { without_global_options(&help) };
        writeln!(out, "=== {title}\n\n{}\n", shown.trim_end()).unwrap();
        for below in commands(&help).into_iter().rev() {
            waiting.push(path.iter().cloned().chain([below]).collect());
        }
    }
    out
}

fn help_of(path: &[String]) -> String {
    let mut arguments: Vec<&str> = path.iter().map(String::as_str).collect();
    arguments.push("--help");
    let output = run(&arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn without_global_options(help: &str) -> &str {
    help.split("\nGlobal options:").next().unwrap_or(help)
}

/// The names under "Commands:".
fn commands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let entries = lines.take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
    entries.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}
