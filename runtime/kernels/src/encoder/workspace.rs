//! The memory that a forward pass works in, kept for the next one, and what it leaves there.

use super::attention::{AttentionWorkspace, Projected};
use super::{BLOCK_ROWS, Encoder, Sequence, stride};
use crate::aligned::Aligned;
use crate::simd::elements::Quantization;
use std::ops::Range;

/// Memory for forward passes; grows to what the largest batch needs.
#[derive(Default)]
pub struct Workspace {
    pub(super) threads: Vec<ThreadWorkspace>,
    /// By thread; layers take turns, so that a thread may write while others still read.
    pub(super) projected: [Vec<Projected>; 2],
    /// The first token of each sequence, and the end of the last one.
    pub(super) starts: Vec<usize>,
}

/// What one thread of a team works on.
#[derive(Default)]
pub(super) struct ThreadWorkspace {
    /// Its tokens of the batch.
    pub(super) tokens: Range<usize>,
    /// Their hidden states.
    pub(super) rows: Aligned<f32>,
    /// What attention found.
    pub(super) context: Aligned<f32>,
    /// A block at the intermediate size.
    pub(super) intermediate: Aligned<f32>,
    /// A block of activations as the format stores them.
    pub(super) prepared: Aligned<u8>,
    pub(super) quantizations: Vec<Quantization>,
    pub(super) attention: AttentionWorkspace,
    /// A word as it is read from where it lies.
    pub(super) row_bytes: Vec<u8>,
    /// A word of its tokens could not be read.
    pub(super) unreadable: bool,
}

/// The hidden states that a forward pass computed.
#[derive(Clone, Copy)]
pub struct Hidden<'a> {
    threads: &'a [ThreadWorkspace],
    starts: &'a [usize],
    width: usize,
}

impl Workspace {
    /// Shares the tokens among threads and makes room; returns how many threads have any.
    pub(super) fn begin(
        &mut self,
        encoder: &Encoder<'_>,
        sequences: &[Sequence<'_>],
        threads_max: usize,
    ) -> usize {
        self.starts.clear();
        self.starts.push(0);
        let mut total = 0;
        let mut longest = 0;
        for Sequence { tokens, .. } in sequences {
            total += tokens.len();
            longest = longest.max(tokens.len());
            self.starts.push(total);
        }
        let threads = threads_max.min(total.div_ceil(THREAD_ROWS_MIN));
        if self.threads.len() < threads {
            self.threads.resize_with(threads, ThreadWorkspace::default);
            for projected in &mut self.projected {
                projected.resize_with(threads, Projected::default);
            }
        }
        for (index, thread) in self.threads[..threads].iter_mut().enumerate() {
            thread.tokens = total * index / threads..total * (index + 1) / threads;
            thread.ensure(encoder, longest);
            for projected in &mut self.projected {
                let numbers = thread.tokens.len() * encoder.heads.stride;
                projected[index].rows.ensure(numbers * encoder.number_bytes());
            }
        }
        threads
    }

    pub(super) fn hidden(&self, width: usize, threads: usize) -> Hidden<'_> {
        Hidden { threads: &self.threads[..threads], starts: &self.starts, width }
    }
}

impl ThreadWorkspace {
    fn ensure(&mut self, encoder: &Encoder<'_>, longest: usize) {
        let rows = self.tokens.len() * stride(encoder.hidden);
        self.rows.ensure(rows);
        self.context.ensure(rows);
        self.intermediate.ensure(BLOCK_ROWS * stride(encoder.intermediate));
        let row_bytes = encoder
            .layers
            .iter()
            .flat_map(|layer| {
                [&layer.query_key_value, &layer.attention_output, &layer.intermediate, &layer.output]
            })
            .map(|linear| linear.prepared_bytes())
            .max()
            .unwrap_or(0);
        self.prepared.ensure(BLOCK_ROWS * row_bytes);
        self.quantizations.resize(BLOCK_ROWS, Quantization::default());
        self.attention.ensure(encoder.heads, longest);
    }
}

impl<'a> Hidden<'a> {
    /// Returns how many sequences there were.
    #[must_use]
    pub fn sequences(&self) -> usize {
        self.starts.len() - 1
    }

    /// Returns the hidden state of each token of a sequence.
    ///
    /// # Panics
    /// Panics where there was no such sequence.
    pub fn rows(&self, sequence: usize) -> impl Iterator<Item = &'a [f32]> + use<'a> {
        let Self { threads, width, .. } = *self;
        let range = self.starts[sequence]..self.starts[sequence + 1];
        threads.iter().flat_map(move |thread| {
            let start = range.start.max(thread.tokens.start);
            let end = range.end.min(thread.tokens.end);
            (start..end)
                .map(move |token| &thread.rows[(token - thread.tokens.start) * stride(width)..][..width])
        })
    }

    /// Writes the mean over a sequence's tokens.
    ///
    /// # Panics
    /// Panics where there was no such sequence or `mean` has not one place for each channel.
    pub fn mean(&self, sequence: usize, mean: &mut [f32]) {
        assert_eq!(mean.len(), self.width, "a hidden state has {} channels", self.width);
        mean.fill(0.0);
        let mut count = 0.0;
        for row in self.rows(sequence) {
            count += 1.0;
            for (sum, number) in mean.iter_mut().zip(row) {
                *sum += number;
            }
        }
        for number in mean {
            *number /= count;
        }
    }

    /// Writes the hidden state of a sequence's first token.
    ///
    /// # Panics
    /// Panics where there was no such sequence or `first` has not one place for each channel.
    pub fn first(&self, sequence: usize, first: &mut [f32]) {
        if let Some(row) = self.rows(sequence).next() {
            first.copy_from_slice(row);
        }
    }
}

/// Fewer tokens than this are not worth a thread of a team.
const THREAD_ROWS_MIN: usize = 4;
