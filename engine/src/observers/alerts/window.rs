//! Figures of the last minutes: counts in slots of fixed length. The oldest slot is dropped as time passes.

use crate::time::{Instant, micros};
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

/// Figures of the last slots.
#[derive(Debug)]
pub(super) struct Window<T> {
    slot: Duration,
    slots_max: u64,
    /// Each slot with its number, oldest first. A slot without figures is left out.
    slots: VecDeque<(u64, T)>,
}

impl<T: Default> Window<T> {
    /// Creates an empty window.
    pub(super) const fn new(slot: Duration, slots_max: u64) -> Self {
        Self { slot, slots_max, slots: VecDeque::new() }
    }

    /// Returns the present slot.
    pub(super) fn present(&mut self, now: Instant) -> &mut T {
        self.advance(now);
        let number = self.number(now);
        if self.slots.back().is_none_or(|(last, _)| *last != number) {
            self.slots.push_back((number, T::default()));
        }
        let last = self.slots.len() - 1;
        &mut self.slots[last].1
    }

    /// Drops the slots that have passed.
    pub(super) fn advance(&mut self, now: Instant) {
        let number = self.number(now);
        while self.slots.front().is_some_and(|(first, _)| first + self.slots_max <= number) {
            self.slots.pop_front();
        }
    }

    /// Returns when the oldest slot passes; `None` if the window is empty.
    pub(super) fn passes_at(&self) -> Option<Instant> {
        let (first, _) = self.slots.front()?;
        let number = first.saturating_add(self.slots_max);
        Some(Instant::from_micros(number.saturating_mul(micros(self.slot))))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().map(|(_, figures)| figures)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    fn number(&self, now: Instant) -> u64 {
        now.as_micros() / micros(self.slot).max(1)
    }
}

/// How tasks ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ends {
    pub(super) completed: u32,
    pub(super) failed: u32,
}

/// Round trips in buckets, 16 for each power of two.
#[derive(Debug, Default)]
pub(super) struct RoundTrips {
    buckets: BTreeMap<u16, u32>,
    /// Number of round trips above the threshold at their time.
    pub(super) slow: u32,
}

impl RoundTrips {
    pub(super) fn add(&mut self, micros: u64) {
        let count = self.buckets.entry(bucket(micros)).or_default();
        *count = count.saturating_add(1);
    }
}

/// Returns the 99th percentile of the round trips in microseconds, within 4 %; `None` if there are too few.
pub(super) fn p99<'a>(slots: impl Iterator<Item = &'a RoundTrips>, least: u64) -> Option<u64> {
    let mut all: BTreeMap<u16, u64> = BTreeMap::new();
    for (bucket, count) in slots.flat_map(|slot| &slot.buckets) {
        *all.entry(*bucket).or_default() += u64::from(*count);
    }
    let total: u64 = all.values().sum();
    let mut above = total / 100;
    for (bucket, count) in all.into_iter().rev().filter(|_| total >= least) {
        if count > above {
            return Some(middle(bucket));
        }
        above -= count;
    }
    None
}

fn bucket(micros: u64) -> u16 {
    let micros = micros.min(MICROS_MAX);
    let Some(shift) = (u64::BITS - micros.leading_zeros()).checked_sub(STEPS_BITS + 1) else {
        return u16::try_from(micros).unwrap_or(u16::MAX);
    };
    // The highest set bit is part of the number of steps, so the buckets of an octave follow those of the one before.
    let steps = u64::from(shift) * STEPS + (micros >> shift);
    u16::try_from(steps).unwrap_or(u16::MAX)
}

/// Returns the middle of a bucket, in microseconds.
fn middle(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    let Some(shift) = (bucket / STEPS).checked_sub(1).filter(|shift| *shift > 0) else { return bucket };
    let low = (STEPS + bucket % STEPS) << shift;
    low + (1 << shift) / 2
}

const STEPS_BITS: u32 = 4;
const STEPS: u64 = 1 << STEPS_BITS;
/// Longer round trips count as this one: a message is given up long before.
const MICROS_MAX: u64 = 1 << 36;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_bucket_is_close_to_its_values_and_buckets_are_in_order() {
        let mut last = 0;
        for value in (0..5_000).chain((5_000..MICROS_MAX).step_by(98_765_432)) {
            let number = bucket(value);
            assert!(number >= last, "{value}");
            last = number;
            let error = middle(number).abs_diff(value);
            assert!(error * 100 <= value * 4 + 100, "{value}: {}", middle(number));
        }
        assert!(last < 600 && bucket(u64::MAX) == bucket(MICROS_MAX));
    }

    #[test]
    fn the_percentile_leaves_out_one_in_a_hundred() {
        let slots = |fast: u32, slow: u32| {
            let mut slots = [RoundTrips::default(), RoundTrips::default()];
            (0..fast).for_each(|n| slots[n as usize % 2].add(2_000));
            (0..slow).for_each(|_| slots[1].add(900_000));
            slots
        };
        assert_eq!(p99(slots(19, 0).iter(), 20), None);
        assert!(p99(slots(19, 1).iter(), 20).unwrap() > 850_000);
        assert!(p99(slots(99, 1).iter(), 20).unwrap() < 2_100);
        assert!(p99(slots(98, 2).iter(), 20).unwrap() > 850_000);
        assert!(p99(slots(980, 20).iter(), 20).unwrap() > 850_000);
    }

    #[test]
    fn slots_pass_with_time() {
        let mut window: Window<Ends> = Window::new(Duration::from_secs(10), 3);
        assert_eq!(window.passes_at(), None);
        window.present(at(5)).failed += 1;
        window.present(at(9)).failed += 1;
        window.present(at(25)).completed += 1;
        assert_eq!((window.len(), window.passes_at()), (2, Some(at(30))));
        window.advance(at(29));
        assert_eq!(window.iter().map(|ends| ends.failed).sum::<u32>(), 2);
        window.advance(at(30));
        assert_eq!((window.len(), window.passes_at()), (1, Some(at(50))));
        window.advance(at(500));
        assert_eq!(window.len(), 0);
    }
}
