//! Chunked prefill: chooses how many prompt tokens a pass takes, so that a pass on an idle machine meets a time target.
//!
//! Only the fastest pass so far counts. Slower passes shared the machine with other programs, and smaller chunks would
//! only use more of it: every pass reads all weights.

use kernels::decoder::PASS_TOKENS_MAX;
use std::time::Duration;

/// The prefill speed of a model, and the chunk size that follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PrefillPace {
    /// The size of the next chunk.
    tokens: usize,
    /// The shortest time for a token in any pass.
    quickest: Duration,
}

impl PrefillPace {
    /// Returns the maximum number of tokens for the next pass.
    pub(super) const fn tokens(&self) -> usize {
        self.tokens
    }

    /// Records the time of a pass over a full chunk.
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

/// The size of the first chunk. Chunk sizes do not change the result.
const TOKENS_FIRST: usize = 32;
/// The minimum chunk size, on the slowest machine.
const TOKENS_MIN: usize = 8;
const TOKENS_MAX: usize = PASS_TOKENS_MAX;
/// The target time of a pass, which is the delay of a cancellation.
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
