//! Handing one descriptor down to a child process under a number of the caller's choice.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The child that `command` starts has `descriptor` as its number `number`; no other child gets it. The
/// command owns the descriptor from now on: drop it after the start, or a pipe never ends.
pub fn inherit(command: &mut Command, descriptor: OwnedFd, number: i32) {
    let place = move || {
        let from = descriptor.as_raw_fd();
        // dup2 onto itself would leave close-on-exec set.
        // SAFETY: both calls are async-signal-safe and touch no memory.
        #[allow(unsafe_code)]
        let done = unsafe {
            if from == number { libc::fcntl(from, libc::F_SETFD, 0) } else { libc::dup2(from, number) }
        };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: the closure only duplicates a descriptor; it neither allocates nor locks.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(place);
    }
}
