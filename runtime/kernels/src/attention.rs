//! Scaled dot-product attention (Vaswani et al., 2017) over sequences that lie end to end.
//!
//! For each head, keys and values of a sequence are packed as the weights of two products: queries with keys, and
//! what softmax makes of that with values. The scale, and the step from powers of e to powers of two, are in the
//! query's weights already.
//!
//! The invariant: a token sees the tokens of its own sequence, all of them and nothing else.

use crate::aligned::{Aligned, numbers, numbers_mut};
use crate::elements;
use crate::format::{SelfFormat, Single};
use crate::isa::Kernel;
use crate::simd::{PANEL_MAX, Simd, TILE_ROWS_MAX};
use crate::tile::{multiply_tile, panel_width, tiles};
use std::ops::Range;

/// Query, key and value of some neighbouring tokens side by side, as attention stores them.
#[derive(Default)]
pub(crate) struct Projected {
    /// Which tokens of the batch.
    pub(crate) tokens: Range<usize>,
    pub(crate) rows: Aligned<u8>,
}

/// The shape of attention.
#[derive(Clone, Copy)]
pub(crate) struct Heads {
    pub(crate) count: usize,
    /// Channels of one head.
    pub(crate) width: usize,
    /// Channels from a row of [`Projected`] to the next.
    pub(crate) stride: usize,
    /// Whether everything is f32.
    pub(crate) exact: bool,
    /// Bytes of a number in a row of [`Projected`].
    pub(crate) number_bytes: usize,
}

/// What attention needs while it computes.
#[derive(Default)]
pub(crate) struct Room {
    keys: Aligned<u8>,
    values: Aligned<u8>,
    scores: Aligned<f32>,
    weights: Aligned<u8>,
}

impl Room {
    /// Makes room for sequences of up to `length` tokens.
    pub(crate) fn ensure(&mut self, heads: Heads, length: usize) {
        let length = length.next_multiple_of(PANEL_MAX);
        let channels = heads.width.next_multiple_of(PANEL_MAX);
        self.keys.ensure(length * channels * size_of::<f32>());
        self.values.ensure(length * channels * size_of::<f32>());
        self.scores.ensure(TILE_ROWS_MAX * length);
        self.weights.ensure(TILE_ROWS_MAX * length * size_of::<f32>());
    }
}

/// Attention of some tokens of one sequence, in all heads.
pub(crate) struct Attend<'a> {
    pub(crate) heads: Heads,
    /// All tokens of the batch.
    pub(crate) projected: &'a [Projected],
    /// The tokens of the sequence.
    pub(crate) sequence: Range<usize>,
    /// Those of them to compute; all in one element of `projected`.
    pub(crate) wanted: Range<usize>,
    pub(crate) room: &'a mut Room,
    /// A row for each wanted token, `context_stride` apart.
    pub(crate) context: &'a mut [f32],
    pub(crate) context_stride: usize,
}

impl Kernel for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        if self.heads.exact {
            attend::<S, Single>(simd, self);
        } else {
            attend::<S, S::Attention>(simd, self);
        }
    }
}

#[inline(always)]
fn attend<S: Simd, M: SelfFormat<S>>(simd: S, mut job: Attend<'_>) {
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
        pack::<S, M>(&mut job, head);
        for (first, rows) in tiles::<S>(job.wanted.len()) {
            let queries = &queries[first * stride + head * job.heads.width..];
            attend_rows::<S, M>(simd, &mut job, head, queries, first, rows);
        }
    }
}

/// Packs the sequence's keys and values of one head.
#[inline(always)]
fn pack<S: Simd, M: SelfFormat<S>>(job: &mut Attend<'_>, head: usize) {
    let Heads { count, width, stride, .. } = job.heads;
    let panel = panel_width::<S>();
    let key_groups = width.div_ceil(M::GROUP);
    let value_groups = job.sequence.len().div_ceil(M::GROUP);
    let keys_padded = job.sequence.len().next_multiple_of(panel);
    let keys = &mut numbers_mut::<M::Number>(&mut job.room.keys)[..keys_padded * key_groups * M::GROUP];
    let values_length = width.next_multiple_of(panel) * value_groups * M::GROUP;
    let values = &mut numbers_mut::<M::Number>(&mut job.room.values)[..values_length];
    if !job.sequence.len().is_multiple_of(panel) || !width.is_multiple_of(M::GROUP) {
        keys.fill(M::stored(0.0));
    }
    if !job.sequence.len().is_multiple_of(M::GROUP) || !width.is_multiple_of(panel) {
        values.fill(M::stored(0.0));
    }
    for part in job.projected {
        let start = part.tokens.start.max(job.sequence.start);
        let end = part.tokens.end.min(job.sequence.end);
        let rows = numbers::<M::Number>(&part.rows);
        for token in start..end {
            let row = &rows[(token - part.tokens.start) * stride..][..stride];
            let key = &row[(count + head) * width..][..width];
            let value = &row[(2 * count + head) * width..][..width];
            let index = token - job.sequence.start;
            let from = ((index / panel) * key_groups * panel + index % panel) * M::GROUP;
            for (to, key) in keys[from..].chunks_mut(panel * M::GROUP).zip(key.chunks(M::GROUP)) {
                to[..key.len()].copy_from_slice(key);
            }
            let from = (index / M::GROUP) * panel * M::GROUP + index % M::GROUP;
            for (to, value) in
                values[from..].chunks_mut(value_groups * panel * M::GROUP).zip(value.chunks(panel))
            {
                for (to, value) in to.iter_mut().step_by(M::GROUP).zip(value) {
                    *to = *value;
                }
            }
        }
    }
}

/// Attention of up to a tile of tokens in one head.
#[inline(always)]
fn attend_rows<S: Simd, M: SelfFormat<S>>(
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
    let keys = numbers::<M::Number>(&job.room.keys);
    let scores = &mut job.room.scores[..rows * padded];
    for (index, keys) in keys.chunks_exact(key_groups * panel * M::GROUP).take(padded / panel).enumerate() {
        let scores = &mut scores[index * panel..];
        multiply_tile::<S, M>(simd, rows, queries, stride, keys, key_groups, scores, padded);
    }
    let weights = numbers_mut::<M::Number>(&mut job.room.weights);
    let mut factors = [0.0; TILE_ROWS_MAX];
    for ((scores, weights), factor) in
        scores.chunks_exact_mut(padded).zip(weights.chunks_exact_mut(padded)).zip(&mut factors)
    {
        *factor = elements::softmax::<S, M>(scores, length, weights);
    }
    let values = numbers::<M::Number>(&job.room.values);
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

/// A tile's sums.
#[repr(align(64))]
struct Sums([f32; TILE_ROWS_MAX * PANEL_MAX]);
