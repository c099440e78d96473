//! An encoder: token numbers to a hidden state for each token, whatever computes it.
//!
//! The invariant: a text's hidden states do not depend on what else is in its batch beyond rounding.

use super::weights::WeightsError;

/// An encoder of the BERT family, loaded.
pub(super) trait Encoder: Send + Sync {
    /// Returns the last hidden states of all tokens, a row each, the sequences end to end.
    ///
    /// Each sequence has at least one token and at most as many as there are positions, all of them of the vocabulary.
    /// `stop` is asked between layers.
    fn encode(&self, sequences: &[&[u32]], stop: &dyn Fn() -> bool) -> Result<Vec<f32>, EncodeError>;
}

/// Why there are no hidden states.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The matrix library refused.
    #[error("the matrix library failed: {0}")]
    Failed(String),
    /// Nobody wants them any more.
    #[error("nobody wants the result any more")]
    Stopped,
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
