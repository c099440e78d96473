//! The buffers of a forward pass, kept for the next one, and the hidden states that it leaves in them.

use super::attention::{AttentionWorkspace, Projected};
use super::{BLOCK_ROWS, Encoder, Sequence, stride};
use crate::aligned::Aligned;
use crate::simd::elements::Quantization;
use std::ops::Range;

/// Buffers for forward passes. They grow to the needs of the largest batch.
#[derive(Default)]
pub struct Workspace {
    pub(super) threads: Vec<ThreadWorkspace>,
    /// Double-buffered by layer, so that a thread may write while others still read the previous layer.
    pub(super) projected: [Vec<Projected>; 2],
    /// The index of each sequence's first token, and the end of the last sequence.
    pub(super) starts: Vec<usize>,
}

/// The buffers of one thread of a team.
#[derive(Default)]
pub(super) struct ThreadWorkspace {
    /// The thread's tokens of the batch.
    pub(super) tokens: Range<usize>,
    /// Their hidden states.
    pub(super) rows: Aligned<f32>,
    /// The output of attention.
    pub(super) context: Aligned<f32>,
    /// A block at the intermediate size.
    pub(super) intermediate: Aligned<f32>,
    /// A block of activations as the arithmetic stores them.
    pub(super) prepared: Aligned<u8>,
    pub(super) quantizations: Vec<Quantization>,
    pub(super) attention: AttentionWorkspace,
    /// A token embedding as it is read from its file.
    pub(super) row_bytes: Vec<u8>,
    /// Whether a token embedding could not be read.
    pub(super) unreadable: bool,
}

/// The hidden states of a forward pass.
#[derive(Clone, Copy)]
pub struct Hidden<'a> {
    threads: &'a [ThreadWorkspace],
    starts: &'a [usize],
    width: usize,
}

impl Workspace {
    /// Divides the tokens among threads and grows the buffers. Returns the number of threads that have tokens.
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
    /// Returns the number of sequences.
    #[must_use]
    pub fn sequences(&self) -> usize {
        self.starts.len() - 1
    }

    /// Returns the hidden state of each token of a sequence.
    ///
    /// # Panics
    /// Panics if there is no such sequence.
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
    /// Panics if there is no such sequence, or if `mean` does not have one element for each channel.
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
    /// Panics if there is no such sequence, or if `first` does not have one element for each channel.
    pub fn first(&self, sequence: usize, first: &mut [f32]) {
        if let Some(row) = self.rows(sequence).next() {
            first.copy_from_slice(row);
        }
    }
}

/// The minimum number of tokens for a thread.
const THREAD_ROWS_MIN: usize = 4;
