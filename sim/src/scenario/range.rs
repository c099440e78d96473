//! A range of durations.

use core::time::Duration;

/// A range of durations, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The shortest.
    pub from: Duration,
    /// The longest.
    pub to: Duration,
}

impl Range {
    /// Returns both ends.
    pub const fn ends(self) -> (Duration, Duration) {
        (self.from, self.to)
    }
}
