//! The one line that says what a command waits for. Only on a terminal, and on stderr, so that no script sees it.

use std::io::{IsTerminal, Write};

#[derive(Debug)]
pub(crate) struct Progress {
    shown: bool,
    last: String,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { shown: !quiet && std::io::stderr().is_terminal(), last: String::new() }
    }

    /// Replaces the line.
    pub(crate) fn say(&mut self, text: &str) {
        if self.shown && text != self.last {
            // A terminal that went away is noticed when the result is printed.
            let _ = write!(std::io::stderr(), "\r\x1b[K{text}");
            text.clone_into(&mut self.last);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown && !self.last.is_empty() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// `12.3 of 40.0 MiB, 30 %`, for transfers. `total` is 0 when it is not known.
pub(crate) fn transferred(done: u64, total: u64) -> String {
    let mib = |n: u64| format!("{:.1}", n as f64 / f64::from(1 << 20));
    match (done * 100).checked_div(total) {
        Some(percent) => format!("{} of {} MiB, {percent} %", mib(done), mib(total)),
        None => format!("{} MiB", mib(done)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_how_far_a_transfer_is() {
        assert_eq!(transferred(12_897_485, 41_943_040), "12.3 of 40.0 MiB, 30 %");
        assert_eq!(transferred(1 << 20, 0), "1.0 MiB");
    }
}
