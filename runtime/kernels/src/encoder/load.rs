//! Building an encoder: checks the weights, then packs them.

use super::attention::Heads;
use super::linear::{Pack, Part, Precision};
use super::matrix::Matrix;
use super::relative::{RELATIVE_BUCKETS, RelativeBias};
use super::{Encoder, Layer, LayerNorm, TokenEmbeddings, first_position, stride};
use crate::aligned::Aligned;
use crate::simd::elements::Activation;
use crate::simd::isa::Isa;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// The weights of an encoder. The encoder borrows the tables while it lives, the layers only until they are packed.
pub struct EncoderWeights<'a, 'l> {
    /// The embedding tables, and the dimensions.
    pub tables: EncoderTables<'a>,
    /// The layers, first one first.
    pub layers: Vec<LayerWeights<'l>>,
}

/// The embedding tables and parameters of an encoder. Its dimensions are those of its matrices.
pub struct EncoderTables<'a> {
    /// Attention heads.
    pub heads: usize,
    /// The activation of the feed-forward networks.
    pub activation: Activation,
    /// The epsilon of layer normalisation.
    pub norm_epsilon: f32,
    /// The token embeddings: one row for each token.
    pub token_embeddings: TokenEmbeddings<'a>,
    /// The position embeddings: one row for each position.
    pub positions: Matrix<'a>,
    /// The padding token, if positions are counted as RoBERTa does (Liu et al., 2019): the first position has the row
    /// after the padding token's number. A padding token in a text has the row of its own number, and is not counted.
    pub padding: Option<u32>,
    /// The token type embeddings, if the model has types.
    pub types: Option<Matrix<'a>>,
    /// Biases of attention by relative position, if the model has them: 32 rows, one for each bucket of distances, with a
    /// number for each head.
    pub relative_bias: Option<Vec<f32>>,
    /// The normalisation of the sum of these embeddings.
    pub norm: Norm,
    /// The channels between the two linear maps of a feed-forward network.
    pub intermediate: usize,
}

/// Packs the weights of a layer, without keeping a reference to them.
pub type TakeLayer<'t> = &'t mut dyn FnMut(&LayerWeights<'_>) -> Result<(), EncoderError>;

/// The weights of one layer.
pub struct LayerWeights<'a> {
    /// The query projection.
    pub query: Dense<'a>,
    /// The key projection.
    pub key: Dense<'a>,
    /// The value projection.
    pub value: Dense<'a>,
    /// The output projection of attention.
    pub attention_output: Dense<'a>,
    /// The normalisation after the attention block.
    pub attention_output_norm: Norm,
    /// The map to the intermediate size.
    pub intermediate: Dense<'a>,
    /// The map from the intermediate size back to the hidden size.
    pub output: Dense<'a>,
    /// The normalisation after the feed-forward network.
    pub output_norm: Norm,
}

/// A linear map; a row of the matrix is an output channel.
pub struct Dense<'a> {
    /// The matrix.
    pub weight: Matrix<'a>,
    /// One number for each output channel.
    pub bias: Vec<f32>,
}

/// The parameters of a layer normalisation.
pub struct Norm {
    /// The factor of each channel.
    pub weight: Vec<f32>,
    /// The bias of each channel.
    pub bias: Vec<f32>,
}

/// Why weights do not form an encoder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncoderError {
    /// The hidden size is not a multiple of the heads.
    #[error("{hidden} channels cannot be split over {heads} heads")]
    Heads {
        /// The hidden size.
        hidden: usize,
        /// The heads.
        heads: usize,
    },
    /// `read` did not deliver a layer.
    #[error("layer {layer} is missing")]
    Missing {
        /// Its number.
        layer: usize,
    },
    /// There is no position after that of the padding token.
    #[error("the padding token {padding} leaves none of {positions} positions")]
    Padding {
        /// The padding token.
        padding: u32,
        /// The number of position embeddings.
        positions: usize,
    },
    /// The dimensions of a part do not fit the others.
    #[error("{part} has the dimensions {found:?}, expected {expected:?}")]
    Shape {
        /// The part.
        part: &'static str,
        /// Its dimensions.
        found: [usize; 2],
        /// The dimensions that fit.
        expected: [usize; 2],
    },
    /// A dimension is too large to compute with.
    #[error("{part} has {found} rows or columns, at most {max} are accepted", max = DIMENSION_MAX)]
    TooLarge {
        /// The part.
        part: &'static str,
        /// Its dimension.
        found: usize,
    },
}

