//! Exit codes and messages of what goes wrong before any cloud is asked.

use std::io::Read;
use std::process::Stdio;

use crate::program::{corten, run, text};

/// The command ends with this code and says this on stderr, and nothing on stdout.
#[track_caller]
fn refused(arguments: &[&str], code: i32, says: &str) {
    let output = run(arguments);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    assert!(stderr.contains(says), "{arguments:?} says {stderr:?}, not {says:?}");
    assert_eq!(stdout, "", "{arguments:?}");
}

#[test]
fn wrong_usage_ends_with_2() {
    refused(&[], 2, "Usage: corten");
    refused(&["frobnicate"], 2, "unrecognized subcommand 'frobnicate'");
    refused(&["get"], 2, "required");
    refused(&["get", "instances", "-o", "xml"], 2, "xml");
    refused(&["run", "--name", "x"], 2, "--image");
    refused(&["run", "--image", "tiny", "--name", "Upper"], 2, "not a valid name");
    refused(&["run", "--image", "tiny", "--name", "../x"], 2, "not a valid name");
    refused(&["run", "--image", "tiny", "--name", &"a".repeat(254)], 2, "not a valid name");
    refused(&["run", "--image", "tiny", "--isolation", "glass"], 2, "--isolation");
    refused(&["run", "--image", "tiny", "--memory", "much"], 2, "not an amount of bytes");
    refused(&["run", "--image", "tiny", "--timeout", "soon"], 2, "is not a time");
    refused(&["run", "--image", "tiny", "--count", "0"], 2, "--count");
    refused(&["run", "--image", "tiny", "--user-data", "/no/such/file"], 2, "there is no such file");
    refused(&["logs", "image/tiny"], 2, "instances only");
    refused(&["exec", "web"], 2, "CMD");
    refused(&["ssh", "-oProxyCommand=x@web"], 2, "unexpected argument");
    refused(&["--project", "Not A Name", "get", "instances"], 2, "not a valid name");
    refused(&["up", "--listen", "here"], 2, "--listen");
    refused(&["env", "fortran"], 2, "fortran");
}

#[test]
fn without_a_cloud_says_how_to_start_one() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path().to_str().unwrap();
    for command in [&["get", "instances"][..], &["env"], &["status"], &["kubeconfig"], &["rm", "web"]] {
        let arguments: Vec<&str> = command.iter().copied().chain(["--data", data]).collect();
        refused(&arguments, 1, "error: no cloud found: start one with `corten up`\n");
    }
}

#[test]
fn a_broken_authority_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    std::fs::write(dir.path().join("endpoint"), "https://127.0.0.1:7443").unwrap();
    std::fs::write(dir.path().join("ca.crt"), "no certificate").unwrap();
    refused(&["get", "instances", "--data", data], 2, "CA certificate is not usable");
}

#[test]
fn version_names_the_program() {
    let output = run(&["version"]);
    assert_eq!(text(&output.stdout), format!("corten {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell]);
        assert!(text(&output.stdout).contains("kubeconfig"), "{shell}");
    }
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let mut child =
        corten(&["completions", "zsh"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));
}
