//! The operations between matrix products: normalisation, rotary embedding, attention and the gate.

use super::tile::Block;
use crate::simd::lanes::Lanes;

/// Rounds a row to blocks of 8-bit numbers.
///
/// # Safety
/// The processor has the instructions of `L`.
#[inline(always)]
pub(super) unsafe fn quantise<L: Lanes>(row: &[f32], blocks: &mut [Block]) {
    for (numbers, block) in row.as_chunks::<32>().0.iter().zip(blocks) {
        // SAFETY: as the caller promises.
        (block.scale, block.sum) = unsafe { L::quantise(numbers, &mut block.quants) };
        block.start = -8 * block.sum;
    }
}

/// Applies root mean square layer normalisation (Zhang and Sennrich, 2019).
///
/// # Safety
/// The processor has the instructions of `L`.
#[inline(always)]
pub(super) unsafe fn normalise<L: Lanes>(row: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
    let (lanes, rest) = row.as_chunks::<16>();
    // SAFETY: as the caller promises.
    unsafe {
        let mut squares = L::splat(0.0);
        for numbers in lanes {
            let numbers = L::load(numbers);
            squares = L::mul_add(numbers, numbers, squares);
        }
        let total = L::sum(squares) + rest.iter().map(|number| number * number).sum::<f32>();
        let factor = (total / row.len() as f32 + epsilon).sqrt().recip();
        let (out_lanes, out_rest) = out.as_chunks_mut::<16>();
        let (weight_lanes, weight_rest) = weight.as_chunks::<16>();
        for ((numbers, weight), out) in lanes.iter().zip(weight_lanes).zip(out_lanes) {
            L::store(L::mul(L::mul(L::load(numbers), L::splat(factor)), L::load(weight)), out);
        }
        for ((number, weight), out) in rest.iter().zip(weight_rest).zip(out_rest) {
            *out = number * factor * weight;
        }
    }
}

/// Computes SiLU of the gate times the other branch, in place of the gate, for whole lanes.
///
/// # Safety
/// The processor has the instructions of `L`.
#[inline(always)]
pub(super) unsafe fn gate<L: Lanes>(gate: &mut [[f32; 16]], up: &[[f32; 16]]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        // SAFETY: as the caller promises.
        unsafe {
            let x = L::load(gate);
            let below = L::add(L::splat(1.0), exp::<L>(L::sub(L::splat(0.0), x)));
            L::store(L::mul(L::div(x, below), L::load(up)), gate);
        }
    }
}

/// Applies the rotary embedding (Su et al., 2021): rotates pairs of the first and second half of a head.
pub(super) fn rotate(head: &mut [f32], cosines: &[f32], sines: &[f32]) {
    let (first, second) = head.split_at_mut(head.len() / 2);
    for (((a, b), cosine), sine) in first.iter_mut().zip(second).zip(cosines).zip(sines) {
        (*a, *b) = (*a * cosine - *b * sine, *b * cosine + *a * sine);
    }
}

/// The attention of one row of queries, for the heads that share keys and values.
pub(super) struct Attention<'a> {
    /// `[heads][head_len]`.
    pub(super) queries: &'a [f32],
    /// `[positions / 16][head_len][16]`.
    pub(super) keys: &'a [f32],
    /// `[positions][value_lanes][16]`.
    pub(super) values: &'a [[f32; 16]],
    pub(super) head_len: usize,
    /// The factor of the products of queries and keys.
    pub(super) scale: f32,
    /// The number of positions to attend to, at least one.
    pub(super) positions: usize,
}

/// Heads that read keys and values together.
pub(super) const HEADS: usize = 4;

impl Attention<'_> {
    /// Returns the length of the score buffer that [`attend`] needs.
    pub(super) const fn workspace_len(positions_max: usize) -> usize {
        HEADS * positions_max.next_multiple_of(16)
    }
}

/// Writes `[heads][head_len]` weighted sums of values.
///
/// # Safety
/// The processor has the instructions of `L`.
#[inline(always)]
pub(super) unsafe fn attend<L: Lanes>(attention: &Attention<'_>, scores: &mut [f32], out: &mut [f32]) {
    let heads = attention.queries.len() / attention.head_len;
    let mut first = 0;
    while first < heads {
        let at = first * attention.head_len;
        // SAFETY: as the caller promises.
        unsafe {
            if heads - first >= HEADS {
                attend_heads::<L, HEADS>(attention, &attention.queries[at..], scores, &mut out[at..]);
                first += HEADS;
            } else {
                attend_heads::<L, 1>(attention, &attention.queries[at..], scores, &mut out[at..]);
                first += 1;
            }
        }
    }
}

