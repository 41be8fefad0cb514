//! The controller engine: a cache that follows the server, a work queue, and workers with backoff. Knows no kind.
//!
//! A controller is a function from a key to an [`Outcome`]. It gets no hint of what changed: it looks at what
//! is, decides, and acts, and may be killed at any line. Keys of the same name never run at the same time.
//! All waiting is on tokio's clock, which tests and the simulation turn by hand.

mod cache;
mod queue;
mod worker;

pub use cache::{Cache, Change};
pub use queue::Queue;
pub use worker::{Outcome, run};
