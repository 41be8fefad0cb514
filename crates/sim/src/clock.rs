//! What the cloud takes from the world: virtual time and seeded randomness.

use std::sync::Arc;

use model::Timestamp;
use parking_lot::Mutex;
use server::{Environment, NetworkPlane};
use tokio::time::Instant;

use crate::dice::Dice;

/// When every simulation begins, in milliseconds since 1970: any day will do.
const BEGINNING: i64 = 1_900_000_000_000;
/// Of every project's default Vpc.
const DEFAULT_RANGE: &str = "10.0.0.0/16";

/// More calls than this in one millisecond are of somebody who spins, for whom time never goes on.
const CALLS_AT_ONCE_MAX: u64 = 20_000;

#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    dice: Dice,
    /// The present millisecond, and how many calls there were in it.
    calls: Mutex<(u64, u64)>,
    networked: bool,
}

impl Clock {
    /// `networked`: every project has a network.
    pub(crate) fn new(dice: Dice, networked: bool) -> Arc<Self> {
        Arc::new(Self { start: Instant::now(), dice, calls: Mutex::default(), networked })
    }

    /// Milliseconds of virtual time since the run began.
    pub(crate) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Notes a call; the one call too many at one time ends its caller, so that time goes on and the run is judged.
    pub(crate) fn note_call(&self, what: impl Fn() -> String) {
        let now = self.elapsed_ms();
        let mut calls = self.calls.lock();
        *calls = if calls.0 == now { (now, calls.1 + 1) } else { (now, 1) };
        assert!(calls.1 <= CALLS_AT_ONCE_MAX, "somebody spins: {}", what());
    }

    pub(crate) fn reader(self: &Arc<Self>) -> Arc<dyn Fn() -> Timestamp + Send + Sync> {
        let clock = Arc::clone(self);
        Arc::new(move || clock.now())
    }
}

impl Environment for Clock {
    fn now(&self) -> Timestamp {
        Timestamp(BEGINNING + i64::try_from(self.elapsed_ms()).unwrap_or(0))
    }

    fn random(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for chunk in bytes.chunks_exact_mut(8) {
            chunk.copy_from_slice(&self.dice.next().to_le_bytes());
        }
        bytes
    }

    fn network_plane(&self) -> Option<NetworkPlane> {
        let default_range = DEFAULT_RANGE.parse().ok()?;
        self.networked.then_some(NetworkPlane { default_range })
    }
}
