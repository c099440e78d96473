//! The encoder of BERT (Devlin et al., 2019) and its descendants, of any size.
//!
//! Sequences lie end to end: every linear map sees the rows of all tokens, and only attention looks at sequences. A
//! thread team divides the rows, not the layers. A thread takes its rows through a whole layer, one block that fits the
//! cache at a time. The threads meet once a layer, because attention needs the keys and values of the others.
//!
//! The invariants:
//! - A hidden state does not depend on the rest of its batch or on the number of threads, beyond rounding.
//! - A token or position outside the model is an error before anything is computed.
//! - Once [`Workspace`] has grown to the largest batch, nothing is allocated.

mod attention;
mod linear;
mod load;
mod matrix;
mod relative;
mod tile;
mod token_embeddings;
mod workspace;

pub use linear::Precision;
pub use load::{Dense, EncoderError, EncoderTables, EncoderWeights, LayerWeights, Norm, TakeLayer};
pub use matrix::{Matrix, MatrixError, Outlier};
pub use relative::{RELATIVE_BUCKETS, relative_bucket};
pub use token_embeddings::{ReadRows, TokenEmbeddings};
pub use workspace::{Hidden, Workspace};

use crate::aligned::Aligned;
use crate::simd::Simd;
use crate::simd::elements::{self, Activation};
use crate::simd::isa::{Isa, WithSimd};
use crate::thread_team::ThreadTeam;
use attention::{Attend, Heads, Projected};
use linear::{Linear, Multiply, Output};
use relative::RelativeBias;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use workspace::ThreadWorkspace;

/// An encoder, ready to run. It borrows its embedding tables.
pub struct Encoder<'a> {
    isa: Isa,
    precision: Precision,
    hidden: usize,
    intermediate: usize,
    heads: Heads,
    activation: Activation,
    epsilon: f32,
    token_embeddings: TokenEmbeddings<'a>,
    positions: Matrix<'a>,
    padding: Option<u32>,
    types: Option<Matrix<'a>>,
    norm: LayerNorm,
    relative_bias: Option<RelativeBias>,
    layers: Vec<Layer>,
}

/// A tokenised text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sequence<'a> {
    /// The token numbers.
    pub tokens: &'a [u32],
    /// The type of each token; empty if all have type zero.
    pub types: &'a [u32],
}

/// Why a batch could not be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// A sequence has no tokens.
    #[error("sequence {sequence} is empty")]
    Empty {
        /// Its index in the batch.
        sequence: usize,
    },
    /// The pass was stopped.
    #[error("stopped before the end")]
    Stopped,
    /// A sequence has more tokens than the model has positions.
    #[error("sequence {sequence} has {tokens} tokens, the model takes {max}")]
    TooLong {
        /// Its index in the batch.
        sequence: usize,
        /// The number of tokens.
        tokens: usize,
        /// The maximum of the model.
        max: usize,
    },
    /// A sequence does not have one type for each token.
    #[error("sequence {sequence} has {tokens} tokens and {types} token types")]
    Types {
        /// Its index in the batch.
        sequence: usize,
        /// The number of tokens.
        tokens: usize,
        /// The number of types.
        types: usize,
    },
    /// The embedding of a token cannot be read from its file.
    #[error("the model's token embeddings cannot be read any more")]
    Unreadable,
    /// A token is outside the vocabulary.
    #[error("token {token} is not in the vocabulary of {vocabulary}")]
    UnknownToken {
        /// The token.
        token: u32,
        /// The size of the vocabulary.
        vocabulary: usize,
    },
    /// The model does not have a token type.
    #[error("token type {found} is not one of {types}")]
    UnknownType {
        /// The type.
        found: u32,
        /// The number of token types.
        types: usize,
    },
}

struct LayerNorm {
    weight: Aligned<f32>,
    bias: Aligned<f32>,
}

struct Layer {
    /// Query, key and value side by side.
    query_key_value: Linear,
    attention_output: Linear,
    attention_output_norm: LayerNorm,
    intermediate: Linear,
    output: Linear,
    output_norm: LayerNorm,
}

impl<'a> From<&'a [u32]> for Sequence<'a> {
    fn from(tokens: &'a [u32]) -> Self {
        Self { tokens, types: &[] }
    }
}

