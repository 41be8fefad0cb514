//! `corten env`: the cloud's address and credentials as exports for a shell.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::cloud::{Global, Identity, Place};
use super::{kubeconfig, output};
use crate::failure::Failure;

/// Print exports for a shell: eval "$(corten env)"
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// For which client
    #[arg(value_enum, default_value_t)]
    client: Program,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Program {
    #[default]
    Corten,
    Aws,
    Kubectl,
}

impl Args {
    /// AWS's clients need a key of the cloud, so the cloud is asked for one.
    pub(crate) fn is_for_aws(&self) -> bool {
        matches!(self.client, Program::Aws)
    }
}

pub(crate) fn run(global: &Global, args: &Args) -> Result<(), Failure> {
    let place = Place::find(global)?;
    match args.client {
        Program::Corten => output::print(&corten(&place, &absolute(&global.data))),
        Program::Kubectl => {
            let file = absolute(&kubeconfig::write(global, &place)?);
            output::print(&export("KUBECONFIG", &file.to_string_lossy()))
        }
        Program::Aws => Err(Failure::failed("AWS's exports need the cloud")),
    }
}

fn corten(place: &Place, data: &Path) -> String {
    let mut out = export("CORTEN_ENDPOINT", &place.endpoint);
    out += &export("CORTEN_CA", &absolute(&place.ca).to_string_lossy());
    match &place.identity {
        Identity::Token(token) => out += &export("CORTEN_TOKEN", token),
        Identity::Files { certificate, key } => {
            out += &export("CORTEN_CLIENT_CERT", &absolute(certificate).to_string_lossy());
            out += &export("CORTEN_CLIENT_KEY", &absolute(key).to_string_lossy());
        }
        Identity::None => {}
    }
    out + &export("CORTEN_DATA", &data.to_string_lossy())
}

/// The shell that reads it may stand elsewhere.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

pub(crate) fn export(name: &str, value: &str) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(out, "export {name}={}", quoted(value));
    out
}

/// For a POSIX shell: everything between single quotes is itself.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/:._-[]".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_safe_for_a_shell() {
        let check = |value, expected| assert_eq!(quoted(value), expected);
        check("https://[::1]:7443", "https://[::1]:7443");
        check("/tmp/my cloud", "'/tmp/my cloud'");
        check("$(reboot)", "'$(reboot)'");
        check("it's", r"'it'\''s'");
        check("", "''");
    }

    #[test]
    fn exports_what_the_command_reads() {
        let place = Place {
            endpoint: "https://127.0.0.1:1".into(),
            ca: "/d/ca.crt".into(),
            identity: Identity::Files { certificate: "/d/admin.crt".into(), key: "/d/admin.key".into() },
        };
        assert_eq!(
            corten(&place, Path::new("/d")),
            "export CORTEN_ENDPOINT=https://127.0.0.1:1\nexport CORTEN_CA=/d/ca.crt\n\
             export CORTEN_CLIENT_CERT=/d/admin.crt\nexport CORTEN_CLIENT_KEY=/d/admin.key\n\
             export CORTEN_DATA=/d\n"
        );
    }
}
