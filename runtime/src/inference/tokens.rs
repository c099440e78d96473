//! Text to token numbers, with the model's own `tokenizer.json`.
//!
//! The invariant: a text has at most as many tokens as the model takes, the special ones included, and its cost is
//! bounded by that number, not by the text's length.

use tokenizers::{Encoding, Token, Tokenizer, TruncationParams};

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

    /// Puts the special tokens around those of a text; where they are there already, they stay.
    ///
    /// # Errors
    /// Says which of them the model does not have.
    pub(super) fn wrap(&self, ids: &[u32]) -> Result<Vec<u32>, String> {
        let special = |id: &u32| {
            let token = self.tokenizer.id_to_token(*id);
            token.is_some_and(|token| self.tokenizer.get_added_vocabulary().is_special_token(&token))
        };
        let begin = ids.iter().position(|id| !special(id)).unwrap_or(ids.len());
        let end = ids.iter().rposition(|id| !special(id)).map_or(begin, |last| last + 1);
        let mut tokens = Vec::new();
        for &id in &ids[begin..end] {
            let count = || self.tokenizer.get_vocab_size(true);
            let word = self.tokenizer.id_to_token(id);
            let word = word.ok_or_else(|| format!("{id} is none of the model's {} tokens", count()))?;
            tokens.push(Token::new(id, word, (0, 0)));
        }
        let encoding = Encoding::from_tokens(tokens, 0);
        let wrapped = self.tokenizer.post_process(encoding, None, true);
        let wrapped = wrapped.map_err(|error| format!("the tokens cannot be used: {error}"))?;
        Ok(wrapped.get_ids().to_vec())
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
