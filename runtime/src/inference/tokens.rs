//! Text to token numbers, with the model's own `tokenizer.json`.
//!
//! The invariant: a text has at most as many tokens as the model takes, the special ones included, and its cost is
//! bounded by that number, not by the text's length. A tokenizer that panics is an error.

use kernels::Sequence;
use std::borrow::Cow;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokenizers::{Encoding, Token, Tokenizer, TruncationParams};

/// The tokens of two texts that are read together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// The tokens of both, the special ones among them.
    pub tokens: Vec<u32>,
    /// Which of the two each token is of; empty where the model makes no difference.
    pub types: Vec<u32>,
}

impl Pair {
    /// Returns it as the encoder takes it.
    pub fn as_sequence(&self) -> Sequence<'_> {
        Sequence { tokens: &self.tokens, types: &self.types }
    }
}

/// A tokenizer that cuts and never pads, whatever its file says.
pub(super) struct Tokens {
    tokenizer: Tokenizer,
    max: usize,
    lower_case: bool,
}

impl Tokens {
    /// Loads a tokenizer for a model that takes at most `max` tokens.
    ///
    /// # Errors
    /// Says what is wrong with the file.
    pub(super) fn load(json: &[u8], max: usize, lower_case: bool) -> Result<Self, String> {
        let mut tokenizer = guarded(UNUSABLE, || Tokenizer::from_bytes(json))?;
        let truncation = TruncationParams { max_length: max, ..TruncationParams::default() };
        guarded(UNUSABLE, || tokenizer.with_padding(None).with_truncation(Some(truncation)).map(drop))?;
        let tokens = Self { tokenizer, max, lower_case };
        // What panics on any text should do so now, and not when there is work.
        tokens.encode("a")?;
        Ok(tokens)
    }

    /// Returns the tokens of a text.
    ///
    /// # Errors
    /// Says why the text cannot be tokenised.
    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        let encoding = self.encoding(text, true)?;
        if encoding.is_empty() {
            return Err("the tokenizer finds no token in the text".to_owned());
        }
        Ok(encoding.get_ids().to_vec())
    }

    /// Returns the tokens of a text that is not to be cut.
    ///
    /// # Errors
    /// Says why the text cannot be tokenised, or that it has too many tokens.
    pub(super) fn encode_whole(&self, text: &str) -> Result<Vec<u32>, String> {
        let ids = self.encode(text)?;
        if ids.len() < self.max {
            return Ok(ids);
        }
        // As many as fit: all that there are, or the first of more.
        let text = text.trim();
        let cased = if self.lower_case { Cow::Owned(text.to_lowercase()) } else { Cow::Borrowed(text) };
        let all = cased.len() <= self.max * BYTES_PER_TOKEN_MAX
            && guarded(REFUSED, || self.tokenizer.encode_fast(cased.as_ref(), true))?
                .get_overflowing()
                .is_empty();
        if all { Ok(ids) } else { Err(format!("the text has more than {} tokens", self.max)) }
    }

    /// Returns the tokens of two texts that are read together; the longer one is cut first.
    ///
    /// # Errors
    /// Says why they cannot be tokenised.
    pub(super) fn encode_pair(&self, first: &str, second: &str) -> Result<Pair, String> {
        let (first, second) = (self.encoding(first, false)?, self.encoding(second, false)?);
        let both = guarded(REFUSED, || self.tokenizer.post_process(first, Some(second), true))?;
        Ok(Pair { tokens: both.get_ids().to_vec(), types: both.get_type_ids().to_vec() })
    }

    /// Tokenises as much of a text as the model takes.
    fn encoding(&self, text: &str, special: bool) -> Result<Encoding, String> {
        let bytes_max = self.max * BYTES_PER_TOKEN_MAX;
        let mut bytes = self.max * FIRST_LOOK_BYTES_PER_TOKEN;
        // Where a text begins makes no difference to the tokenizers of this family, and may be far away.
        let text = text.trim_start();
        loop {
            let part = prefix(text, bytes);
            let cased = if self.lower_case { Cow::Owned(part.to_lowercase()) } else { Cow::Borrowed(part) };
            let encoding = guarded(REFUSED, || self.tokenizer.encode_fast(cased.as_ref(), special))?;
            // Fewer tokens than fit: what follows the part could still count.
            if part.len() == text.len() || encoding.len() >= self.max || bytes >= bytes_max {
                return Ok(encoding);
            }
            bytes = part.len().max(bytes).saturating_mul(4).min(bytes_max);
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
        let wrapped = guarded(NOT_WRAPPED, || self.tokenizer.post_process(encoding, None, true))?;
        Ok(wrapped.get_ids().to_vec())
    }
}

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Tells whether a panic of this thread is one that is expected and becomes an error.
pub(super) fn is_guarded() -> bool {
    GUARDED.get()
}

/// Does something with the tokenizer library, which reports some of what it does not like by a panic.
pub(super) fn guarded<T>(what: &str, act: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    GUARDED.set(true);
    let done = catch_unwind(AssertUnwindSafe(act));
    GUARDED.set(false);
    match done {
        Ok(done) => done.map_err(|error| format!("{what}: {error}")),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("for no reason");
            Err(format!("{what}: the tokenizer panics: {said}"))
        }
    }
}

/// Returns a prefix of about `bytes` bytes, or all of the text. It ends before a space where one follows soon, which
/// is where every word ends in this family, so that its tokens are the text's first tokens. In a run without one it
/// ends anywhere: such a word is longer than those that are taken apart.
fn prefix(text: &str, bytes: usize) -> &str {
    let after = text.as_bytes().get(bytes..).unwrap_or_default();
    if after.len() <= WORD_BYTES_MAX {
        return text;
    }
    match after[..WORD_BYTES_MAX].iter().position(|byte| matches!(byte, b' ' | b'\n' | b'\t')) {
        Some(offset) => &text[..bytes + offset],
        None => &text[..text.floor_char_boundary(bytes + WORD_BYTES_MAX)],
    }
}

const UNUSABLE: &str = "the tokenizer cannot be used";
const REFUSED: &str = "the text cannot be tokenised";
const NOT_WRAPPED: &str = "the tokens cannot be used";
/// Most texts of any language fill the model with fewer bytes than this for each token.
const FIRST_LOOK_BYTES_PER_TOKEN: usize = 16;
/// So many bytes for each token are looked at: more than any text takes that is one.
const BYTES_PER_TOKEN_MAX: usize = 256;
/// How far the end of a word is looked for: longer words are one unknown token.
const WORD_BYTES_MAX: usize = 1024;
