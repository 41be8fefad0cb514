//! `up --detach`: starts the daemon in the background and waits until it answers.

use std::fs::OpenOptions;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use client::https::{Credential, Https};
use model::Reason;

use super::Layout;
use super::stop;
use crate::failure::Failure;

/// How long the first start may take: it makes keys and probes the drivers.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long a daemon that runs may take for its first word.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(5);

pub(crate) fn up(layout: &Layout, listen: SocketAddr, underlay: Option<IpAddr>) -> Result<(), Failure> {
    let deadline = Instant::now() + READY_WITHIN;
    // One that was just killed is there a moment longer and says nothing any more; one that is starting will.
    while let Some(daemon) = stop::running(layout)? {
        if let Some(endpoint) = endpoint(layout).filter(|endpoint| answers(layout, endpoint)) {
            println!("already up: {endpoint}");
            return Ok(());
        }
        if Instant::now() > deadline {
            let (pid, log) = (daemon.identity().pid, layout.log());
            return Err(Failure::timed_out(format!(
                "the daemon (pid {pid}) runs and does not answer; see {}",
                log.display()
            ))
            .hint("`corten down` ends it"));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    // A daemon that was killed could not remove it.
    let _ = std::fs::remove_file(layout.endpoint());
    let mut child = spawn(layout, listen, underlay)?;
    loop {
        if let Some(endpoint) = endpoint(layout) {
            println!("up: {endpoint}");
            return Ok(());
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Err(Failure::failed(format!("the daemon ended ({status}): {}", last_words(layout))));
        }
        if Instant::now() > deadline {
            let log = layout.log();
            return Err(Failure::timed_out(format!(
                "the daemon did not answer within 60 s; see {}",
                log.display()
            )));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn endpoint(layout: &Layout) -> Option<String> {
    std::fs::read_to_string(layout.endpoint()).ok().filter(|endpoint| !endpoint.is_empty())
}

/// Whether anything is said there at all: being turned away without credentials is an answer too.
fn answers(layout: &Layout, endpoint: &str) -> bool {
    let Ok(ca) = std::fs::read_to_string(layout.ca()) else { return false };
    let Ok(https) = Https::new(endpoint, &ca, &Credential::None) else { return false };
    let Ok(request) = http::Request::get("/version").body(client::https::empty()) else { return false };
    let Ok(runtime) = super::runtime() else { return false };
    let answer = runtime.block_on(async { tokio::time::timeout(ANSWERS_WITHIN, https.send(request)).await });
    match answer {
        Ok(Err(e)) => e.reason != Reason::ServiceUnavailable,
        Ok(Ok(_)) => true,
        Err(_) => false,
    }
}

fn spawn(layout: &Layout, listen: SocketAddr, underlay: Option<IpAddr>) -> Result<Child, Failure> {
    let failed = |what: &str, e: std::io::Error| Failure::failed(format!("{what}: {e}"));
    let path = layout.log();
    let log = OpenOptions::new().append(true).create(true).open(&path);
    let log = log.map_err(|e| failed(&path.display().to_string(), e))?;
    let program = std::env::current_exe().map_err(|e| failed("this program cannot be found", e))?;
    let mut command = Command::new(program);
    command.arg("up").arg("--data").arg(layout.root()).arg("--listen").arg(listen.to_string());
    if let Some(underlay) = underlay {
        command.arg("--underlay").arg(underlay.to_string());
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).current_dir("/");
    // A group of its own, so that an interrupt at the terminal does not reach it.
    command.process_group(0);
    command.spawn().map_err(|e| failed("the daemon cannot be started", e))
}

/// The last lines of the log, for the error.
fn last_words(layout: &Layout) -> String {
    let text = std::fs::read_to_string(layout.log()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(3).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}
