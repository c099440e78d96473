//! Scaled dot-product attention (Vaswani et al., 2017) over sequences that lie end to end.
//!
//! For each head, the keys and values of a sequence are packed as the weights of two products: queries with keys, and
//! the softmax of that with values. The query's weights already contain the scale and the factor log2(e), which turns
//! powers of e into powers of two.
//!
//! The invariant: a token attends to all tokens of its own sequence and to nothing else.

use super::relative::RelativeBias;
use super::tile::{multiply_tile, panel_width, tiles};
use crate::aligned::{Aligned, Plain, numbers, numbers_mut};
use crate::simd::arithmetic::{F32, SymmetricArithmetic};
use crate::simd::elements;
use crate::simd::isa::WithSimd;
use crate::simd::{LANES_MAX, PANEL_MAX, Simd, TILE_ROWS_MAX};
use std::ops::Range;

/// Queries, keys and values of consecutive tokens, side by side, as attention stores them.
#[derive(Default)]
pub(crate) struct Projected {
    /// The range of tokens in the batch.
    pub(crate) tokens: Range<usize>,
    pub(crate) rows: Aligned<u8>,
}

/// The shape of attention.
#[derive(Clone, Copy)]
pub(crate) struct Heads {
    pub(crate) count: usize,
    /// Channels of one head.
    pub(crate) width: usize,
    /// The distance between rows of [`Projected`], in channels.
    pub(crate) stride: usize,
    /// Whether everything is f32.
    pub(crate) exact: bool,
    /// Bytes of a number in a row of [`Projected`].
    pub(crate) number_bytes: usize,
}

/// The buffers of attention.
#[derive(Default)]
pub(crate) struct AttentionWorkspace {
    keys: Aligned<u8>,
    values: Aligned<u8>,
    scores: Aligned<f32>,
    weights: Aligned<u8>,
}

impl AttentionWorkspace {
    /// Grows the buffers for sequences of up to `length` tokens.
    pub(crate) fn ensure(&mut self, heads: Heads, length: usize) {
        let length = length.next_multiple_of(PANEL_MAX);
        let channels = heads.width.next_multiple_of(PANEL_MAX);
        self.keys.ensure(length * channels * size_of::<f32>());
        self.values.ensure(length * channels * size_of::<f32>());
        self.scores.ensure(TILE_ROWS_MAX * length);
        self.weights.ensure(TILE_ROWS_MAX * length * size_of::<f32>());
    }
}

/// The attention of some tokens of one sequence, in all heads.
pub(crate) struct Attend<'a> {
    pub(crate) heads: Heads,
    /// Added to the scores.
    pub(crate) relative_bias: Option<&'a RelativeBias>,
    /// All tokens of the batch.
    pub(crate) projected: &'a [Projected],
    /// The tokens of the sequence.
    pub(crate) sequence: Range<usize>,
    /// The tokens to compute, all in one element of `projected`.
    pub(crate) wanted: Range<usize>,
    pub(crate) workspace: &'a mut AttentionWorkspace,
    /// A row for each wanted token, `context_stride` apart.
    pub(crate) context: &'a mut [f32],
    pub(crate) context_stride: usize,
}

impl WithSimd for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        if self.heads.exact {
            attend::<S, F32>(simd, self);
        } else {
            attend::<S, S::Attention>(simd, self);
        }
    }
}

#[inline(always)]
fn attend<S: Simd, M: SymmetricArithmetic<S>>(simd: S, mut job: Attend<'_>) {
    let Some(own) = job
        .projected
        .iter()
        .find(|part| part.tokens.start <= job.wanted.start && job.wanted.end <= part.tokens.end)
    else {
        panic!("no part of the batch has all wanted tokens");
    };
    let stride = job.heads.stride;
    let queries = &numbers::<M::Number>(&own.rows)[(job.wanted.start - own.tokens.start) * stride..];
    for head in 0..job.heads.count {
        pack::<S, M>(simd, &mut job, head);
        for (first, rows) in tiles::<S>(job.wanted.len()) {
            let queries = &queries[first * stride + head * job.heads.width..];
            attend_rows::<S, M>(simd, &mut job, head, queries, first, rows);
        }
    }
}

