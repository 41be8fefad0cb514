//! The caller's terminal, raw for as long as something else owns the conversation.

use std::io::{IsTerminal, stdin};

use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::failure::Failure;

/// Every key goes through unchanged until this is dropped.
#[derive(Debug)]
pub(crate) struct Raw {
    before: Option<Termios>,
}

impl Raw {
    /// Does nothing when the input is no terminal.
    pub(crate) fn enter() -> Result<Self, Failure> {
        if !stdin().is_terminal() {
            return Ok(Self { before: None });
        }
        let failed = |e: nix::Error| Failure::failed(format!("cannot change the terminal: {e}"));
        let before = tcgetattr(stdin()).map_err(failed)?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(stdin(), SetArg::TCSANOW, &raw).map_err(failed)?;
        Ok(Self { before: Some(before) })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // A terminal that went away needs no settings.
            let _ = tcsetattr(stdin(), SetArg::TCSANOW, before);
        }
    }
}
