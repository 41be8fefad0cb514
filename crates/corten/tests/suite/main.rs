//! The command line as its users meet it: the built program, its arguments, its exit codes. What needs a running
//! cloud is in `stacks`.

// Clippy knows tests from their helpers no better than by #[test].
#![allow(clippy::unwrap_used)]

mod help;
mod program;
mod usage;
