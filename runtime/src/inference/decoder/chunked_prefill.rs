//! How many tokens of a prompt a pass takes: as many as a machine with nothing else to do reads within a time.
//!
//! The quickest pass counts. Those that took longer shared the machine with other programs, and to take fewer tokens
//! would only cost more of it: every pass reads all weights.

use kernels::decoder::PASS_TOKENS_MAX;
use std::time::Duration;

/// How fast a model reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PrefillPace {
    /// For the next pass.
    tokens: usize,
    /// The least time that a token of any pass took.
    quickest: Duration,
}

impl PrefillPace {
    /// Returns the most tokens that the next pass should take.
    pub(super) const fn tokens(&self) -> usize {
        self.tokens
    }

    /// Takes note of a pass of as many tokens as it should take.
    pub(super) fn handle_pass(&mut self, took: Duration) {
        let tokens = u32::try_from(self.tokens).unwrap_or(u32::MAX);
        self.quickest = self.quickest.min(took / tokens).max(Duration::from_nanos(1));
        let fit = usize::try_from(TIME_MAX.as_nanos() / self.quickest.as_nanos()).unwrap_or(TOKENS_MAX);
        self.tokens = fit.clamp(TOKENS_MIN, TOKENS_MAX);
    }
}

impl Default for PrefillPace {
    fn default() -> Self {
        Self { tokens: TOKENS_FIRST, quickest: Duration::MAX }
    }
}

/// Tokens of the first pass; how many make no difference to what is computed.
const TOKENS_FIRST: usize = 32;
/// Even on the slowest machine a pass reads the weights for so many.
const TOKENS_MIN: usize = 8;
const TOKENS_MAX: usize = PASS_TOKENS_MAX;
/// How long a pass may take, which is what a cancelled text waits for.
const TIME_MAX: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_takes_what_fits_and_other_programs_make_it_no_smaller() {
        let mut pace = PrefillPace::default();
        // Milliseconds that a token takes, and tokens of the next pass.
        for (each, tokens) in [(100, 8), (10, 50), (40, 50), (5, 100), (1, 128), (300, 128)] {
            pace.handle_pass(Duration::from_millis(each) * u32::try_from(pace.tokens()).unwrap());
            assert_eq!(pace.tokens(), tokens, "{each} ms");
        }
        pace.handle_pass(Duration::ZERO);
        assert_eq!(pace.tokens(), 128);
    }
}