impl<'a> Encoder<'a> {
    /// Packs weights for an instruction set, with several threads.
    ///
    /// # Errors
    /// Returns [`EncoderError`] if the weights do not fit each other.
    pub fn new(
        weights: EncoderWeights<'a, '_>,
        precision: Precision,
        isa: Isa,
    ) -> Result<Self, EncoderError> {
        let EncoderWeights { tables, layers } = weights;
        Self::load(tables, precision, isa, layers.len(), |index, take| {
            layers.get(index).map_or(Err(EncoderError::Missing { layer: index }), take)
        })
    }

    /// Packs weights for an instruction set. Calls `read` for the layer of each index, from one thread for each core
    /// and for one layer at a time, so that only these layers are in memory twice.
    ///
    /// # Errors
    /// Returns [`EncoderError`] if the weights do not fit each other, or the error of `read`.
    pub fn load<E: From<EncoderError> + Send>(
        tables: EncoderTables<'a>,
        precision: Precision,
        isa: Isa,
        layers: usize,
        read: impl Fn(usize, TakeLayer<'_>) -> Result<(), E> + Sync,
    ) -> Result<Self, E> {
        let hidden = tables.token_embeddings.columns();
        check(&tables, layers)?;
        let width = hidden / tables.heads;
        let pack = |index| -> Result<Layer, E> {
            let mut packed = None;
            read(index, &mut |layer| {
                check_layer(layer, hidden, tables.intermediate)?;
                packed = Some(Layer::new(layer, width, precision, isa));
                Ok(())
            })?;
            packed.ok_or_else(|| EncoderError::Missing { layer: index }.into())
        };
        let layers = on_all_cores(layers, pack)?;
        let exact = precision == Precision::F32;
        let tokens_max = tables.positions.rows() - first_position(tables.padding);
        let number_bytes = if exact { size_of::<f32>() } else { isa.attention_bytes() };
        let heads = Heads { count: tables.heads, width, stride: stride(3 * hidden), exact, number_bytes };
        Ok(Self {
            isa,
            precision,
            hidden,
            intermediate: tables.intermediate,
            heads,
            activation: tables.activation,
            epsilon: tables.norm_epsilon,
            token_embeddings: tables.token_embeddings,
            positions: tables.positions,
            padding: tables.padding,
            types: tables.types,
            norm: LayerNorm::new(&tables.norm),
            relative_bias: tables.relative_bias.map(|table| RelativeBias::new(&table, tokens_max)),
            layers,
        })
    }
}

/// Makes `count` values with one thread for each core. Starts no further ones after an error.
fn on_all_cores<T: Send, E: Send>(
    count: usize,
    make: impl Fn(usize) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let next = AtomicUsize::new(0);
    let made: Mutex<Vec<(usize, Result<T, E>)>> = Mutex::new(Vec::with_capacity(count));
    let work = || {
        while let Some(index) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|index| *index < count) {
            let one = make(index);
            if one.is_err() {
                next.store(count, Ordering::Relaxed);
            }
            made.lock().unwrap_or_else(PoisonError::into_inner).push((index, one));
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 1..cores.min(count) {
            scope.spawn(work);
        }
        work();
    });
    let mut made = made.into_inner().unwrap_or_else(PoisonError::into_inner);
    made.sort_by_key(|(index, _)| *index);
    made.into_iter().map(|(_, one)| one).collect()
}

