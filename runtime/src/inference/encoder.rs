//! BERT's encoder (Devlin et al., 2019) on candle's matrix product, for sequences of any mixture of lengths.
//!
//! Sequences are laid end to end, never padded: every linear map sees one tall matrix of all tokens, and only
//! attention looks at sequences, those of equal length together. The embedding tables stay s8, since a batch needs a
//! few rows of them; the rest is widened to f32 when loading. All element-wise steps run in place on the calling
//! thread.
//!
//! The invariant: a text's vector does not depend on what else is in its batch beyond the rounding of f32.

use super::config::Config;
use super::quantize::{outliers_of, places_of, scale_of};
use super::steps::{Bias, BiasGelu, Norm, Softmax};
use super::weights::{Weights, WeightsError};
use candle_core::{Device, Tensor};
use std::thread;

/// A loaded encoder; the tables stay in the file that it was loaded from.
pub(super) struct Encoder<'a> {
    config: Config,
    words: Table<'a>,
    positions: Table<'a>,
    /// Every token is of the first type.
    token_type: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
}

/// Why an encoder could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    /// The matrix library refused; the file was right.
    #[error("the matrix library failed: {0}")]
    Candle(#[from] candle_core::Error),
    /// The file is wrong.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

impl<'a> Encoder<'a> {
    /// Loads an encoder of these dimensions from a file that [`super::quantize`] wrote.
    pub(super) fn load(weights: &Weights<'a>, config: Config) -> Result<Self, EncoderError> {
        let table =
            |name: &str, rows| Table::load(weights, &format!("embeddings.{name}"), rows, config.hidden);
        let words = table("word_embeddings.weight", config.vocabulary)?;
        let positions = table("position_embeddings.weight", config.positions)?;
        let mut token_type = vec![0.0; config.hidden];
        table("token_type_embeddings.weight", config.token_types)?.add_row(0, &mut token_type);
        let norm = norm(weights, "embeddings.LayerNorm", &config)?;
        // Widening is most of the loading time, and layers do not depend on each other.
        let layers = thread::scope(|scope| {
            let loaders: Vec<_> = (0..config.layers)
                .map(|layer| {
                    let config = &config;
                    scope.spawn(move || Layer::load(weights, &format!("encoder.layer.{layer}"), config))
                })
                .collect();
            loaders
                .into_iter()
                .map(|loader| loader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect::<Result<_, EncoderError>>()
        })?;
        Ok(Self { config, words, positions, token_type, norm, layers })
    }

    /// Returns one vector of unit length for each sequence, in their order: the mean over its tokens.
    ///
    /// # Errors
    /// Where a token has no row, a sequence is empty or too long, or the matrix library refuses.
    pub(super) fn embed(&self, sequences: &[&[u32]]) -> candle_core::Result<Vec<Vec<f32>>> {
        if sequences.is_empty() {
            return Ok(Vec::new());
        }
        let mut order: Vec<usize> = (0..sequences.len()).collect();
        order.sort_by_key(|&index| sequences[index].len());
        let sorted: Vec<&[u32]> = order.iter().map(|&index| sequences[index]).collect();
        let runs: Vec<Run> = sorted
            .chunk_by(|one, next| one.len() == next.len())
            .map(|run| Run { sequences: run.len(), tokens: run[0].len() })
            .collect();

        let mut hidden = self.look_up(&sorted)?;
        for layer in &self.layers {
            hidden = layer.forward(hidden, &runs, self.config.heads)?;
        }
        let hidden = hidden.flatten_all()?.to_vec1::<f32>()?;

        let mut vectors = vec![Vec::new(); sequences.len()];
        let mut rest = hidden.as_slice();
        for (sequence, index) in sorted.iter().zip(order) {
            let (rows, after) = rest.split_at(sequence.len() * self.config.hidden);
            vectors[index] = unit_mean(rows, self.config.hidden);
            rest = after;
        }
        Ok(vectors)
    }

    /// The sum of each token's three embeddings, normalised.
    fn look_up(&self, sequences: &[&[u32]]) -> candle_core::Result<Tensor> {
        let width = self.config.hidden;
        let tokens: usize = sequences.iter().map(|sequence| sequence.len()).sum();
        let mut hidden = Vec::with_capacity(tokens * width);
        for sequence in sequences {
            if sequence.is_empty() || sequence.len() > self.config.positions {
                candle_core::bail!("a sequence of {} tokens", sequence.len());
            }
            for (position, &token) in sequence.iter().enumerate() {
                let start = hidden.len();
                hidden.extend_from_slice(&self.token_type);
                let row = &mut hidden[start..];
                if !self.words.add_row(token as usize, row) {
                    candle_core::bail!("token {token} is not in the vocabulary");
                }
                self.positions.add_row(position, row);
                self.norm.normalize(row);
            }
        }
        Tensor::from_vec(hidden, (tokens, width), &Device::Cpu)
    }
}

/// Neighbouring sequences of the same length.
struct Run {
    sequences: usize,
    tokens: usize,
}

struct Layer {
    /// Query, key and value side by side.
    attend: Linear,
    attended: Linear,
    attended_norm: Norm,
    widen: Linear,
    narrow: Linear,
    narrowed_norm: Norm,
}

impl Layer {
    fn load(weights: &Weights<'_>, name: &str, config: &Config) -> Result<Self, EncoderError> {
        let (hidden, intermediate) = (config.hidden, config.intermediate);
        let linear = |names: &[&str], rows, columns| {
            let names: Vec<String> = names.iter().map(|part| format!("{name}.{part}")).collect();
            Linear::load(weights, &names, rows, columns)
        };
        let attention = ["attention.self.query", "attention.self.key", "attention.self.value"];
        Ok(Self {
            attend: linear(&attention, hidden, hidden)?,
            attended: linear(&["attention.output.dense"], hidden, hidden)?,
            attended_norm: norm(weights, &format!("{name}.attention.output.LayerNorm"), config)?,
            widen: linear(&["intermediate.dense"], intermediate, hidden)?,
            narrow: linear(&["output.dense"], hidden, intermediate)?,
            narrowed_norm: norm(weights, &format!("{name}.output.LayerNorm"), config)?,
        })
    }

    fn forward(&self, hidden: Tensor, runs: &[Run], heads: usize) -> candle_core::Result<Tensor> {
        let attend = hidden.matmul(&self.attend.weight)?;
        attend.inplace_op1(&Bias(&self.attend.bias))?;
        let context = attention(&attend, runs, heads)?;
        let attended = context.matmul(&self.attended.weight)?;
        attended.inplace_op2(&hidden, &self.attended_norm.after(&self.attended.bias))?;
        let wide = attended.matmul(&self.widen.weight)?;
        wide.inplace_op1(&BiasGelu(&self.widen.bias))?;
        let narrow = wide.matmul(&self.narrow.weight)?;
        narrow.inplace_op2(&attended, &self.narrowed_norm.after(&self.narrow.bias))?;
        Ok(narrow)
    }
}

/// Scaled dot-product attention within each sequence. `attend` has a row per token: query, key, value.
fn attention(attend: &Tensor, runs: &[Run], heads: usize) -> candle_core::Result<Tensor> {
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
        let scores = query.matmul(&key.transpose(1, 2)?)?;
        scores.inplace_op1(&Softmax { scale: ((width / heads) as f32).sqrt().recip() })?;
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

/// A linear map; the weight is input × output, the way the matrix product likes it.
struct Linear {
    weight: Tensor,
    bias: Vec<f32>,
}

impl Linear {
    /// Loads maps of the same shape side by side.
    fn load(
        weights: &Weights<'_>,
        names: &[String],
        rows: usize,
        columns: usize,
    ) -> Result<Self, EncoderError> {
        let outputs = names.len() * rows;
        let mut wide = vec![0.0; columns * outputs];
        let mut bias = Vec::with_capacity(outputs);
        for (part, name) in names.iter().enumerate() {
            let matrix = format!("{name}.weight");
            let values = weights.signed(&matrix, &[rows, columns])?;
            let scales = weights.floats(&scale_of(&matrix), &[rows])?;
            widen(values, &scales, columns, &mut wide, outputs, part * rows);
            put_outliers(weights, &matrix, [rows, columns], &mut wide, outputs, part * rows)?;
            bias.extend(weights.floats(&format!("{name}.bias"), &[rows])?);
        }
        Ok(Self { weight: Tensor::from_vec(wide, (columns, outputs), &Device::Cpu)?, bias })
    }
}

/// Writes the transpose of an s8 matrix into columns `first..` of the f32 matrix `wide`, in tiles that stay in cache.
fn widen(values: &[u8], scales: &[f32], columns: usize, wide: &mut [f32], outputs: usize, first: usize) {
    for (tile, scales) in scales.chunks(TILE_ROWS).enumerate() {
        let row = tile * TILE_ROWS;
        for column in 0..columns {
            let target = column * outputs + first + row;
            let wide = &mut wide[target..target + scales.len()];
            for (offset, (number, scale)) in wide.iter_mut().zip(scales).enumerate() {
                let value = values[(row + offset) * columns + column].cast_signed();
                *number = f32::from(value) * scale;
            }
        }
    }
}

/// Writes the weights that were kept apart, if any, over the zeros in their places.
fn put_outliers(
    weights: &Weights<'_>,
    matrix: &str,
    [rows, columns]: [usize; 2],
    wide: &mut [f32],
    outputs: usize,
    first: usize,
) -> Result<(), WeightsError> {
    let name = outliers_of(matrix);
    if !weights.contains(&name) {
        return Ok(());
    }
    let places = weights.places(&places_of(matrix), rows, columns)?;
    let outliers = weights.floats(&name, &[places.len()])?;
    for ([row, column], outlier) in places.into_iter().zip(outliers) {
        wide[column * outputs + first + row] = outlier;
    }
    Ok(())
}

/// A table of embeddings as it lies in the file.
struct Table<'a> {
    values: &'a [u8],
    scales: Vec<f32>,
    width: usize,
}

impl<'a> Table<'a> {
    fn load(weights: &Weights<'a>, name: &str, rows: usize, width: usize) -> Result<Self, WeightsError> {
        let values = weights.signed(name, &[rows, width])?;
        let scales = weights.floats(&scale_of(name), &[rows])?;
        Ok(Self { values, scales, width })
    }

    /// Adds a row to `sum`; tells whether there is such a row.
    fn add_row(&self, row: usize, sum: &mut [f32]) -> bool {
        let Some(&scale) = self.scales.get(row) else { return false };
        let values = &self.values[row * self.width..][..self.width];
        for (number, value) in sum.iter_mut().zip(values) {
            *number += f32::from(value.cast_signed()) * scale;
        }
        true
    }
}

fn norm(weights: &Weights<'_>, name: &str, config: &Config) -> Result<Norm, WeightsError> {
    Ok(Norm {
        weight: weights.floats(&format!("{name}.weight"), &[config.hidden])?,
        bias: weights.floats(&format!("{name}.bias"), &[config.hidden])?,
        epsilon: config.norm_epsilon,
    })
}

/// The mean of the rows, scaled to unit length.
fn unit_mean(rows: &[f32], width: usize) -> Vec<f32> {
    let mut sum = vec![0.0_f32; width];
    for row in rows.chunks_exact(width) {
        for (total, number) in sum.iter_mut().zip(row) {
            *total += number;
        }
    }
    let length = sum.iter().map(|number| number * number).sum::<f32>().sqrt();
    // The mean's own division cancels out; a zero vector stays one.
    let factor = if length > 0.0 { length.recip() } else { 0.0 };
    for number in &mut sum {
        *number *= factor;
    }
    sum
}

/// Rows of a matrix that are widened together: a cache line of f32.
const TILE_ROWS: usize = 16;
