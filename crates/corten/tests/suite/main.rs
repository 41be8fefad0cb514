//! The command line as its users meet it: the built program, its arguments, its exit codes. What needs a running
//! cloud is in `stacks`.

mod help;
mod program;
mod usage;
