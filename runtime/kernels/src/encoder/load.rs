//! An encoder from the numbers of a file.

use super::{Encoder, Layer, LayerNorm, stride};
use crate::aligned::Aligned;
use crate::attention::Heads;
use crate::elements::Activation;
use crate::isa::Isa;
use crate::linear::{Pack, Part, Precision};
use crate::matrix::Matrix;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// All that an encoder is made of. Its dimensions are those of its matrices. It borrows the tables for as long as it
/// lives, the layers only until they are packed.
pub struct EncoderWeights<'a, 'l> {
    /// Parts that attention is split into.
    pub heads: usize,
    /// The activation of the feed-forward networks.
    pub activation: Activation,
    /// What layer normalisation adds to a variance.
    pub norm_epsilon: f32,
    /// A row for each token.
    pub words: Matrix<'a>,
    /// A row for each position.
    pub positions: Matrix<'a>,
    /// A row for each token type, where the model has types.
    pub types: Option<Matrix<'a>>,
    /// After the sum of these.
    pub norm: Norm,
    /// In the order of computation.
    pub layers: Vec<LayerWeights<'l>>,
}

/// One layer.
pub struct LayerWeights<'a> {
    /// From the layer's input to queries.
    pub query: Dense<'a>,
    /// From the layer's input to keys.
    pub key: Dense<'a>,
    /// From the layer's input to values.
    pub value: Dense<'a>,
    /// From what attention found to what is added to the input.
    pub attended: Dense<'a>,
    /// After that.
    pub attended_norm: Norm,
    /// To the intermediate size.
    pub widen: Dense<'a>,
    /// And back.
    pub narrow: Dense<'a>,
    /// After that.
    pub narrowed_norm: Norm,
}

/// A linear map; a row of the matrix is an output channel.
pub struct Dense<'a> {
    /// The matrix.
    pub weight: Matrix<'a>,
    /// A number for each output channel.
    pub bias: Vec<f32>,
}

/// The parameters of a layer normalisation.
pub struct Norm {
    /// What a channel is multiplied with.
    pub weight: Vec<f32>,
    /// What is then added.
    pub bias: Vec<f32>,
}

/// Why weights are not those of an encoder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncoderError {
    /// The hidden size cannot be split over the heads.
    #[error("{hidden} channels cannot be split over {heads} heads")]
    Heads {
        /// The hidden size.
        hidden: usize,
        /// The heads.
        heads: usize,
    },
    /// A part is not as large as the others ask for.
    #[error("{part} has the dimensions {found:?}, expected {expected:?}")]
    Shape {
        /// The part.
        part: &'static str,
        /// What it has.
        found: [usize; 2],
        /// What it should have.
        expected: [usize; 2],
    },
    /// A dimension is too large to compute with.
    #[error("{part} has {found} rows or columns, at most {max} are accepted", max = DIMENSION_MAX)]
    TooLarge {
        /// The part.
        part: &'static str,
        /// What it has.
        found: usize,
    },
}

impl<'a> Encoder<'a> {
    /// Packs weights for an instruction set, layers on several threads.
    ///
    /// # Errors
    /// [`EncoderError`] where they do not fit each other.
    pub fn new(
        weights: EncoderWeights<'a, '_>,
        precision: Precision,
        isa: Isa,
    ) -> Result<Self, EncoderError> {
        let hidden = weights.words.columns();
        let intermediate = weights.layers.first().map_or(hidden, |layer| layer.widen.weight.rows());
        check(&weights, hidden, intermediate)?;
        let width = hidden / weights.heads;
        let exact = precision == Precision::F32;
        let number_bytes = if exact { size_of::<f32>() } else { isa.attention_bytes() };
        let heads = Heads { count: weights.heads, width, stride: stride(3 * hidden), exact, number_bytes };
        Ok(Self {
            isa,
            precision,
            hidden,
            intermediate,
            heads,
            activation: weights.activation,
            epsilon: weights.norm_epsilon,
            words: weights.words,
            positions: weights.positions,
            types: weights.types,
            norm: LayerNorm::new(&weights.norm),
            layers: pack(&weights.layers, width, precision, isa),
        })
    }
}

