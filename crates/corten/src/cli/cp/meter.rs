//! How far a copy has come, whatever number of its parts move at once.

use std::sync::{Arc, Mutex, PoisonError};

use crate::cli::progress::{Progress, transferred};

/// Characters of the bar.
const BAR: u64 = 24;

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Meter(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Nothing when the copy has ended.
    line: Option<Progress>,
    what: String,
    done: u64,
    /// 0 when it is not known.
    total: u64,
}

impl Meter {
    pub(super) fn new(quiet: bool) -> Self {
        let line = Some(Progress::new(quiet));
        Self(Arc::new(Mutex::new(State { line, what: String::new(), done: 0, total: 0 })))
    }

    /// What is going to move, and how much of it.
    pub(super) fn expect(&self, what: &str, total: u64) {
        self.change(|state| {
            what.clone_into(&mut state.what);
            state.total = total;
        });
    }

    /// More turned out to be there.
    pub(super) fn expect_more(&self, bytes: u64) {
        self.change(|state| state.total += bytes);
    }

    pub(super) fn moved(&self, bytes: u64) {
        self.change(|state| state.done += bytes);
    }

    /// What did not arrive has not moved.
    pub(super) fn take_back(&self, bytes: u64) {
        self.change(|state| state.done = state.done.saturating_sub(bytes));
    }

    /// Takes the line away.
    pub(super) fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).line = None;
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        let text = text(&state.what, state.done, state.total);
        if let Some(line) = &mut state.line {
            line.say(&text);
        }
    }
}

fn text(what: &str, done: u64, total: u64) -> String {
    let bar = match (done.min(total) * BAR).checked_div(total) {
        Some(full) => {
            let full = usize::try_from(full).unwrap_or(0);
            format!(" [{:<1$}]", "#".repeat(full), usize::try_from(BAR).unwrap_or(0))
        }
        None => String::new(),
    };
    let what = crate::cli::output::harmless(what);
    format!("{what}{bar} {}", transferred(done, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_how_far_it_is() {
        let (half, whole) = (4 << 20, 8 << 20);
        assert_eq!(text("x", half, whole), "x [############            ] 4.0 of 8.0 MiB, 50 %");
        assert_eq!(text("x", whole, whole), "x [########################] 8.0 of 8.0 MiB, 100 %");
        assert_eq!(text("x", half, 0), "x 4.0 MiB");
    }
}
