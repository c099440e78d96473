//! The innermost product: a few rows of activations times one panel of output channels, with all sums in registers.

use crate::simd::arithmetic::Arithmetic;
use crate::simd::{PANEL_VECTORS, Simd};

/// Returns the number of output channels of a panel.
pub(crate) const fn panel_width<S: Simd>() -> usize {
    S::LANES * PANEL_VECTORS
}

/// Splits rows into tiles of about equal height.
pub(crate) fn tiles<S: Simd>(rows: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = rows.div_ceil(S::TILE_ROWS).max(1);
    let (height, taller) = (rows / count, rows % count);
    let mut start = 0;
    (0..count).map(move |tile| {
        let first = start;
        start += height + usize::from(tile < taller);
        (first, start - first)
    })
}

/// Computes the products of `rows` rows, `stride` activations apart, with a panel of `groups` groups, and writes them
/// as f32 to rows of `out` that are `out_stride` apart.
///
/// # Panics
/// Panics if a slice is too short, or if `rows` is not from 1 to [`Simd::TILE_ROWS`].
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "two matrices and where the third one goes")]
pub(crate) fn multiply_tile<S: Simd, M: Arithmetic<S>>(
    simd: S,
    rows: usize,
    input: &[M::Activation],
    stride: usize,
    panel: &[M::Weight],
    groups: usize,
    out: &mut [f32],
    out_stride: usize,
) {
    let length = groups * M::GROUP;
    assert!(rows >= 1 && input.len() >= (rows - 1) * stride + length, "too few activations");
    assert!(panel.len() >= length * panel_width::<S>(), "too few weights");
    assert!(out.len() >= (rows - 1) * out_stride + panel_width::<S>(), "too little room");
    let (input, panel, out) = (input.as_ptr(), panel.as_ptr(), out.as_mut_ptr());
    macro_rules! pick {
        ($($height:literal)*) => {
            match rows {
                $(
                    // SAFETY: the slices were checked to hold `rows` rows and a panel.
                    $height if $height <= S::TILE_ROWS => unsafe {
                        tile::<S, M, $height>(simd, input, stride, panel, groups, out, out_stride);
                    },
                )*
                _ => panic!("a tile of {rows} rows"),
            }
        };
    }
    pick!(1 2 3 4 5 6 7 8 9 10 11 12);
}

/// # Safety
/// `input` has `ROWS` rows of `groups` groups, `panel` a group for each lane and group, and `out` has room for
/// [`panel_width`] numbers in `ROWS` rows.
#[inline(always)]
unsafe fn tile<S: Simd, M: Arithmetic<S>, const ROWS: usize>(
    simd: S,
    input: *const M::Activation,
    stride: usize,
    panel: *const M::Weight,
    groups: usize,
    out: *mut f32,
    out_stride: usize,
) {
    let mut sums = [[M::zero(simd); PANEL_VECTORS]; ROWS];
    let mut weights = panel;
    let mut column = input;
    for _ in 0..groups {
        // Panels are consecutive, but the hardware prefetcher does not cross a page.
        for line in (0..panel_width::<S>() * M::GROUP * size_of::<M::Weight>()).step_by(LINE_BYTES) {
            simd.prefetch(weights.cast::<u8>().wrapping_add(AHEAD_BYTES + line));
        }
        // SAFETY: this group is one of the panel's and of each row's.
        unsafe {
            let left = M::load(simd, weights);
            let right = M::load(simd, weights.add(S::LANES * M::GROUP));
            for (row, sums) in sums.iter_mut().enumerate() {
                let activation = M::splat(simd, column.add(row.wrapping_mul(stride)));
                sums[0] = M::multiply_add(simd, sums[0], activation, left);
                sums[1] = M::multiply_add(simd, sums[1], activation, right);
            }
            weights = weights.add(panel_width::<S>() * M::GROUP);
            column = column.add(M::GROUP);
        }
    }
    for (row, sums) in sums.into_iter().enumerate() {
        // SAFETY: the caller vouches for the room.
        unsafe {
            let out = out.add(row.wrapping_mul(out_stride));
            simd.store(out, M::to_floats(simd, sums[0]));
            simd.store(out.add(S::LANES), M::to_floats(simd, sums[1]));
        }
    }
}

/// The distance at which weights are prefetched into the first-level cache.
const AHEAD_BYTES: usize = 8192;
const LINE_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::portable::Portable;

    #[test]
    fn tiles_cover_all_rows_once_and_are_about_equally_tall() {
        for rows in 0..50 {
            let all: Vec<(usize, usize)> = tiles::<Portable>(rows).collect();
            let mut next = 0;
            for &(start, height) in &all {
                assert_eq!(start, next);
                assert!(height <= Portable::TILE_ROWS);
                next += height;
            }
            assert_eq!(next, rows);
            let heights = || all.iter().map(|tile| tile.1);
            assert!(heights().max().unwrap_or(0) - heights().min().unwrap_or(0) <= 1);
        }
    }
}
