//! A token bucket in integer arithmetic, for rate limits.

use crate::time::{Instant, micros};

/// A bucket that holds at most `burst` tokens and gains `rate` tokens a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    rate: u64,
    burst_millionths: u64,
    /// Tokens, in millionths.
    level: u64,
    filled_at: Instant,
}

impl Bucket {
    /// Creates a full bucket.
    pub(crate) const fn new(rate: u64, burst: u64) -> Self {
        let burst_millionths = burst.saturating_mul(MILLION);
        Self { rate, burst_millionths, level: burst_millionths, filled_at: Instant::ZERO }
    }

    /// Tells whether the bucket is full.
    pub(crate) fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.level == self.burst_millionths
    }

    fn fill(&mut self, now: Instant) {
        let gained = micros(now.since(self.filled_at)).saturating_mul(self.rate);
        self.level = self.level.saturating_add(gained).min(self.burst_millionths);
        self.filled_at = self.filled_at.max(now);
    }

    /// Removes `tokens` and returns `true` if the bucket holds that many; otherwise returns `false`.
    pub(crate) fn take(&mut self, now: Instant, tokens: u64) -> bool {
        self.fill(now);
        let wanted = tokens.saturating_mul(MILLION);
        let enough = wanted <= self.level;
        if enough {
            self.level -= wanted;
        }
        enough
    }
}

const MILLION: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let mut bucket = Bucket::new(10, 5);
        let start = Instant::from_micros(7_000_000);
        assert_eq!((0..9).filter(|_| bucket.take(start, 1)).count(), 5);
        let later = Instant::from_micros(7_100_000);
        assert_eq!((0..9).filter(|_| bucket.take(later, 1)).count(), 1);
        assert!(!bucket.take(Instant::from_micros(7_199_999), 1));
        assert!(bucket.take(Instant::from_micros(7_200_000), 1));
        assert!(!bucket.take(Instant::from_micros(u64::MAX), 6));
        assert!(bucket.take(Instant::from_micros(u64::MAX), 5));
    }
}
