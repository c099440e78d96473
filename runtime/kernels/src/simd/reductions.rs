//! Reductions of a row (sum, largest, smallest), and stores, written with explicit vectors.
//!
//! The compiler would leave these loops scalar: it may not reorder a reduction, and cannot rule out that a store
//! overlaps the input.

use super::arithmetic::SymmetricArithmetic;
use super::elements::{larger, smaller};
use super::{LANES_MAX, Simd};

/// Returns the largest number of a row, at least `f32::MIN`.
#[inline(always)]
pub(crate) fn largest<S: Simd>(simd: S, row: &[f32]) -> f32 {
    let (vector, rest) = fold(simd, row, f32::MIN, S::larger);
    rest.iter().fold(across(simd, vector, larger), |largest, &number| larger(number, largest))
}

/// Returns the smallest number of a row, at most zero.
#[inline(always)]
pub(crate) fn smallest_negative<S: Simd>(simd: S, row: &[f32]) -> f32 {
    let (vector, rest) = fold(simd, row, 0.0, S::smaller);
    rest.iter().fold(across(simd, vector, smaller), |smallest, &number| smaller(number, smallest))
}

/// Returns the sum of a row.
#[inline(always)]
pub(crate) fn sum<S: Simd>(simd: S, row: &[f32]) -> f32 {
    let (vector, rest) = fold(simd, row, 0.0, S::add);
    across(simd, vector, add) + rest.iter().sum::<f32>()
}

#[inline(always)]
fn add(one: f32, other: f32) -> f32 {
    one + other
}

/// Stores a row of whole vectors in a format.
#[inline(always)]
pub(crate) fn store<S: Simd, M: SymmetricArithmetic<S>>(simd: S, row: &[f32], to: &mut [M::Number]) {
    assert!(row.len() == to.len() && row.len().is_multiple_of(S::LANES), "rows that do not fit");
    for first in (0..row.len()).step_by(S::LANES) {
        // SAFETY: both rows have a whole vector there.
        unsafe { M::store(simd, to.as_mut_ptr().add(first), simd.load(row.as_ptr().add(first))) }
    }
}

/// Folds the whole vectors of a row into [`TURNS`] accumulators, so that no step waits for the one before. Also returns
/// the rest of the row. Steps are functions that are always inlined, which closures are not.
#[inline(always)]
fn fold<S: Simd>(
    simd: S,
    row: &[f32],
    start: f32,
    step: impl Fn(S, S::Floats, S::Floats) -> S::Floats,
) -> (S::Floats, &[f32]) {
    let mut folded = [simd.splat(start); TURNS];
    let groups = row.chunks_exact(TURNS * S::LANES);
    let vectors = groups.remainder().chunks_exact(S::LANES);
    for group in groups {
        for (index, folded) in folded.iter_mut().enumerate() {
            // SAFETY: a group is as many vectors.
            *folded = step(simd, unsafe { simd.load(group.as_ptr().add(index * S::LANES)) }, *folded);
        }
    }
    let rest = vectors.remainder();
    for (vector, folded) in vectors.zip(&mut folded) {
        // SAFETY: it is a whole vector.
        *folded = step(simd, unsafe { simd.load(vector.as_ptr()) }, *folded);
    }
    let [one, two, three, four] = folded;
    (step(simd, step(simd, one, two), step(simd, three, four)), rest)
}

/// Folds the lanes of a vector by halving.
#[inline(always)]
fn across<S: Simd>(simd: S, vector: S::Floats, step: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES_MAX];
    // SAFETY: no vector is longer.
    unsafe { simd.store(lanes.as_mut_ptr(), vector) };
    let mut count = S::LANES;
    while count > 1 {
        count /= 2;
        for lane in 0..count {
            lanes[lane] = step(lanes[lane], lanes[lane + count]);
        }
    }
    lanes[0]
}

/// Independent accumulators of a fold.
const TURNS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::isa::{Isa, WithSimd};

    struct Check;

    impl WithSimd for Check {
        type Output = ();

        fn run<S: Simd>(self, simd: S) {
            for length in 0..100_usize {
                let row: Vec<f32> = (0..length).map(|at| ((at * 37 + 11) % 41) as f32 - 20.0).collect();
                assert_eq!(sum(simd, &row), row.iter().sum::<f32>(), "{length}");
                assert_eq!(largest(simd, &row), row.iter().copied().fold(f32::MIN, f32::max), "{length}");
                let least = row.iter().copied().fold(0.0, f32::min);
                assert_eq!(smallest_negative(simd, &row), least, "{length}");
            }
        }
    }

    #[test]
    fn every_length_is_folded_whole() {
        for isa in Isa::available() {
            isa.run(Check);
        }
    }
}
