//! Time and randomness, passed in, so that the simulation can decide both.

use std::time::{SystemTime, UNIX_EPOCH};

use model::{Timestamp, Uid};
use ring::rand::{SecureRandom, SystemRandom};

/// What the server takes from the world beside the store.
pub trait Environment: Send + Sync + 'static {
    fn now(&self) -> Timestamp;
    /// Unpredictable bytes, good enough for secrets.
    fn random(&self) -> [u8; 32];

    fn uid(&self) -> Uid {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.random()[..16]);
        Uid::from_random(bytes)
    }
}

/// The machine's clock and the kernel's randomness.
#[derive(Debug)]
pub struct SystemEnvironment {
    random: SystemRandom,
}

impl SystemEnvironment {
    pub fn new() -> Self {
        Self { random: SystemRandom::new() }
    }
}

impl Default for SystemEnvironment {
    fn default() -> Self {
        Self::new()
    }
}

impl Environment for SystemEnvironment {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn random(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.random
            .fill(&mut bytes)
            .expect("invariant: the kernel's random source does not fail once the system has booted");
        bytes
    }
}
