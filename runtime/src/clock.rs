//! The only now(): the node's monotonic time from when this clock was made, and the wall clock beside it.

use crate::ports::Clock;
use engine::{Instant, UnixMillis};

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    // tokio's clock is the machine's, except in tests that pause it.
    origin: tokio::time::Instant,
}

impl SystemClock {
    /// Starts a clock whose origin is now.
    pub fn start() -> Self {
        Self { origin: tokio::time::Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::from_micros(engine::time::micros(self.origin.elapsed()))
    }

    fn wall(&self) -> UnixMillis {
        wall()
    }
}

/// Returns the wall-clock time; 1970 where the clock stands before that.
pub fn wall() -> UnixMillis {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    UnixMillis(engine::time::micros(since_epoch) / 1000)
}