/// # Safety
/// The processor has the instructions of `L`.
#[inline(always)]
unsafe fn attend_heads<L: Lanes, const N: usize>(
    attention: &Attention<'_>,
    queries: &[f32],
    scores: &mut [f32],
    out: &mut [f32],
) {
    let padded = attention.positions.next_multiple_of(16);
    let width = attention.head_len;
    let queries: [&[f32]; N] = core::array::from_fn(|head| &queries[head * width..][..width]);
    let scale = attention.scale;
    let mut rest = scores;
    let scores: [&mut [[f32; 16]]; N] = core::array::from_fn(|_| {
        let (own, others) = std::mem::take(&mut rest).split_at_mut(padded);
        rest = others;
        own.as_chunks_mut::<16>().0
    });
    // SAFETY: as the caller promises.
    unsafe {
        for (block, keys) in attention.keys.chunks_exact(width * 16).take(padded / 16).enumerate() {
            let mut sums = [L::splat(0.0); N];
            for (at, keys) in keys.as_chunks::<16>().0.iter().enumerate() {
                let keys = L::load(keys);
                for head in 0..N {
                    sums[head] = L::mul_add(L::splat(queries[head][at]), keys, sums[head]);
                }
            }
            for head in 0..N {
                L::store(L::mul(sums[head], L::splat(scale)), &mut scores[head][block]);
            }
        }
        let mut inverses = [0.0; N];
        for head in 0..N {
            inverses[head] = softmax::<L>(scores[head], attention.positions);
        }
        let lanes = width.div_ceil(16);
        for lane in 0..lanes {
            let mut sums = [L::splat(0.0); N];
            let values = attention.values.iter().skip(lane).step_by(lanes).take(attention.positions);
            for (position, value) in values.enumerate() {
                let value = L::load(value);
                for head in 0..N {
                    let weight = L::splat(scores[head][position / 16][position % 16]);
                    sums[head] = L::mul_add(weight, value, sums[head]);
                }
            }
            let count = (width - 16 * lane).min(16);
            for head in 0..N {
                let mut sum = [0.0; 16];
                L::store(L::mul(sums[head], L::splat(inverses[head])), &mut sum);
                out[head * width + 16 * lane..][..count].copy_from_slice(&sum[..count]);
            }
        }
    }
}

/// Replaces the first scores by their exponentials and the others by zero. Returns the inverse of the sum.
///
/// # Safety
/// The processor has the instructions of `L`.
#[inline(always)]
unsafe fn softmax<L: Lanes>(scores: &mut [[f32; 16]], count: usize) -> f32 {
    if let Some(last) = scores.last_mut()
        && !count.is_multiple_of(16)
    {
        last[count % 16..].fill(f32::MIN);
    }
    // SAFETY: as the caller promises.
    unsafe {
        let mut largest = L::splat(f32::MIN);
        for lanes in &*scores {
            largest = L::max(L::load(lanes), largest);
        }
        let largest = L::splat(L::largest(largest));
        let mut sum = L::splat(0.0);
        for lanes in scores {
            let exponentials = exp::<L>(L::sub(L::load(lanes), largest));
            sum = L::add(sum, exponentials);
            L::store(exponentials, lanes);
        }
        L::sum(sum).recip()
    }
}

/// Returns e^x to within a few units in the last place. Clamps the result to 2^±126.
///
/// # Safety
/// The processor has the instructions of `L`.
#[inline(always)]
unsafe fn exp<L: Lanes>(x: L::Floats) -> L::Floats {
    // SAFETY: as the caller promises.
    unsafe {
        let x = L::mul(x, L::splat(std::f32::consts::LOG2_E));
        // The smaller of two numbers by way of the larger of their opposites; NaN becomes the limit.
        let x = L::sub(L::splat(0.0), L::max(L::sub(L::splat(0.0), x), L::splat(-126.0)));
        let x = L::max(x, L::splat(-126.0));
        let whole = L::round(x);
        let fraction = L::sub(x, whole);
        let mut power = L::splat(EXP2[0]);
        for &coefficient in &EXP2[1..] {
            power = L::mul_add(power, fraction, L::splat(coefficient));
        }
        L::scale(power, whole)
    }
}

/// 2^f for |f| ≤ 1/2, as a polynomial (Taylor), from the highest power to the lowest.
const EXP2: [f32; 8] = [
    1.525_273_4e-5,
    1.540_353e-4,
    1.333_355_8e-3,
    9.618_129e-3,
    5.550_411e-2,
    2.402_265e-1,
    std::f32::consts::LN_2,
    1.0,
];
