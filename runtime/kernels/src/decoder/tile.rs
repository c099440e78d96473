//! The product of a tile of 16 weight rows with rows of activations, where a forward pass spends its time.
//!
//! A quantised product takes activations in blocks of 32 8-bit numbers with one scale, multiplies integers, and scales
//! the sum of each block. With `M` rows of activations, a tile is read once for all of them.

use super::format::{BLOCK, Format, SUPER};
use crate::simd::lanes::Lanes;

/// 32 activations as 8-bit numbers, four in each integer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Block {
    pub(super) quants: [i32; 8],
    pub(super) scale: f32,
    /// The sum of the quants.
    pub(super) sum: i32,
    /// The start value of products with nibbles, which are stored with 8 added: -8 times the sum. Precomputed, because
    /// loading it into all lanes costs nothing.
    pub(super) start: i32,
}

/// Rows of activations of equal length, as f32 and as blocks. A format that no product needs may be empty.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) floats: &'a [f32],
    /// The distance between rows of floats.
    pub(super) stride: usize,
    pub(super) blocks: &'a [Block],
    pub(super) columns: usize,
}

impl<'a> Rows<'a> {
    #[inline(always)]
    fn blocks<const M: usize>(self, first: usize) -> [&'a [Block]; M] {
        let width = self.columns / BLOCK;
        core::array::from_fn(|row| &self.blocks[(first + row) * width..][..width])
    }

    #[inline(always)]
    fn floats<const M: usize>(self, first: usize) -> [&'a [f32]; M] {
        core::array::from_fn(|row| &self.floats[(first + row) * self.stride..][..self.columns])
    }
}

/// Multiplies a tile with as many rows as `out` has.
///
/// # Safety
/// The processor has the instructions of `L`.
#[inline(always)]
pub(super) unsafe fn product<L: Lanes>(format: Format, tile: &[u8], x: Rows<'_>, out: &mut [[f32; 16]]) {
    let mut first = 0;
    while first < out.len() {
        let rest = out.len() - first;
        // SAFETY: as the caller promises.
        unsafe {
            if L::ROWS >= 8 && rest >= 8 {
                rows::<L, 8>(format, tile, x, first, out);
                first += 8;
            } else if L::ROWS >= 4 && rest >= 4 {
                rows::<L, 4>(format, tile, x, first, out);
                first += 4;
            } else {
                rows::<L, 1>(format, tile, x, first, out);
                first += 1;
            }
        }
    }
}

/// # Safety
/// The processor has the instructions of `L`.
#[inline(always)]
unsafe fn rows<L: Lanes, const M: usize>(
    format: Format,
    tile: &[u8],
    x: Rows<'_>,
    first: usize,
    out: &mut [[f32; 16]],
) {
    // SAFETY: as the caller promises; `Rows` gives rows of equal length.
    unsafe {
        let sums = match format {
            Format::Bf16 => plain::<L, 32, M>(tile, x.floats(first), |w| L::from_bf16(w)),
            Format::F16 => plain::<L, 32, M>(tile, x.floats(first), |w| L::from_f16(w)),
            Format::F32 => plain::<L, 64, M>(tile, x.floats(first), |w| L::load(&floats_of(w))),
            Format::Q4K => q4_k::<L, M>(tile, x.blocks(first)),
            Format::Q4_0 => q4_0::<L, M>(tile, x.blocks(first)),
            Format::Q8_0 => q8_0::<L, M>(tile, x.blocks(first)),
        };
        for (sum, out) in sums.into_iter().zip(&mut out[first..]) {
            L::store(sum, out);
        }
    }
}