impl Layer {
    fn new(layer: &LayerWeights<'_>, head_width: usize, precision: Precision, isa: Isa) -> Self {
        // Folds log2(e) into the scale, so that softmax needs only powers of two.
        let scale = std::f32::consts::LOG2_E / (head_width as f32).sqrt();
        let one = |dense| isa.run(Pack { parts: &[part(dense, 1.0)], precision });
        Self {
            query_key_value: isa.run(Pack {
                parts: &[part(&layer.query, scale), part(&layer.key, 1.0), part(&layer.value, 1.0)],
                precision,
            }),
            attention_output: one(&layer.attention_output),
            attention_output_norm: LayerNorm::new(&layer.attention_output_norm),
            intermediate: one(&layer.intermediate),
            output: one(&layer.output),
            output_norm: LayerNorm::new(&layer.output_norm),
        }
    }
}

/// Returns a linear map as a part of a packed one.
const fn part<'a>(dense: &'a Dense<'a>, factor: f32) -> Part<'a> {
    Part { weight: &dense.weight, bias: dense.bias.as_slice(), factor }
}

impl LayerNorm {
    fn new(norm: &Norm) -> Self {
        let aligned = |numbers: &[f32]| Aligned::padded(numbers, numbers.len());
        Self { weight: aligned(&norm.weight), bias: aligned(&norm.bias) }
    }
}

/// Checks that the tables fit each other.
fn check(tables: &EncoderTables<'_>, layers: usize) -> Result<(), EncoderError> {
    let (heads, hidden) = (tables.heads, tables.token_embeddings.columns());
    for (part, found) in [
        ("the token embeddings", tables.token_embeddings.rows()),
        ("the token embeddings", hidden),
        ("the position embeddings", tables.positions.rows()),
        ("an intermediate layer", tables.intermediate),
        ("the list of layers", layers),
    ] {
        if found > DIMENSION_MAX {
            return Err(EncoderError::TooLarge { part, found });
        }
    }
    if hidden == 0 || heads == 0 || !hidden.is_multiple_of(heads) {
        return Err(EncoderError::Heads { hidden, heads });
    }
    let rows = tables.positions.rows();
    if let Some(padding) = tables.padding.filter(|padding| rows <= first_position(Some(*padding))) {
        return Err(EncoderError::Padding { padding, positions: rows });
    }
    expect_matrix("the position embeddings", &tables.positions, [rows, hidden])?;
    if let Some(bias) = &tables.relative_bias {
        expect("the relative biases", [bias.len(), 1], [RELATIVE_BUCKETS * heads, 1])?;
    }
    if let Some(types) = &tables.types {
        expect_matrix("the token type embeddings", types, [types.rows().max(1), hidden])?;
    }
    expect_norm("the first norm", &tables.norm, hidden)
}

/// Checks that a layer fits the tables.
fn check_layer(layer: &LayerWeights<'_>, hidden: usize, intermediate: usize) -> Result<(), EncoderError> {
    let dense = |part, dense: &Dense<'_>, expected: [usize; 2]| {
        expect_matrix(part, &dense.weight, expected)?;
        expect(part, [dense.bias.len(), 1], [expected[0], 1])
    };
    dense("a query", &layer.query, [hidden; 2])?;
    dense("a key", &layer.key, [hidden; 2])?;
    dense("a value", &layer.value, [hidden; 2])?;
    dense("the map after attention", &layer.attention_output, [hidden; 2])?;
    expect_norm("the norm after attention", &layer.attention_output_norm, hidden)?;
    dense("the map to the intermediate size", &layer.intermediate, [intermediate, hidden])?;
    dense("the map from the intermediate size", &layer.output, [hidden, intermediate])?;
    expect_norm("the norm after a layer", &layer.output_norm, hidden)
}

fn expect_matrix(part: &'static str, matrix: &Matrix<'_>, expected: [usize; 2]) -> Result<(), EncoderError> {
    expect(part, [matrix.rows(), matrix.columns()], expected)
}

fn expect_norm(part: &'static str, norm: &Norm, hidden: usize) -> Result<(), EncoderError> {
    expect(part, [norm.weight.len(), norm.bias.len()], [hidden; 2])
}

fn expect(part: &'static str, found: [usize; 2], expected: [usize; 2]) -> Result<(), EncoderError> {
    if found == expected { Ok(()) } else { Err(EncoderError::Shape { part, found, expected }) }
}

/// The largest dimension; products of two of them and a few bytes do not overflow.
const DIMENSION_MAX: usize = 1 << 24;
