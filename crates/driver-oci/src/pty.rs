//! The driver's end of a pseudo-terminal as two streams.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::unix::pipe;

/// A pseudo-terminal.
#[derive(Debug)]
pub(crate) struct Pty {
    pub(crate) output: Output,
    /// A descriptor that can be waited for as a pipe's can.
    pub(crate) input: pipe::Sender,
    /// For the program; we must not keep it, or we never see the end.
    pub(crate) program: OwnedFd,
}

/// What the program writes to its terminal.
#[derive(Debug)]
pub(crate) struct Output(pipe::Receiver);

impl Pty {
    pub(crate) fn open() -> io::Result<Self> {
        let pair = nix::pty::openpty(None, None)?;
        for end in [&pair.master, &pair.slave] {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        }
        fcntl(&pair.master, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK))?;
        Ok(Self {
            input: pipe::Sender::from_owned_fd_unchecked(pair.master.try_clone()?)?,
            output: Output(pipe::Receiver::from_owned_fd_unchecked(pair.master)?),
            program: pair.slave,
        })
    }
}

impl AsyncRead for Output {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.0).poll_read(context, to) {
            // Linux says so when the last program has closed its end.
            Poll::Ready(Err(e)) if e.raw_os_error() == Some(nix::libc::EIO) => Poll::Ready(Ok(())),
            other => other,
        }
    }
}
