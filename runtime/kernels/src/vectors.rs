//! Rows of numbers, a vector at a time: for the loops that the compiler would leave scalar, because what they write
//! might be what they read, or because it folds them in another order.

use crate::elements::{larger, smaller};
use crate::format::SelfFormat;
use crate::simd::{LANES_MAX, Simd};

/// Returns the largest number of a row, at least `f32::MIN`.
#[inline(always)]
pub(crate) fn largest<S: Simd>(simd: S, row: &[f32]) -> f32 {
    let (vectors, rest) =
        fold(simd, row, simd.splat(f32::MIN), |largest, vector| simd.larger(vector, largest));
    let largest = across(simd, joined(vectors, |one, other| simd.larger(one, other)), larger);
    rest.iter().fold(largest, |largest, &number| larger(number, largest))
}

/// Returns the smallest and the largest number of a row and zero.
#[inline(always)]
pub(crate) fn extremes<S: Simd>(simd: S, row: &[f32]) -> (f32, f32) {
    let (vectors, rest) = fold(simd, row, [simd.zero_floats(); 2], |[low, high], vector| {
        [simd.smaller(vector, low), simd.larger(vector, high)]
    });
    let [low, high] =
        joined(vectors, |[low, high], [lower, higher]| [simd.smaller(low, lower), simd.larger(high, higher)]);
    let extremes = (across(simd, low, smaller), across(simd, high, larger));
    rest.iter().fold(extremes, |(low, high), &number| (smaller(number, low), larger(number, high)))
}

/// Returns the sum of a row.
#[inline(always)]
pub(crate) fn sum<S: Simd>(simd: S, row: &[f32]) -> f32 {
    let (vectors, rest) = fold(simd, row, simd.zero_floats(), |sum, vector| simd.add(vector, sum));
    across(simd, joined(vectors, |one, other| simd.add(one, other)), |one, other| one + other)
        + rest.iter().sum::<f32>()
}

/// Returns the sum of the squares of a row's distances from `center`.
#[inline(always)]
pub(crate) fn squares<S: Simd>(simd: S, row: &[f32], center: f32) -> f32 {
    let shift = simd.splat(-center);
    let (vectors, rest) = fold(simd, row, simd.zero_floats(), |sum, vector| {
        let distance = simd.add(vector, shift);
        simd.multiply_add(distance, distance, sum)
    });
    across(simd, joined(vectors, |one, other| simd.add(one, other)), |one, other| one + other)
        + rest.iter().map(|number| (number - center) * (number - center)).sum::<f32>()
}

/// Stores a row of whole vectors in a format.
#[inline(always)]
pub(crate) fn store<S: Simd, M: SelfFormat<S>>(simd: S, row: &[f32], to: &mut [M::Number]) {
    assert!(row.len() == to.len() && row.len().is_multiple_of(S::LANES), "rows that do not fit");
    for first in (0..row.len()).step_by(S::LANES) {
        // SAFETY: both rows have a whole vector there.
        unsafe { M::store(simd, to.as_mut_ptr().add(first), simd.load(row.as_ptr().add(first))) }
    }
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

/// Folds the whole vectors of a row, in turns so that one step need not wait for the one before, and returns what is
/// left over.
#[inline(always)]
fn fold<S: Simd, T: Copy>(
    simd: S,
    row: &[f32],
    start: T,
    step: impl Fn(T, S::Floats) -> T,
) -> ([T; TURNS], &[f32]) {
    let mut folded = [start; TURNS];
    let groups = row.chunks_exact(TURNS * S::LANES);
    let vectors = groups.remainder().chunks_exact(S::LANES);
    for group in groups {
        for (index, folded) in folded.iter_mut().enumerate() {
            // SAFETY: a group is as many vectors.
            *folded = step(*folded, unsafe { simd.load(group.as_ptr().add(index * S::LANES)) });
        }
    }
    let rest = vectors.remainder();
    for (vector, folded) in vectors.zip(&mut folded) {
        // SAFETY: it is a whole vector.
        *folded = step(*folded, unsafe { simd.load(vector.as_ptr()) });
    }
    (folded, rest)
}

#[inline(always)]
fn joined<T>([one, two, three, four]: [T; TURNS], join: impl Fn(T, T) -> T) -> T {
    join(join(one, two), join(three, four))
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

/// Vectors that are folded side by side.
const TURNS: usize = 4;

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
                let squared = row.iter().map(|number| (number - 3.0) * (number - 3.0)).sum::<f32>();
                assert_eq!(squares(simd, &row, 3.0), squared, "{length}");
                assert_eq!(largest(simd, &row), row.iter().copied().fold(f32::MIN, f32::max), "{length}");
                let least = row.iter().copied().fold(0.0, f32::min);
                assert_eq!(extremes(simd, &row), (least, largest(simd, &row).max(0.0)), "{length}");
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
