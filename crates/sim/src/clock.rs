//! What the cloud takes from the world: virtual time and seeded randomness.

use std::sync::Arc;

use model::Timestamp;
use server::Environment;
use tokio::time::Instant;

use crate::dice::Dice;

/// When every simulation begins, in milliseconds since 1970: any day will do.
const BEGINNING: i64 = 1_900_000_000_000;

#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    dice: Dice,
}

impl Clock {
    pub(crate) fn new(dice: Dice) -> Arc<Self> {
        Arc::new(Self { start: Instant::now(), dice })
    }

    /// Milliseconds of virtual time since the run began.
    pub(crate) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
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
}
