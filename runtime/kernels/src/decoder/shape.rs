//! The dimensions of a decoder, and the errors of weights that do not fit them.

/// The dimensions and constants of a decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// The length of a hidden state.
    pub hidden: usize,
    /// Query heads; a multiple of `kv_heads`.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// The length of a head; even.
    pub head_len: usize,
    /// The width of the gated feed-forward network.
    pub intermediate: usize,
    /// The number of tokens.
    pub vocabulary: usize,
    /// The epsilon of RMS normalisation.
    pub epsilon: f32,
    /// The rotary embedding's angle for one position, for each pair of a head.
    pub frequencies: Vec<f32>,
    /// The maximum number of positions of a text.
    pub context: usize,
    /// The factor of the products of queries and keys; usually one over the root of `head_len`.
    pub attention_scale: f32,
    /// The factor of what a layer adds to the residual stream; usually 1.
    pub residual_scale: f32,
    /// The factor of the logits; usually 1.
    pub logit_scale: f32,
}

/// Why dimensions and weights do not form a decoder.
#[derive(Debug, thiserror::Error)]
pub enum ShapeError {
    /// A dimension is impossible.
    #[error("{what} is {found}, which no decoder has")]
    Number {
        /// The dimension.
        what: &'static str,
        /// Its value.
        found: usize,
    },
    /// The size of a part does not fit the others.
    #[error("{what} of layer {layer} has {found:?} numbers, {expected:?} belong there")]
    Size {
        /// The part.
        what: &'static str,
        /// The layer; the number of layers for parts after the last one.
        layer: usize,
        /// Its rows and columns.
        found: (usize, usize),
        /// The rows and columns that fit.
        expected: (usize, usize),
    },
    /// A matrix lies outside the arena, or is not aligned to a tile.
    #[error("{what} of layer {layer} does not lie in the weights")]
    Outside {
        /// The part.
        what: &'static str,
        /// The layer; the number of layers for parts after the last one.
        layer: usize,
    },
}

impl Shape {
    /// Returns the length of all queries of a position.
    pub const fn query_len(&self) -> usize {
        self.heads * self.head_len
    }

    /// Returns the length of all keys, or of all values, of a position.
    pub const fn kv_len(&self) -> usize {
        self.kv_heads * self.head_len
    }

    pub(super) fn check(&self) -> Result<(), ShapeError> {
        let numbers = [
            ("the length of a vector", self.hidden, self.hidden),
            ("the number of heads", self.heads, self.heads / self.kv_heads.max(1) * self.kv_heads),
            ("the number of heads of keys", self.kv_heads, self.kv_heads),
            ("the length of a head", self.head_len, self.head_len / 2 * 2),
            ("the number of frequencies", self.frequencies.len(), self.head_len / 2),
            ("the width of the gated layer", self.intermediate, self.intermediate),
            ("the size of the vocabulary", self.vocabulary, self.vocabulary),
            ("the length of the context", self.context, self.context),
        ];
        for (what, found, wanted) in numbers {
            if found == 0 || found != wanted || found > NUMBER_MAX {
                return Err(ShapeError::Number { what, found });
            }
        }
        Ok(())
    }
}

/// The maximum number of tokens of a pass: enough to amortise reading the weights, few enough to stop soon.
pub const PASS_TOKENS_MAX: usize = 128;
/// The maximum of any dimension.
const NUMBER_MAX: usize = 1 << 24;
