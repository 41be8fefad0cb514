//! Runs the built program with an environment of its own.

use std::process::{Command, Output};

/// Ready to run in an empty environment, so that no cloud of this machine is found.
pub(crate) fn corten(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corten"));
    command.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("COLUMNS", "100").stdin(std::process::Stdio::null());
    command
}

pub(crate) fn run(arguments: &[&str]) -> Output {
    corten(arguments).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