/// # Safety
/// The processor has the instructions of `L`; the rows are of equal length.
#[inline(always)]
unsafe fn q4_0<L: Lanes, const M: usize>(tile: &[u8], x: [&[Block]; M]) -> [L::Floats; M] {
    let count = x[0].len();
    let (quants, scales) = tile.split_at(count * 256);
    let (quants, scales) = (quants.as_chunks::<256>().0, scales.as_chunks::<32>().0);
    // SAFETY: as the caller promises; there are no more groups of quants than blocks in a row.
    unsafe {
        let mut sums = [L::splat(0.0); M];
        for (index, (quants, scales)) in quants.iter().zip(scales).enumerate() {
            if M == 1 {
                prefetch::<L>(quants, 4);
            }
            let w = nibbles::<L>(quants);
            let scales = L::from_f16(scales);
            for row in 0..M {
                let block = x[row].get_unchecked(index);
                let dot = dot_nibbles::<L, M>(L::splat_ints(block.start), &w, &block.quants);
                sums[row] = L::mul_add(L::from_ints(dot), L::mul(scales, L::splat(block.scale)), sums[row]);
            }
        }
        sums
    }
}

/// # Safety
/// The processor has the instructions of `L`; the rows are of equal length.
#[inline(always)]
unsafe fn q4_k<L: Lanes, const M: usize>(tile: &[u8], x: [&[Block]; M]) -> [L::Floats; M] {
    let count = x[0].len();
    let (quants, rest) = tile.split_at(count * 256);
    let (scales, factors) = rest.split_at(count * 32);
    let (quants, scales) = (quants.as_chunks::<256>().0, scales.as_chunks::<32>().0);
    let factors = factors.as_chunks::<64>().0;
    // SAFETY: as the caller promises; there are no more groups of quants than blocks in a row.
    unsafe {
        let mut sums = [L::splat(0.0); M];
        for (index, (quants, scales)) in quants.iter().zip(scales).enumerate() {
            if M == 1 {
                prefetch::<L>(quants, 4);
            }
            let (factor, minimum_factor) = halves::<64, 32>(&factors[index / SUPER]);
            let (scale, minimum) = halves::<32, 16>(scales);
            let scale = L::mul(L::from_f16(factor), L::from_u8(scale));
            let minimum = L::mul(L::from_f16(minimum_factor), L::from_u8(minimum));
            let w = nibbles::<L>(quants);
            for row in 0..M {
                let block = x[row].get_unchecked(index);
                let dot = L::from_ints(dot_nibbles::<L, M>(L::splat_ints(0), &w, &block.quants));
                let below = L::mul(minimum, L::splat(-block.sum as f32));
                let value = L::mul_add(scale, dot, below);
                sums[row] = L::mul_add(value, L::splat(block.scale), sums[row]);
            }
        }
        sums
    }
}

/// # Safety
/// The processor has the instructions of `L`; the rows are of equal length.
#[inline(always)]
unsafe fn q8_0<L: Lanes, const M: usize>(tile: &[u8], x: [&[Block]; M]) -> [L::Floats; M] {
    let count = x[0].len();
    let (quants, scales) = tile.split_at(count * 512);
    let (quants, scales) = (quants.as_chunks::<512>().0, scales.as_chunks::<32>().0);
    // SAFETY: as the caller promises; there are no more groups of quants than blocks in a row.
    unsafe {
        let mut sums = [L::splat(0.0); M];
        for (index, (quants, scales)) in quants.iter().zip(scales).enumerate() {
            if M == 1 {
                prefetch::<L>(quants, 8);
            }
            let groups = quants.as_chunks::<64>().0;
            let mut w = [L::bytes(&groups[0]); 8];
            for group in 1..8 {
                w[group] = L::bytes(&groups[group]);
            }
            let scales = L::from_f16(scales);
            for row in 0..M {
                let block = x[row].get_unchecked(index);
                let (mut even, mut odd) = (L::start_bytes(block.sum), L::splat_ints(0));
                for pair in 0..4 {
                    even = L::dot_bytes(even, w[2 * pair], block.quants[2 * pair]);
                    odd = L::dot_bytes(odd, w[2 * pair + 1], block.quants[2 * pair + 1]);
                }
                let dot = L::from_ints(L::add_ints(even, odd));
                sums[row] = L::mul_add(dot, L::mul(scales, L::splat(block.scale)), sums[row]);
            }
        }
        sums
    }
}

