//! The only source of time: a monotonic clock that starts with the node, and the wall clock. The driver detects jumps
//! of the wall clock.

use crate::ports::Clock;
use engine::{Instant, UnixMillis};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

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

/// Returns the wall-clock time. If the clock shows a date before 1970, time starts at 1970 with this process. It then
/// advances steadily, and nothing mistakes it for a clock that was set.
pub fn wall() -> UnixMillis {
    static BEGIN: OnceLock<std::time::Instant> = OnceLock::new();
    let begin = BEGIN.get_or_init(std::time::Instant::now);
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_else(|_| begin.elapsed());
    UnixMillis(engine::time::micros(since_epoch) / 1000)
}

/// Returns the wall-clock time in nanoseconds since 1970; 0 before.
pub fn wall_nanos() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}

/// Tells whether the wall clock shows a date from 1970 to 9999. Libraries that format dates panic on others.
pub fn has_date() -> bool {
    is_date(SystemTime::now())
}

fn is_date(time: SystemTime) -> bool {
    time.duration_since(UNIX_EPOCH).is_ok_and(|since_epoch| since_epoch.as_secs() < YEAR_10000_SECS)
}

/// The start of the year 10000, in seconds since 1970.
const YEAR_10000_SECS: u64 = 253_402_300_800;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_clock_that_was_never_set_shows_no_date() {
        let last = UNIX_EPOCH + Duration::from_secs(YEAR_10000_SECS - 1);
        assert_eq!([UNIX_EPOCH, last].map(is_date), [true, true]);
        let beyond = [UNIX_EPOCH - Duration::from_secs(1), last + Duration::from_secs(1)];
        assert_eq!(beyond.map(is_date), [false, false]);
    }
}
