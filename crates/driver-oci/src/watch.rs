//! Tells the listeners when a container has ended, whoever started it: the monitors write exit files.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread;

use model::Uid;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::sync::broadcast::Sender;

use crate::paths::uid_of;

/// A thread that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Closing it wakes the thread.
    _alive: OwnedFd,
}

impl Watch {
    /// Announces the sandbox of every exit file that appears in `exits`.
    pub(crate) fn start(exits: &Path, changes: Sender<Uid>) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        inotify.add_watch(exits, AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CLOSE_WRITE)?;
        let (watched, alive) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
        thread::Builder::new()
            .name("oci-exits".to_owned())
            .spawn(move || announce(&inotify, &watched, &changes))?;
        Ok(Self { _alive: alive })
    }
}

fn announce(inotify: &Inotify, alive: &OwnedFd, changes: &Sender<Uid>) {
    loop {
        let mut fds =
            [PollFd::new(inotify.as_fd(), PollFlags::POLLIN), PollFd::new(alive.as_fd(), PollFlags::empty())];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => continue,
            Err(e) => return tracing::error!(error = %e, "exits are not watched any more"),
            Ok(_) => {}
        }
        if fds[1].any().unwrap_or(true) {
            return;
        }
        // An overflow of the queue names no file; whoever missed it finds out at its next list.
        for event in inotify.read_events().unwrap_or_default() {
            if let Some(uid) = event.name.as_ref().and_then(|name| uid_of(name.to_str()?)) {
                // Nobody listening is no failure.
                let _ = changes.send(uid);
            }
        }
    }
}
