//! Rows of numbers, a vector at a time: for the loops that the compiler would leave scalar, because what they write
//! might be what they read, or because it folds them in another order.

use crate::elements::larger;
use crate::simd::{LANES_MAX, Simd};

/// Returns the largest number of a row, at least `f32::MIN`.
#[inline(always)]
pub(crate) fn largest<S: Simd>(simd: S, row: &[f32]) -> f32 {
    let (one, other, rest) = fold(simd, row, f32::MIN, S::larger);
    let largest = across(simd, simd.larger(one, other), larger);
    rest.iter().fold(largest, |largest, &number| larger(number, largest))
}

/// Returns the sum of a row.
#[inline(always)]
pub(crate) fn sum<S: Simd>(simd: S, row: &[f32]) -> f32 {
    let (one, other, rest) = fold(simd, row, 0.0, S::add);
    across(simd, simd.add(one, other), |one, other| one + other) + rest.iter().sum::<f32>()
}

/// Adds a row to another of the same length.
#[inline(always)]
pub(crate) fn add_to<S: Simd>(simd: S, to: &mut [f32], row: &[f32]) {
    assert_eq!(to.len(), row.len(), "rows of different lengths");
    let vectors = row.len() / S::LANES * S::LANES;
    for first in (0..vectors).step_by(S::LANES) {
        // SAFETY: both rows have a whole vector there.
        unsafe {
            let total = simd.add(simd.load(to.as_ptr().add(first)), simd.load(row.as_ptr().add(first)));
            simd.store(to.as_mut_ptr().add(first), total);
        }
    }
    for (to, number) in to[vectors..].iter_mut().zip(&row[vectors..]) {
        *to += number;
    }
}

/// Folds a row into two vectors, so that one step need not wait for the one before, and returns what is left over.
#[inline(always)]
fn fold<S: Simd>(
    simd: S,
    row: &[f32],
    start: f32,
    step: impl Fn(S, S::Floats, S::Floats) -> S::Floats,
) -> (S::Floats, S::Floats, &[f32]) {
    let (mut one, mut other) = (simd.splat(start), simd.splat(start));
    let pairs = row.chunks_exact(2 * S::LANES);
    let rest = pairs.remainder();
    for pair in pairs {
        // SAFETY: a pair is two vectors.
        unsafe {
            one = step(simd, simd.load(pair.as_ptr()), one);
            other = step(simd, simd.load(pair.as_ptr().add(S::LANES)), other);
        }
    }
    (one, other, rest)
}

/// Folds the lanes of a vector, halves upon halves.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Isa, Kernel};

    struct Check;

    impl Kernel for Check {
        type Output = ();

        fn run<S: Simd>(self, simd: S) {
            for length in 0..100_usize {
                let row: Vec<f32> = (0..length).map(|at| ((at * 37 + 11) % 41) as f32 - 20.0).collect();
                assert_eq!(sum(simd, &row), row.iter().sum::<f32>(), "{length}");
                assert_eq!(largest(simd, &row), row.iter().copied().fold(f32::MIN, f32::max), "{length}");
                let mut to = vec![1.5; length];
                add_to(simd, &mut to, &row);
                assert!(to.iter().zip(&row).all(|(to, number)| *to == number + 1.5), "{length}");
            }
        }
    }

    #[test]
    fn every_length_is_folded_and_added_whole() {
        for isa in Isa::available() {
            isa.run(Check);
        }
    }
}