/// Packs the sequence's keys and values of one head.
#[inline(always)]
fn pack<S: Simd, M: SymmetricArithmetic<S>>(simd: S, job: &mut Attend<'_>, head: usize) {
    let Heads { count, width, .. } = job.heads;
    let panel = panel_width::<S>();
    let tokens = job.sequence.len();
    let key_groups = width.div_ceil(M::GROUP);
    let panel_length = key_groups * panel * M::GROUP;
    let keys =
        &mut numbers_mut::<M::Number>(&mut job.workspace.keys)[..tokens.div_ceil(panel) * panel_length];
    let key = (count + head) * width;
    let parts = Parts { projected: job.projected, sequence: &job.sequence, heads: job.heads };
    for (index, keys) in keys.chunks_exact_mut(panel_length).enumerate() {
        // Lanes without a token stay as they are: softmax ignores their scores.
        for lane in (0..panel.min(tokens - index * panel)).step_by(S::LANES) {
            let first = job.sequence.start + index * panel + lane;
            pack_keys::<S, M>(simd, &parts, first, key, &mut keys[lane * M::GROUP..]);
        }
    }
    let value_groups = tokens.div_ceil(M::GROUP);
    let panel_length = value_groups * panel * M::GROUP;
    let values =
        &mut numbers_mut::<M::Number>(&mut job.workspace.values)[..width.div_ceil(panel) * panel_length];
    let value = (2 * count + head) * width;
    for group in 0..value_groups {
        let first = job.sequence.start + group * M::GROUP;
        let mut rows: [&[M::Number]; GROUP_MAX] = [&[]; GROUP_MAX];
        for (token, row) in (first..).zip(&mut rows) {
            *row = parts.channels(token, value);
        }
        for (index, values) in values.chunks_exact_mut(panel_length).enumerate() {
            let values = &mut values[group * panel * M::GROUP..][..panel * M::GROUP];
            let some = index * panel..width.min((index + 1) * panel);
            let mut parts = rows;
            for part in &mut parts {
                *part = part.get(some.clone()).unwrap_or_default();
            }
            pack_values::<S, M>(parts, values);
        }
    }
}

/// The projections of a sequence's tokens.
struct Parts<'a> {
    projected: &'a [Projected],
    sequence: &'a Range<usize>,
    heads: Heads,
}

impl<'a> Parts<'a> {
    /// Returns the channels of a token from `first` on for one head; empty if the token is outside the sequence.
    #[inline(always)]
    fn channels<T: Plain>(&self, token: usize, first: usize) -> &'a [T] {
        let part = self.projected.iter().find(|part| part.tokens.contains(&token));
        match part {
            Some(part) if token < self.sequence.end => {
                let row = (token - part.tokens.start) * self.heads.stride;
                &numbers(&part.rows)[row + first..row + first + self.heads.width]
            }
            _ => &[],
        }
    }
}

/// Packs the keys of the vector of tokens from `first` on, whose channels begin with `key`; `keys` begins at the first
/// one's place.
#[inline(always)]
fn pack_keys<S: Simd, M: SymmetricArithmetic<S>>(
    simd: S,
    parts: &Parts<'_>,
    first: usize,
    key: usize,
    keys: &mut [M::Number],
) {
    let width = parts.heads.width;
    let step = panel_width::<S>() * M::GROUP;
    let mut done = 0;
    // A group has the size of a word, and a block of as many words as lanes is transposed at once.
    if size_of::<M::Number>() * M::GROUP == size_of::<u32>() {
        let block = S::LANES * M::GROUP;
        let missing = [0_u32; LANES_MAX];
        while done + block <= width {
            let mut from = [missing.as_ptr(); LANES_MAX];
            for (token, from) in (first..).zip(&mut from).take(S::LANES) {
                if let Some(words) = parts.channels::<M::Number>(token, key).get(done..done + block) {
                    *from = words.as_ptr().cast();
                }
            }
            let to = &mut keys[done / M::GROUP * step..];
            assert!(to.len() >= (S::LANES - 1) * step + block, "too little room for keys");
            // SAFETY: each row has a block of words, be it zeros, and there is room for as many rows of them.
            unsafe { simd.transpose(&from, to.as_mut_ptr().cast(), panel_width::<S>()) };
            done += block;
        }
    }
    for (group, channel) in (done..width).step_by(M::GROUP).enumerate() {
        let to = &mut keys[(done / M::GROUP + group) * step..];
        for (token, to) in (first..).zip(to.chunks_mut(M::GROUP)).take(S::LANES) {
            let row = parts.channels::<M::Number>(token, key);
            for (element, to) in to.iter_mut().enumerate() {
                *to = row.get(channel + element).copied().unwrap_or_default();
            }
        }
    }
}

