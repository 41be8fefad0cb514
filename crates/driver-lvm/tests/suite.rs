//! Thin volumes need a kernel that has them: the test runs itself once more, in a machine with Debian's.
#![allow(clippy::unwrap_used)]

mod inside;

use std::path::Path;
use std::process::Command;

/// Set in the machine.
const INSIDE: &str = "CORTEN_IN_LAB_MACHINE";
const NAME: &str = "volumes_of_a_thin_pool";
const PROGRAMS: [&str; 9] =
    ["lvm", "dmsetup", "thin_check", "thin_delta", "losetup", "qemu-img", "qemu-io", "truncate", "blkid"];

#[test]
fn volumes_of_a_thin_pool() {
    if std::env::var_os(INSIDE).is_some() {
        return inside::run();
    }
    let own = std::env::current_exe().unwrap();
    let machine = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../lab/machine");
    let mut command = Command::new(machine);
    command.args(["--memory", "3072", "--udev", "yes", "--program"]).arg(&own);
    for program in PROGRAMS {
        command.args(["--program", program]);
    }
    let inside = format!("/bin/{}", own.file_name().unwrap().to_str().unwrap());
    command.arg("--").args(["env", &format!("{INSIDE}=1"), &inside, "--exact", NAME, "--nocapture"]);
    let status = command.status().unwrap();
    assert!(status.success(), "in the machine: {status}");
}