/// Packs layers, as many at a time as there are cores.
fn pack(layers: &[LayerWeights<'_>], head_width: usize, precision: Precision, isa: Isa) -> Vec<Layer> {
    let next = AtomicUsize::new(0);
    let packed: Mutex<Vec<(usize, Layer)>> = Mutex::new(Vec::with_capacity(layers.len()));
    let work = || {
        while let Some((index, layer)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            layers.get(index).map(|layer| (index, layer))
        } {
            let layer = Layer::new(layer, head_width, precision, isa);
            packed.lock().unwrap_or_else(PoisonError::into_inner).push((index, layer));
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 1..cores.min(layers.len()) {
            scope.spawn(work);
        }
        work();
    });
    let mut packed = packed.into_inner().unwrap_or_else(PoisonError::into_inner);
    packed.sort_by_key(|(index, _)| *index);
    packed.into_iter().map(|(_, layer)| layer).collect()
}

impl Layer {
    fn new(layer: &LayerWeights<'_>, head_width: usize, precision: Precision, isa: Isa) -> Self {
        // Softmax is then a plain power of two.
        let scale = std::f32::consts::LOG2_E / (head_width as f32).sqrt();
        let one = |dense| isa.run(Pack { parts: &[part(dense, 1.0)], precision });
        Self {
            attend: isa.run(Pack {
                parts: &[part(&layer.query, scale), part(&layer.key, 1.0), part(&layer.value, 1.0)],
                precision,
            }),
            attended: one(&layer.attended),
            attended_norm: LayerNorm::new(&layer.attended_norm),
            widen: one(&layer.widen),
            narrow: one(&layer.narrow),
            narrowed_norm: LayerNorm::new(&layer.narrowed_norm),
        }
    }
}

/// A linear map as a part of a packed one.
const fn part<'a>(dense: &'a Dense<'a>, factor: f32) -> Part<'a> {
    Part { weight: &dense.weight, bias: dense.bias.as_slice(), factor }
}

impl LayerNorm {
    fn new(norm: &Norm) -> Self {
        let aligned = |numbers: &[f32]| Aligned::padded(numbers, numbers.len());
        Self { weight: aligned(&norm.weight), bias: aligned(&norm.bias) }
    }
}

/// Checks that all parts fit each other.
fn check(weights: &EncoderWeights<'_, '_>, hidden: usize, intermediate: usize) -> Result<(), EncoderError> {
    let heads = weights.heads;
    for (part, found) in [
        ("the table of words", weights.words.rows()),
        ("the table of words", hidden),
        ("the table of positions", weights.positions.rows()),
        ("an intermediate layer", intermediate),
    ] {
        if found > DIMENSION_MAX {
            return Err(EncoderError::TooLarge { part, found });
        }
    }
    if hidden == 0 || heads == 0 || !hidden.is_multiple_of(heads) {
        return Err(EncoderError::Heads { hidden, heads });
    }
    let matrix = |part, matrix: &Matrix<'_>, expected: [usize; 2]| {
        let found = [matrix.rows(), matrix.columns()];
        if found == expected { Ok(()) } else { Err(EncoderError::Shape { part, found, expected }) }
    };
    let dense = |part, dense: &Dense<'_>, expected: [usize; 2]| {
        matrix(part, &dense.weight, expected)?;
        let found = [dense.bias.len(), 1];
        let expected = [expected[0], 1];
        if found == expected { Ok(()) } else { Err(EncoderError::Shape { part, found, expected }) }
    };
    let norm = |part, norm: &Norm| {
        let found = [norm.weight.len(), norm.bias.len()];
        let expected = [hidden; 2];
        if found == expected { Ok(()) } else { Err(EncoderError::Shape { part, found, expected }) }
    };
    matrix("the table of positions", &weights.positions, [weights.positions.rows(), hidden])?;
    if let Some(types) = &weights.types {
        matrix("the table of token types", types, [types.rows().max(1), hidden])?;
    }
    norm("the first norm", &weights.norm)?;
    for layer in &weights.layers {
        dense("a query", &layer.query, [hidden; 2])?;
        dense("a key", &layer.key, [hidden; 2])?;
        dense("a value", &layer.value, [hidden; 2])?;
        dense("the map after attention", &layer.attended, [hidden; 2])?;
        norm("the norm after attention", &layer.attended_norm)?;
        dense("the map to the intermediate size", &layer.widen, [intermediate, hidden])?;
        dense("the map from the intermediate size", &layer.narrow, [hidden, intermediate])?;
        norm("the norm after a layer", &layer.narrowed_norm)?;
    }
    Ok(())
}

/// The largest dimension; products of two of them and a few bytes do not overflow.
const DIMENSION_MAX: usize = 1 << 24;
