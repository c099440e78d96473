//! The dimensions of a Llama, and why weights do not fit them.

/// What numbers a Llama is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// The length of a token's vector.
    pub hidden: usize,
    /// Heads of queries; a multiple of `kv_heads`.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// The length of a head; even.
    pub head_len: usize,
    /// The width of the gated layer.
    pub intermediate: usize,
    /// Tokens that there are.
    pub vocabulary: usize,
    /// Added to a mean square before its root is taken.
    pub epsilon: f32,
    /// How far a pair of a head turns from one position to the next, for half a head.
    pub frequencies: Vec<f32>,
    /// Positions that a text may have.
    pub context: usize,
}

/// Why weights are no Llama.
#[derive(Debug, thiserror::Error)]
pub enum ShapeError {
    /// A number that makes no sense.
    #[error("{what} is {found}, which no Llama has")]
    Number {
        /// Which one.
        what: &'static str,
        /// What it is.
        found: usize,
    },
    /// Something has another size than the rest asks for.
    #[error("{what} of layer {layer} has {found:?} numbers, {expected:?} belong there")]
    Size {
        /// What.
        what: &'static str,
        /// In which layer; the number of layers for what comes after them.
        layer: usize,
        /// Rows and columns that are there.
        found: (usize, usize),
        /// Rows and columns that should be.
        expected: (usize, usize),
    },
    /// A matrix reaches beyond the arena, or does not begin where a tile can.
    #[error("{what} of layer {layer} does not lie in the weights")]
    Outside {
        /// What.
        what: &'static str,
        /// In which layer; the number of layers for what comes after them.
        layer: usize,
    },
}

impl Shape {
    /// The length of all queries of a position.
    pub const fn query_len(&self) -> usize {
        self.heads * self.head_len
    }

    /// The length of all keys, or all values, of a position.
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

/// Tokens of one pass: enough to read each weight for many of them, few enough to stop soon.
pub const PASS_TOKENS_MAX: usize = 128;
/// No number of a shape is larger.
const NUMBER_MAX: usize = 1 << 24;
