//! Text to token numbers, with the model's own `tokenizer.json`.
//!
//! The invariant: a text has at most as many tokens as the model takes, the special ones included, and its cost is
//! bounded by that number, not by the text's length.

use tokenizers::{Tokenizer, TruncationParams};

/// A tokenizer that cuts and never pads, whatever its file says.
pub(super) struct Tokens {
    tokenizer: Tokenizer,
    max: usize,
}

impl Tokens {
    /// Loads a tokenizer for a model that takes at most `max` tokens.
    ///
    /// # Errors
    /// Says what is wrong with the file. A hostile one may panic: call this where a panic kills a worker only.
    pub(super) fn load(json: &[u8], max: usize) -> Result<Self, String> {
        let damaged = |error: tokenizers::Error| format!("the tokenizer cannot be used: {error}");
        let mut tokenizer = Tokenizer::from_bytes(json).map_err(damaged)?;
        let truncation = TruncationParams { max_length: max, ..TruncationParams::default() };
        tokenizer.with_padding(None).with_truncation(Some(truncation)).map_err(damaged)?;
        Ok(Self { tokenizer, max })
    }

    /// Returns the tokens of a text.
    ///
    /// # Errors
    /// Says why the text cannot be tokenised.
    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        let mut bytes = self.max * FIRST_LOOK_BYTES_PER_TOKEN;
        loop {
            let part = prefix(text, bytes);
            let encoding = self
                .tokenizer
                .encode_fast(part, true)
                .map_err(|error| format!("the text cannot be tokenised: {error}"))?;
            // Fewer tokens than fit: what follows the part could still count.
            if part.len() == text.len() || encoding.len() >= self.max {
                return Ok(encoding.get_ids().to_vec());
            }
            bytes = part.len().max(bytes).saturating_mul(4);
        }
    }
}

/// Returns a prefix of about `bytes` bytes, or all of the text. It ends before a space, which is where every word
/// ends in this family, so that its tokens are the text's first tokens.
fn prefix(text: &str, bytes: usize) -> &str {
    let after = text.as_bytes().get(bytes..).unwrap_or_default();
    match after.iter().position(|byte| matches!(byte, b' ' | b'\n' | b'\t')) {
        Some(offset) => &text[..bytes + offset],
        None => text,
    }
}

/// Most texts of any language fill the model with fewer bytes than this for each token.
const FIRST_LOOK_BYTES_PER_TOKEN: usize = 16;
