//! One loaded model: its tokenizer and its encoder, from one file.

use super::config::{Config, ConfigError};
use super::encoder::{Encoder, EncoderError};
use super::quantize::{CONFIG_TENSOR, TOKENIZER_TENSOR};
use super::tokens::Tokens;
use super::weights::{Weights, WeightsError};
use std::thread;

/// An embedding model, ready to run; borrows the file that it was loaded from.
pub struct Model<'a> {
    tokens: Tokens,
    encoder: Encoder<'a>,
}

/// Why a model file could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It describes no model that can run here.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its weights are not what its configuration says.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// Its tokenizer is of no use.
    #[error("{0}")]
    Tokenizer(String),
    /// It is not such a file.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

impl<'a> Model<'a> {
    /// Loads a file that [`super::quantize::quantize`] wrote.
    ///
    /// # Errors
    /// [`LoadError`] where the file is something else or damaged. The tokenizer library may panic on a hostile
    /// file: load what is not trusted in a process of its own.
    pub fn load(file: &'a [u8]) -> Result<Self, LoadError> {
        let weights = Weights::parse(file)?;
        let config = Config::parse(weights.blob(CONFIG_TENSOR)?)?;
        let json = weights.blob(TOKENIZER_TENSOR)?;
        let tokens_max = config.positions.min(TOKENS_MAX);
        thread::scope(|scope| {
            let tokens = scope.spawn(|| Tokens::load(json, tokens_max).map_err(LoadError::Tokenizer));
            let encoder = Encoder::load(&weights, config)?;
            let tokens = tokens.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            Ok(Self { tokens, encoder })
        })
    }

    /// Returns the tokens of a text, cut to what the model takes.
    ///
    /// # Errors
    /// Says why the text cannot be tokenised.
    pub fn tokenize(&self, text: &str) -> Result<Vec<u32>, String> {
        self.tokens.encode(text)
    }

    /// Puts the model's special tokens around the tokens of a text.
    ///
    /// # Errors
    /// Says which of them the model does not have.
    pub fn wrap_tokens(&self, tokens: &[u32]) -> Result<Vec<u32>, String> {
        self.tokens.wrap(tokens)
    }

    /// Returns a vector of unit length for each tokenised text, in their order.
    ///
    /// # Errors
    /// Says why the model could not compute them.
    pub fn embed(&self, sequences: &[&[u32]]) -> Result<Vec<Vec<f32>>, String> {
        let vectors = self.encoder.embed(sequences).map_err(|error| error.to_string())?;
        if vectors.iter().flatten().all(|number| number.is_finite()) {
            Ok(vectors)
        } else {
            Err("the model computed a number that is not finite".to_owned())
        }
    }
}

/// Tokens that a text may have; the rest is cut off.
pub const TOKENS_MAX: usize = 256;