impl Encoder<'_> {
    /// Returns the number of channels of a hidden state.
    #[must_use]
    pub const fn hidden(&self) -> usize {
        self.hidden
    }

    /// Returns the precision that it computes in.
    #[must_use]
    pub const fn precision(&self) -> Precision {
        self.precision
    }

    /// Returns the instruction set that it computes with.
    #[must_use]
    pub const fn isa(&self) -> Isa {
        self.isa
    }

    /// Computes the hidden states of all tokens. Checks `stop` between layers.
    ///
    /// # Errors
    /// Returns [`ForwardError`] if the model does not accept a sequence, or if `stop` was set.
    pub fn forward<'s>(
        &self,
        team: &mut ThreadTeam,
        workspace: &'s mut Workspace,
        sequences: &[Sequence<'_>],
        stop: &AtomicBool,
    ) -> Result<Hidden<'s>, ForwardError> {
        self.check(sequences)?;
        let threads = workspace.begin(self, sequences, team.threads());
        let Workspace { threads: all, projected: [even, odd], starts } = &mut *workspace;
        let all = &mut all[..threads];
        let (mut current, mut next) = (&mut even[..threads], &mut odd[..threads]);
        if threads > 0 {
            team.each(all, current, |thread, own| {
                thread.unreadable = self.embed(thread, sequences, starts).is_err();
                if let Some(first) = self.layers.first() {
                    self.project(first, thread, own);
                }
            });
            if all.iter().any(|thread| thread.unreadable) {
                return Err(ForwardError::Unreadable);
            }
        }
        for (index, layer) in self.layers.iter().enumerate() {
            if threads == 0 {
                break;
            }
            if stop.load(Ordering::Relaxed) {
                return Err(ForwardError::Stopped);
            }
            team.each(all, next, |thread, own| {
                self.attend(thread, current, starts);
                self.feed_forward(layer, thread);
                if let Some(following) = self.layers.get(index + 1) {
                    self.project(following, thread, own);
                }
            });
            std::mem::swap(&mut current, &mut next);
        }
        Ok(workspace.hidden(self.hidden, threads))
    }

    fn check(&self, sequences: &[Sequence<'_>]) -> Result<(), ForwardError> {
        for (index, Sequence { tokens, types }) in sequences.iter().enumerate() {
            let (sequence, max) = (index, self.positions.rows() - first_position(self.padding));
            if tokens.is_empty() {
                return Err(ForwardError::Empty { sequence });
            }
            if tokens.len() > max {
                return Err(ForwardError::TooLong { sequence, tokens: tokens.len(), max });
            }
            if !types.is_empty() && types.len() != tokens.len() {
                return Err(ForwardError::Types { sequence, tokens: tokens.len(), types: types.len() });
            }
            let vocabulary = self.token_embeddings.rows();
            if let Some(&token) = tokens.iter().find(|token| **token as usize >= vocabulary) {
                return Err(ForwardError::UnknownToken { token, vocabulary });
            }
            // A model without types takes type zero.
            let known = self.types.as_ref().map_or(1, Matrix::rows);
            if let Some(&found) = types.iter().find(|found| **found as usize >= known) {
                return Err(ForwardError::UnknownType { found, types: known });
            }
        }
        Ok(())
    }

    /// Looks up the embeddings of a thread's rows.
    fn embed(
        &self,
        thread: &mut ThreadWorkspace,
        sequences: &[Sequence<'_>],
        starts: &[usize],
    ) -> io::Result<()> {
        for (sequence, range) in sequences.iter().zip(starts.windows(2)) {
            let start = range[0].max(thread.tokens.start);
            let end = range[1].min(thread.tokens.end);
            if start >= end {
                continue;
            }
            let mut rows = position_rows(sequence.tokens, self.padding).skip(start - range[0]);
            for token in start..end {
                let position = token - range[0];
                let place = rows.next().unwrap_or(position);
                let stride = stride(self.hidden);
                let row = &mut thread.rows[(token - thread.tokens.start) * stride..][..stride];
                row.fill(0.0);
                let row = &mut row[..self.hidden];
                if let TokenEmbeddings::Read(token_embeddings) = &self.token_embeddings {
                    token_embeddings.read(sequence.tokens[position] as usize, &mut thread.row_bytes, row)?;
                }
                self.isa.run(Embed { encoder: self, sequence, position, place, row });
            }
        }
        Ok(())
    }

    /// Computes queries, keys and values of a thread's rows.
    fn project(&self, layer: &Layer, thread: &mut ThreadWorkspace, own: &mut Projected) {
        own.tokens = thread.tokens.clone();
        let (input_stride, output_stride) = (stride(self.hidden), self.heads.stride);
        let row_bytes = output_stride * self.number_bytes();
        let rows_of = |block: usize| block * BLOCK_ROWS;
        for block in 0..thread.tokens.len().div_ceil(BLOCK_ROWS) {
            let rows = BLOCK_ROWS.min(thread.tokens.len() - rows_of(block));
            self.isa.run(Multiply {
                linear: &layer.query_key_value,
                rows,
                input: &thread.rows[rows_of(block) * input_stride..],
                input_stride,
                prepared: &mut thread.prepared,
                quantizations: &mut thread.quantizations,
                output: Output::Attention(&mut own.rows[rows_of(block) * row_bytes..], self.heads.exact),
                output_stride,
            });
        }
    }

    /// Computes the attention of a thread's rows, into its context.
    fn attend(&self, thread: &mut ThreadWorkspace, projected: &[Projected], starts: &[usize]) {
        let context_stride = stride(self.hidden);
        for range in starts.windows(2) {
            let wanted = range[0].max(thread.tokens.start)..range[1].min(thread.tokens.end);
            if wanted.is_empty() {
                continue;
            }
            let first = wanted.start - thread.tokens.start;
            self.isa.run(Attend {
                heads: self.heads,
                relative_bias: self.relative_bias.as_ref(),
                projected,
                sequence: range[0]..range[1],
                wanted,
                workspace: &mut thread.attention,
                context: &mut thread.context[first * context_stride..],
                context_stride,
            });
        }
    }

    /// Computes the rest of a layer after attention, a block of rows at a time.
    fn feed_forward(&self, layer: &Layer, thread: &mut ThreadWorkspace) {
        let (narrow_stride, wide_stride) = (stride(self.hidden), stride(self.intermediate));
        let ThreadWorkspace { tokens, rows, context, intermediate, prepared, quantizations, .. } = thread;
        let (all, isa) = (tokens.len(), self.isa);
        let mut first = 0;
        while first < all {
            let count = BLOCK_ROWS.min(all - first);
            let block = first * narrow_stride..(first + count) * narrow_stride;
            let rows = &mut rows[block.clone()];
            isa.run(Multiply {
                linear: &layer.attention_output,
                rows: count,
                input: &context[block],
                input_stride: narrow_stride,
                prepared: &mut *prepared,
                quantizations: &mut *quantizations,
                output: Output::Added(&mut *rows),
                output_stride: narrow_stride,
            });
            isa.run(Normalize { encoder: self, norm: &layer.attention_output_norm, rows: &mut *rows });
            isa.run(Multiply {
                linear: &layer.intermediate,
                rows: count,
                input: &*rows,
                input_stride: narrow_stride,
                prepared: &mut *prepared,
                quantizations: &mut *quantizations,
                output: Output::Activated(&mut *intermediate, self.activation),
                output_stride: wide_stride,
            });
            isa.run(Multiply {
                linear: &layer.output,
                rows: count,
                input: &*intermediate,
                input_stride: wide_stride,
                prepared: &mut *prepared,
                quantizations: &mut *quantizations,
                output: Output::Added(&mut *rows),
                output_stride: narrow_stride,
            });
            isa.run(Normalize { encoder: self, norm: &layer.output_norm, rows });
            first += count;
        }
    }

    /// Returns the size in bytes of a number as attention stores it.
    const fn number_bytes(&self) -> usize {
        self.heads.number_bytes
    }
}

/// Returns the row of the first position in the table of position embeddings.
const fn first_position(padding: Option<u32>) -> usize {
    match padding {
        Some(padding) => padding as usize + 1,
        None => 0,
    }
}

/// Returns the row in the table of position embeddings for each token. See [`EncoderTables::padding`].
fn position_rows(tokens: &[u32], padding: Option<u32>) -> impl Iterator<Item = usize> {
    let mut next = first_position(padding);
    tokens.iter().map(move |token| {
        if Some(*token) == padding {
            return *token as usize;
        }
        next += 1;
        next - 1
    })
}

/// Returns the distance between rows, padded to whole panels.
const fn stride(columns: usize) -> usize {
    columns.next_multiple_of(crate::simd::PANEL_MAX)
}

/// Computes one row of the first layer's input. The row holds its token embedding already, or zeros.
struct Embed<'a> {
    encoder: &'a Encoder<'a>,
    sequence: &'a Sequence<'a>,
    position: usize,
    /// The row of the position embedding.
    place: usize,
    row: &'a mut [f32],
}

impl WithSimd for Embed<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { encoder, sequence, position, place, row } = self;
        if let TokenEmbeddings::InMemory(token_embeddings) = &encoder.token_embeddings {
            token_embeddings.add_row(sequence.tokens[position] as usize, row);
        }
        encoder.positions.add_row(place, row);
        if let Some(types) = &encoder.types {
            types.add_row(sequence.types.get(position).map_or(0, |found| *found as usize), row);
        }
        let LayerNorm { weight, bias } = &encoder.norm;
        elements::normalize::<S>(row, weight, bias, encoder.epsilon);
    }
}

/// Normalises rows (layer normalisation).
struct Normalize<'a> {
    encoder: &'a Encoder<'a>,
    norm: &'a LayerNorm,
    rows: &'a mut [f32],
}

impl WithSimd for Normalize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { encoder, norm, rows } = self;
        for row in rows.chunks_exact_mut(stride(encoder.hidden)) {
            elements::normalize::<S>(&mut row[..encoder.hidden], &norm.weight, &norm.bias, encoder.epsilon);
        }
    }
}

/// Rows that go through a feed-forward network together: few enough for the cache, enough to amortise reading weights.
const BLOCK_ROWS: usize = 48;