/// Packs some channels of the values of a group of tokens, and zeros for missing tokens.
#[inline(always)]
fn pack_values<S: Simd, M: SymmetricArithmetic<S>>(
    rows: [&[M::Number]; GROUP_MAX],
    values: &mut [M::Number],
) {
    let [one, other] = rows;
    let channels = one.len();
    values[channels * M::GROUP..].fill(M::Number::default());
    if M::GROUP == 1 {
        values[..channels].copy_from_slice(one);
    } else if other.len() == channels {
        for ((pair, one), other) in values.as_chunks_mut::<2>().0.iter_mut().zip(one).zip(other) {
            *pair = [*one, *other];
        }
    } else {
        for (pair, one) in values.as_chunks_mut::<2>().0.iter_mut().zip(one) {
            *pair = [*one, M::Number::default()];
        }
    }
}

/// Computes the attention of up to a tile of tokens in one head.
#[inline(always)]
fn attend_rows<S: Simd, M: SymmetricArithmetic<S>>(
    simd: S,
    job: &mut Attend<'_>,
    head: usize,
    queries: &[M::Number],
    first: usize,
    rows: usize,
) {
    let Heads { width, stride, .. } = job.heads;
    let panel = panel_width::<S>();
    let length = job.sequence.len();
    let padded = length.next_multiple_of(panel);
    let key_groups = width.div_ceil(M::GROUP);
    let value_groups = length.div_ceil(M::GROUP);
    let keys = numbers::<M::Number>(&job.workspace.keys);
    let scores = &mut job.workspace.scores[..rows * padded];
    for (index, keys) in keys.chunks_exact(key_groups * panel * M::GROUP).take(padded / panel).enumerate() {
        let scores = &mut scores[index * panel..];
        multiply_tile::<S, M>(simd, rows, queries, stride, keys, key_groups, scores, padded);
    }
    if let Some(bias) = job.relative_bias {
        let position = job.wanted.start - job.sequence.start + first;
        for (row, scores) in scores.chunks_exact_mut(padded).enumerate() {
            for (score, bias) in scores.iter_mut().zip(bias.row(head, position + row, length)) {
                *score += bias;
            }
        }
    }
    let weights = numbers_mut::<M::Number>(&mut job.workspace.weights);
    let mut factors = [0.0; TILE_ROWS_MAX];
    for ((scores, weights), factor) in
        scores.chunks_exact_mut(padded).zip(weights.chunks_exact_mut(padded)).zip(&mut factors)
    {
        *factor = elements::softmax::<S, M>(simd, scores, length, weights);
    }
    let values = numbers::<M::Number>(&job.workspace.values);
    let mut sums = Sums([0.0; TILE_ROWS_MAX * PANEL_MAX]);
    for (index, values) in
        values.chunks_exact(value_groups * panel * M::GROUP).take(width.div_ceil(panel)).enumerate()
    {
        multiply_tile::<S, M>(simd, rows, weights, padded, values, value_groups, &mut sums.0, panel);
        let channels = panel.min(width - index * panel);
        for (row, (sums, factor)) in sums.0.chunks_exact(panel).take(rows).zip(factors).enumerate() {
            let start = (first + row) * job.context_stride + head * width + index * panel;
            for (to, sum) in job.context[start..start + channels].iter_mut().zip(sums) {
                *to = sum * factor;
            }
        }
    }
}

/// The sums of a tile.
#[repr(align(64))]
struct Sums([f32; TILE_ROWS_MAX * PANEL_MAX]);

/// The largest group of an arithmetic that attention uses.
const GROUP_MAX: usize = 2;
