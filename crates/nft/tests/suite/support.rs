//! A network namespace per test, and what `nft` says is in it.

use std::process::Command;

use nft::Connection;
use nix::sched::{CloneFlags, unshare};

/// Runs a test in a thread with a network namespace of its own, which ends with it.
pub(crate) fn in_own_network(test: impl FnOnce(Connection) + Send + 'static) {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("tests of nf_tables run as root");
        test(Connection::open().expect("a netlink socket"));
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// The rule set of this namespace, as `nft` tells it, without blank lines and indentation.
pub(crate) fn listing() -> Vec<String> {
    let output = Command::new("nft").args(["list", "ruleset"]).output().expect("nft runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}
