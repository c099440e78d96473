//! Histograms with fixed buckets, and the trace of a recent value in each.

use crate::ids::TraceId;
use crate::time::Instant;
use crate::trace::TraceContext;
use serde::{Deserialize, Serialize};

/// The distribution of a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    scale: Scale,
    /// Number of values in each bucket; the last one is without an upper bound.
    counts: Vec<u64>,
    sum: u64,
    /// A recent value of each bucket; empty until a value has a trace.
    exemplars: Vec<Option<Exemplar>>,
}

/// The buckets of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scale {
    /// A number of things, up to 64.
    Count,
    /// From milliseconds to an hour: tasks and their attempts.
    Long,
    /// From 100 microseconds to 20 seconds: messages, writes and tokens.
    Short,
}

/// A value, and the trace that it is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exemplar {
    /// The value.
    pub value: u64,
    /// The trace.
    pub trace: TraceId,
    /// When the value was observed.
    pub at: Instant,
}

impl Scale {
    /// Returns the upper bounds of the buckets, each included, in ascending order. Durations are in microseconds.
    pub const fn bounds(self) -> &'static [u64] {
        match self {
            Self::Count => &[1, 2, 4, 8, 16, 32, 64],
            Self::Long => &[
                1_000,
                2_500,
                5_000,
                10_000,
                25_000,
                50_000,
                100_000,
                250_000,
                500_000,
                1_000_000,
                2_500_000,
                5_000_000,
                10_000_000,
                30_000_000,
                60_000_000,
                300_000_000,
                3_600_000_000,
            ],
            Self::Short => &[
                100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
                1_000_000, 2_500_000, 5_000_000, 20_000_000,
            ],
        }
    }

    /// Tells whether the values are durations in microseconds.
    pub const fn is_duration(self) -> bool {
        match self {
            Self::Count => false,
            Self::Long | Self::Short => true,
        }
    }
}

impl Histogram {
    /// Creates a histogram without values.
    pub fn new(scale: Scale) -> Self {
        Self { scale, counts: vec![0; scale.bounds().len() + 1], sum: 0, exemplars: Vec::new() }
    }

    /// Adds a value, and returns the index of its bucket.
    pub fn observe(&mut self, value: u64) -> usize {
        let bucket = self.scale.bounds().partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count = count.saturating_add(1);
        }
        self.sum = self.sum.saturating_add(value);
        bucket
    }

    /// Adds a value of a trace. It becomes the exemplar of its bucket if the trace is kept.
    pub fn observe_traced(&mut self, value: u64, trace: TraceContext, at: Instant) {
        let bucket = self.observe(value);
        if !trace.sampled {
            return;
        }
        if self.exemplars.is_empty() {
            self.exemplars = vec![None; self.counts.len()];
        }
        if let Some(exemplar) = self.exemplars.get_mut(bucket) {
            *exemplar = Some(Exemplar { value, trace: trace.id, at });
        }
    }

    /// Returns the scale.
    pub const fn scale(&self) -> Scale {
        self.scale
    }

    /// Returns the number of values.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Returns the sum of the values.
    pub const fn sum(&self) -> u64 {
        self.sum
    }

    /// Returns each bucket: its upper bound, if it has one, the number of its values, and a recent value.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64, Option<Exemplar>)> {
        let bounds = self.scale.bounds();
        self.counts.iter().enumerate().map(move |(bucket, count)| {
            (bounds.get(bucket).copied(), *count, self.exemplars.get(bucket).copied().flatten())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket_and_nothing_is_lost_above() {
        for scale in [Scale::Count, Scale::Long, Scale::Short] {
            assert!(scale.bounds().windows(2).all(|pair| pair[0] < pair[1]), "{scale:?}");
            let mut histogram = Histogram::new(scale);
            let bounds = scale.bounds().iter().copied();
            for bound in bounds.clone() {
                histogram.observe(bound);
            }
            histogram.observe(u64::MAX);
            let found: Vec<_> = histogram.buckets().map(|(bound, count, _)| (bound, count)).collect();
            let expected: Vec<_> = bounds.map(Some).chain([None]).map(|bound| (bound, 1)).collect();
            assert_eq!(found, expected);
            assert_eq!(histogram.sum(), u64::MAX, "it saturates");
        }
    }

    #[test]
    fn only_traces_that_are_kept_are_exemplars() {
        let mut histogram = Histogram::new(Scale::Count);
        let trace = |sampled| TraceContext { id: TraceId([9; 16]), sampled };
        histogram.observe_traced(1, trace(false), Instant::ZERO);
        assert!(histogram.buckets().all(|(_, _, exemplar)| exemplar.is_none()));
        histogram.observe_traced(3, trace(true), Instant::ZERO);
        let found: Vec<_> =
            histogram.buckets().filter_map(|(bound, _, exemplar)| Some((bound?, exemplar?))).collect();
        let exemplar = Exemplar { value: 3, trace: TraceId([9; 16]), at: Instant::ZERO };
        assert_eq!(found, [(4, exemplar)]);
        assert_eq!(histogram.count(), 2);
    }
}
