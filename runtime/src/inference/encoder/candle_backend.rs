//! The encoder backend on candle, in f32: the independent reference for the kernels.
//!
//! No worker selects it today: only tests do, through the public `Backend::Candle`. It stays in the library because
//! these tests run outside the crate, and because models that the kernels cannot run need a candle path.
//!
//! Sequences lie end to end, without padding: every linear map sees one tall matrix of all tokens, and only attention
//! looks at sequences, those of equal length together. Element-wise operations run in place on the calling thread.

use super::candle_ops::{Bias, BiasActivation, Softmax};
use super::config::EncoderConfig;
use super::parameters::{LayerParameters, Linear, Norm, Parameters};
use super::{EncodeError, Encoder, EncoderError, TakeRows, Workspace};
use candle_core::{Device, Tensor};
use kernels::{Activation, Sequence, relative_bucket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// A loaded encoder.
pub(super) struct CandleBackend {
    hidden: usize,
    heads: usize,
    token_embeddings: Vec<f32>,
    positions: Vec<f32>,
    padding: Option<u32>,
    /// At least the first type, which is zero if the architecture has no types.
    types: Vec<f32>,
    norm: Norm,
    /// For each bucket of relative positions, a bias for each head.
    relative_bias: Option<Vec<f32>>,
    layers: Vec<Layer>,
}

impl CandleBackend {
    /// Loads an encoder.
    pub(super) fn load(
        parameters: &Parameters<'_, '_>,
        config: &EncoderConfig,
    ) -> Result<Self, EncoderError> {
        // Loads a few layers at a time, to bound the memory that is in use twice.
        let mut layers = Vec::with_capacity(config.layers);
        let numbers: Vec<usize> = (0..config.layers).collect();
        for some in numbers.chunks(LOADERS) {
            let loaded: Result<Vec<Layer>, EncoderError> = thread::scope(|scope| {
                let load = |layer| move || Layer::new(parameters.layer(layer)?, config);
                let loaders: Vec<_> = some.iter().map(|&layer| scope.spawn(load(layer))).collect();
                let join = |loader: thread::ScopedJoinHandle<'_, _>| {
                    loader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                };
                loaders.into_iter().map(join).collect()
            });
            layers.extend(loaded?);
        }
        let types = parameters.token_types()?.map_or_else(|| vec![0.0; config.hidden], |types| types.widen());
        Ok(Self {
            hidden: config.hidden,
            heads: config.heads,
            token_embeddings: parameters.token_embeddings()?.widen(),
            positions: parameters.positions()?.widen(),
            padding: config.padding,
            types,
            norm: parameters.embeddings_norm()?,
            relative_bias: parameters.relative_bias()?,
            layers,
        })
    }

    /// Returns the normalised sum of each token's embeddings.
    fn look_up(&self, sequences: &[Sequence<'_>]) -> Result<Tensor, EncodeError> {
        let tokens: usize = sequences.iter().map(|sequence| sequence.tokens.len()).sum();
        let mut hidden = Vec::with_capacity(tokens * self.hidden);
        for sequence in sequences {
            let mut padded = 0;
            for (position, &token) in sequence.tokens.iter().enumerate() {
                let start = hidden.len();
                let word = row(&self.token_embeddings, token as usize, self.hidden);
                let place = match self.padding {
                    None => position,
                    Some(padding) if token == padding => {
                        padded += 1;
                        padding as usize
                    }
                    Some(padding) => padding as usize + 1 + position - padded,
                };
                let place = row(&self.positions, place, self.hidden);
                let of_type = sequence.types.get(position).map_or(0, |found| *found as usize);
                let (Some(word), Some(place), Some(of_type)) =
                    (word, place, row(&self.types, of_type, self.hidden))
                else {
                    return Err(EncodeError::Failed(format!("no row for token {token} at {position}")));
                };
                let parts = word.iter().zip(place).zip(of_type);
                hidden.extend(parts.map(|((word, place), of_type)| word + place + of_type));
                self.norm.normalize(&mut hidden[start..]);
            }
        }
        Tensor::from_vec(hidden, (tokens, self.hidden), &Device::Cpu).map_err(failed)
    }
}

impl Encoder for CandleBackend {
    fn encode(
        &self,
        _: &mut Workspace,
        sequences: &[Sequence<'_>],
        stop: &AtomicBool,
        take: TakeRows<'_>,
    ) -> Result<(), EncodeError> {
        if sequences.is_empty() {
            return Ok(());
        }
        let mut order: Vec<usize> = (0..sequences.len()).collect();
        order.sort_by_key(|&index| sequences[index].tokens.len());
        let sorted: Vec<Sequence<'_>> = order.iter().map(|&index| sequences[index]).collect();
        let runs: Vec<Run> = sorted
            .chunk_by(|one, next| one.tokens.len() == next.tokens.len())
            .map(|run| Run { sequences: run.len(), tokens: run[0].tokens.len() })
            .collect();

        let mut hidden = self.look_up(&sorted)?;
        for layer in &self.layers {
            if stop.load(Ordering::Relaxed) {
                return Err(EncodeError::Stopped);
            }
            let bias = self.relative_bias.as_deref();
            hidden = layer.forward(hidden, &runs, self.heads, bias).map_err(failed)?;
        }
        let hidden = hidden.flatten_all().and_then(|hidden| hidden.to_vec1::<f32>()).map_err(failed)?;

        // Restores the original order.
        let mut places = vec![0..0; sequences.len()];
        let mut start = 0;
        for (sequence, index) in sorted.iter().zip(order) {
            let end = start + sequence.tokens.len() * self.hidden;
            places[index] = start..end;
            start = end;
        }
        for place in places {
            take(&mut hidden[place].chunks_exact(self.hidden));
        }
        Ok(())
    }
}

#[allow(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn failed(error: candle_core::Error) -> EncodeError {
    EncodeError::Failed(error.to_string())
}

/// Returns a row of a table.
fn row(table: &[f32], row: usize, width: usize) -> Option<&[f32]> {
    table.chunks_exact(width).nth(row)
}

/// Consecutive sequences of the same length.
struct Run {
    sequences: usize,
    tokens: usize,
}

struct Layer {
    /// Query, key and value side by side.
    query_key_value: Map,
    attention_output: Map,
    attention_output_norm: Norm,
    intermediate: Map,
    activation: Activation,
    output: Map,
    output_norm: Norm,
}

impl Layer {
    fn new(parameters: LayerParameters<'_>, config: &EncoderConfig) -> Result<Self, EncoderError> {
        let LayerParameters {
            query,
            key,
            value,
            attention_output,
            attention_output_norm,
            intermediate,
            output,
            output_norm,
        } = parameters;
        Ok(Self {
            query_key_value: Map::stack(&[query, key, value], config.hidden)?,
            attention_output: Map::stack(&[attention_output], config.hidden)?,
            attention_output_norm,
            intermediate: Map::stack(&[intermediate], config.hidden)?,
            activation: config.activation,
            output: Map::stack(&[output], config.intermediate)?,
            output_norm,
        })
    }

    fn forward(
        &self,
        hidden: Tensor,
        runs: &[Run],
        heads: usize,
        bias: Option<&[f32]>,
    ) -> candle_core::Result<Tensor> {
        let attend = hidden.matmul(&self.query_key_value.weight)?;
        attend.inplace_op1(&Bias(&self.query_key_value.bias))?;
        let context = attention(&attend, runs, heads, bias)?;
        let attention_output = context.matmul(&self.attention_output.weight)?;
        attention_output
            .inplace_op2(&hidden, &self.attention_output_norm.after(&self.attention_output.bias))?;
        let wide = attention_output.matmul(&self.intermediate.weight)?;
        wide.inplace_op1(&BiasActivation(&self.intermediate.bias, self.activation))?;
        let output = wide.matmul(&self.output.weight)?;
        output.inplace_op2(&attention_output, &self.output_norm.after(&self.output.bias))?;
        Ok(output)
    }
}

/// Computes scaled dot-product attention within each sequence. `attend` has a row for each token: query, key, value.
fn attention(
    attend: &Tensor,
    runs: &[Run],
    heads: usize,
    bias: Option<&[f32]>,
) -> candle_core::Result<Tensor> {
    let width = attend.dim(1)? / 3;
    let mut contexts = Vec::with_capacity(runs.len());
    let mut start = 0;
    for &Run { sequences, tokens } in runs {
        let rows = sequences * tokens;
        let parts = attend
            .narrow(0, start, rows)?
            .reshape((sequences, tokens, 3, heads, width / heads))?
            .permute((2, 0, 3, 1, 4))?
            .contiguous()?
            .reshape((3, sequences * heads, tokens, width / heads))?;
        let (query, key, value) = (parts.get(0)?, parts.get(1)?, parts.get(2)?);
        let scale = ((width / heads) as f32).sqrt().recip();
        let mut scores = query.matmul(&key.transpose(1, 2)?)?;
        if let Some(bias) = bias {
            let shape = scores.dims().to_vec();
            let bias = relative_bias(bias, heads, tokens, scale)?;
            let by_head = scores.reshape((sequences, heads, tokens, tokens))?;
            scores = by_head.broadcast_add(&bias)?.reshape(shape)?;
        }
        scores.inplace_op1(&Softmax { scale })?;
        let context = scores
            .matmul(&value)?
            .reshape((sequences, heads, tokens, width / heads))?
            .transpose(1, 2)?
            .reshape((rows, width))?;
        contexts.push(context);
        start += rows;
    }
    Tensor::cat(&contexts, 0)
}

/// Returns the bias of each head, token and other token, before the scores are scaled.
fn relative_bias(table: &[f32], heads: usize, tokens: usize, scale: f32) -> candle_core::Result<Tensor> {
    let mut biases = Vec::with_capacity(heads * tokens * tokens);
    for head in 0..heads {
        for (own, other) in (0..tokens).flat_map(|own| (0..tokens).map(move |other| (own, other))) {
            let bucket = relative_bucket(other as isize - own as isize);
            biases.push(table[bucket * heads + head] / scale);
        }
    }
    Tensor::from_vec(biases, (heads, tokens, tokens), &Device::Cpu)
}

/// A linear map. The weight is input × output, as the matrix product needs it.
struct Map {
    weight: Tensor,
    bias: Vec<f32>,
}

impl Map {
    /// Stacks maps with the same inputs side by side.
    fn stack(maps: &[Linear<'_>], inputs: usize) -> candle_core::Result<Self> {
        let outputs: usize = maps.iter().map(|map| map.bias.len()).sum();
        let mut wide = vec![0.0; inputs * outputs];
        let mut first = 0;
        for map in maps {
            transpose(&map.weight.widen(), inputs, &mut wide[first..], outputs);
            first += map.bias.len();
        }
        let bias = maps.iter().flat_map(|map| map.bias.iter().copied()).collect();
        Ok(Self { weight: Tensor::from_vec(wide, (inputs, outputs), &Device::Cpu)?, bias })
    }
}

/// Writes the transpose of `rows` into the first columns of `wide`, in tiles that stay in cache.
fn transpose(rows: &[f32], inputs: usize, wide: &mut [f32], outputs: usize) {
    for (tile, rows) in rows.chunks(TILE_ROWS * inputs).enumerate() {
        for input in 0..inputs {
            let target = input * outputs + tile * TILE_ROWS;
            let column = rows.iter().skip(input).step_by(inputs);
            for (number, value) in wide[target..].iter_mut().zip(column) {
                *number = *value;
            }
        }
    }
}

/// Layers that are loaded at a time.
const LOADERS: usize = 4;
/// Rows of a matrix that are transposed together: a cache line of f32.
const TILE_ROWS: usize = 16;
