//! The engine's only source of randomness: one ChaCha12 generator, seeded by its caller.
//!
//! ChaCha12 is a named, portable algorithm: the same seed gives the same numbers on every machine and in every release.
//! Generators that only promise good statistics do not guarantee that.

use core::time::Duration;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};

/// A seeded generator.
#[derive(Clone, Debug)]
pub(crate) struct Rng {
    inner: ChaCha12Rng,
}

impl Rng {
    /// Creates a generator whose output is determined by `seed`.
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self { inner: ChaCha12Rng::from_seed(seed) }
    }

    /// Returns 16 random bytes, for an id.
    pub(crate) fn id(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.inner.fill_bytes(&mut bytes);
        bytes
    }

    /// Returns 32 random bytes, for a key.
    pub(crate) fn key(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.inner.fill_bytes(&mut bytes);
        bytes
    }

    /// Returns a number in `0..bound`, or 0 if `bound` is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        // The high half of a 128-bit product: unbiased to within 2^-64 (Lemire 2019) and free of division.
        let product = u128::from(self.inner.next_u64()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or_default()
    }

    /// Returns an index into a slice of `len` entries; `None` if it is empty.
    pub(crate) fn index(&mut self, len: usize) -> Option<usize> {
        let bound = u64::try_from(len).ok()?;
        (bound > 0).then(|| usize::try_from(self.below(bound)).unwrap_or_default())
    }

    /// Returns a duration in `from..to`, in whole microseconds; `from` if the range is empty.
    pub(crate) fn between(&mut self, from: Duration, to: Duration) -> Duration {
        let span = crate::time::micros(to.saturating_sub(from));
        from.saturating_add(Duration::from_micros(self.below(span)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_fixes_the_numbers_for_good() {
        let mut rng = Rng::new([1; 32]);
        let first: Vec<u64> = (0..4).map(|_| rng.below(1000)).collect();
        assert_eq!(first, vec![175, 234, 466, 615]);
    }

    #[test]
    fn bounds_are_kept() {
        let mut rng = Rng::new([2; 32]);
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.index(0), None);
        assert!((0..1000).all(|_| rng.below(3) < 3));
        let second = Duration::from_secs(1);
        assert_eq!(rng.between(second, second), second);
    }
}