/// Multiplies weights without blocks, `BYTES` for the 16 of a column.
///
/// # Safety
/// The processor has the instructions of `L`.
#[inline(always)]
unsafe fn plain<L: Lanes, const BYTES: usize, const M: usize>(
    tile: &[u8],
    x: [&[f32]; M],
    widen: impl Fn(&[u8; BYTES]) -> L::Floats,
) -> [L::Floats; M] {
    let (fours, rest) = tile.as_chunks::<BYTES>().0[..x[0].len()].as_chunks::<4>();
    // SAFETY: as the caller promises.
    unsafe {
        // Four sums for each row, so that additions need not wait for each other.
        let mut sums = [[L::splat(0.0); 4]; M];
        for (index, four) in fours.iter().enumerate() {
            if M == 1 {
                L::prefetch(four.as_flattened(), PREFETCH_BYTES);
            }
            for at in 0..4 {
                let w = widen(&four[at]);
                for row in 0..M {
                    sums[row][at] = L::mul_add(w, L::splat(x[row][4 * index + at]), sums[row][at]);
                }
            }
        }
        for (column, w) in (4 * fours.len()..).zip(rest) {
            for row in 0..M {
                sums[row][0] = L::mul_add(widen(w), L::splat(x[row][column]), sums[row][0]);
            }
        }
        let mut totals = [L::splat(0.0); M];
        for (total, [a, b, c, d]) in totals.iter_mut().zip(sums) {
            *total = L::add(L::add(a, b), L::add(c, d));
        }
        totals
    }
}

/// # Safety
/// The processor has the instructions of `L`.
#[inline(always)]
unsafe fn nibbles<L: Lanes>(quants: &[u8; 256]) -> [L::Bytes; 8] {
    let groups = quants.as_chunks::<64>().0;
    // SAFETY: as the caller promises.
    unsafe {
        // Written out: with `map`, the closure and the library function may be compiled without the instructions of
        // `L`, and each operation would be a call.
        let (a, b) = (L::nibbles(&groups[0]), L::nibbles(&groups[1]));
        let (c, d) = (L::nibbles(&groups[2]), L::nibbles(&groups[3]));
        [a.0, b.0, c.0, d.0, a.1, b.1, c.1, d.1]
    }
}

/// # Safety
/// The processor has the instructions of `L`.
#[inline(always)]
unsafe fn dot_nibbles<L: Lanes, const M: usize>(
    start: L::Ints,
    w: &[L::Bytes; 8],
    quants: &[i32; 8],
) -> L::Ints {
    // SAFETY: as the caller promises.
    unsafe {
        if M > 1 {
            // Other rows fill the time that a sum takes.
            let mut sum = start;
            for group in 0..8 {
                sum = L::dot_nibbles(sum, w[group], quants[group]);
            }
            return sum;
        }
        let (mut low, mut high) = (start, L::splat_ints(0));
        for group in 0..4 {
            low = L::dot_nibbles(low, w[group], quants[group]);
            high = L::dot_nibbles(high, w[group + 4], quants[group + 4]);
        }
        L::add_ints(low, high)
    }
}

/// Prefetches the weights of a few blocks later.
///
/// # Safety
/// The processor has the instructions of `L`.
#[inline(always)]
unsafe fn prefetch<L: Lanes>(quants: &[u8], lines: usize) {
    for line in 0..lines {
        // SAFETY: as the caller promises.
        unsafe { L::prefetch(quants, PREFETCH_BYTES + 64 * line) };
    }
}

#[inline(always)]
fn halves<const WHOLE: usize, const HALF: usize>(bytes: &[u8; WHOLE]) -> (&[u8; HALF], &[u8; HALF]) {
    let (halves, _) = bytes.as_chunks::<HALF>();
    (&halves[0], &halves[1])
}

#[inline(always)]
fn floats_of(bytes: &[u8; 64]) -> [f32; 16] {
    let words = bytes.as_chunks::<4>().0;
    core::array::from_fn(|lane| f32::from_le_bytes(words[lane]))
}

/// The prefetch distance for one row of activations, which leaves no other time to load weights.
const PREFETCH_BYTES: usize = 2048;
