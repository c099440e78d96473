//! Tokenises texts with the model's own tokenizer.
//!
//! The invariants:
//! - A text has at most as many tokens as the model takes, including special ones. It is truncated as transformers
//!   does, and the number of dropped tokens is known.
//! - A panic in the tokenizer library is an error.
//! - The cost of a text is bounded. Up to [`WHOLE_BYTES_MAX`] bytes it is tokenised in one piece; of a longer one at
//!   most [`LOOKED_BYTES_MAX`] bytes are read. White space is kept as it is.

use super::tokenizer::{assemble, guarded};
use crate::inference::files::tokenizer_config::TokenizerConfig;
use crate::inference::files::tokenizer_json::TokenizerFile;
use kernels::Sequence;
use std::borrow::Cow;
use tokenizers::{Encoding, PostProcessor, Token, Tokenizer};

/// The tokens of a text, or of a pair of texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// All tokens, including special ones.
    pub tokens: Vec<u32>,
    /// The type of each token: the first or the second text. Empty if the model has no types.
    pub types: Vec<u32>,
    /// The number of dropped tokens; a lower bound for a very long text.
    pub dropped: usize,
}

impl Pair {
    /// Returns the input for the encoder.
    pub fn as_sequence(&self) -> Sequence<'_> {
        Sequence { tokens: &self.tokens, types: &self.types }
    }
}

/// A tokenizer that truncates and never pads, whatever its file says.
pub(crate) struct Tokens {
    tokenizer: Tokenizer,
    max: usize,
    /// Whether truncation removes the start of a text.
    cuts_beginning: bool,
    has_types: bool,
    prompt: String,
    /// The tokens of the prompt.
    prompt_ids: Vec<u32>,
    /// The number of tokens up to the end of the prompt, including special ones before it.
    prompt_length: usize,
}

/// The options of tokenisation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokensOptions<'o> {
    /// The maximum number of tokens of a text.
    pub(crate) max: usize,
    /// Whether texts are lowercased before the tokenizer.
    pub(crate) lower_case: bool,
    /// The prompt that is prepended to each text.
    pub(crate) prompt: &'o str,
}

/// The tokens of one text, without special ones.
struct Looked {
    /// All tokens, or enough of them at the end that truncation keeps.
    ids: Vec<u32>,
    /// The number of all tokens.
    count: usize,
}

impl Tokens {
    /// Loads a tokenizer.
    ///
    /// # Errors
    /// Returns a description of the fault in its files.
    pub(crate) fn load(
        file: &TokenizerFile<'_>,
        settings: &TokenizerConfig,
        options: TokensOptions<'_>,
    ) -> Result<Self, String> {
        let (tokenizer, cuts_beginning) = assemble(file, settings, options.lower_case)?;
        let TokensOptions { max, prompt, .. } = options;
        let mut tokens = Self {
            tokenizer,
            max,
            cuts_beginning,
            has_types: settings.has_types,
            prompt: String::new(),
            prompt_ids: Vec::new(),
            prompt_length: 0,
        };
        // A tokenizer that panics on any text should do so now, and not in a job.
        tokens.encode("a")?;
        if !prompt.is_empty() {
            tokens.prompt_ids = tokens.look(prompt, max)?.ids;
            let alone = tokens.encode(prompt)?.tokens;
            let ends = alone.last().is_some_and(|last| tokens.is_special(*last));
            tokens.prompt_length = alone.len() - usize::from(ends);
            prompt.clone_into(&mut tokens.prompt);
        }
        Ok(tokens)
    }

    /// Returns the number of tokens up to the end of the prompt.
    pub(crate) const fn prompt_length(&self) -> usize {
        self.prompt_length
    }

    /// Returns the text of a token, if the tokenizer has this number.
    pub(crate) fn name(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }

    /// Tokenises a text.
    ///
    /// # Errors
    /// Returns the reason if the text cannot be tokenised.
    pub(crate) fn encode(&self, text: &str) -> Result<Pair, String> {
        let budget = self.budget(false);
        let looked = self.look(&self.prompted(text), budget)?;
        let pair = self.finish(&looked, budget, None)?;
        if pair.tokens.is_empty() {
            return Err("the tokenizer finds no token in the text".to_owned());
        }
        Ok(pair)
    }

    /// Tokenises a pair of texts. The longer one is truncated first.
    ///
    /// # Errors
    /// Returns the reason if they cannot be tokenised.
    pub(crate) fn encode_pair(&self, first: &str, second: &str) -> Result<Pair, String> {
        let budget = self.budget(true);
        let (first, second) = (self.look(&self.prompted(first), budget)?, self.look(second, budget)?);
        let (of_first, of_second) = kept(first.count, second.count, budget);
        self.finish(&first, of_first, Some((&second, of_second)))
    }

    /// Adds special tokens to the tokens of a text, unless they are present.
    ///
    /// # Errors
    /// Returns the special token that the model does not have.
    pub(crate) fn wrap(&self, ids: &[u32]) -> Result<Pair, String> {
        let begin = ids.iter().position(|id| !self.is_special(*id)).unwrap_or(ids.len());
        let end = ids.iter().rposition(|id| !self.is_special(*id)).map_or(begin, |last| last + 1);
        let own = &ids[begin..end];
        if let Some(id) = own.iter().find(|id| self.name(**id).is_none()) {
            return Err(format!(
                "{id} is none of the model's {} tokens",
                self.tokenizer.get_vocab_size(true)
            ));
        }
        let ids = [self.prompt_ids.as_slice(), own].concat();
        let count = ids.len();
        self.finish(&Looked { ids, count }, self.budget(false), None)
    }

    fn is_special(&self, id: u32) -> bool {
        let token = self.tokenizer.id_to_token(id);
        token.is_some_and(|token| self.tokenizer.get_added_vocabulary().is_special_token(&token))
    }

    fn prompted<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.prompt.is_empty() { text.into() } else { format!("{}{text}", self.prompt).into() }
    }

    /// Returns the maximum number of tokens without special ones.
    fn budget(&self, of_two: bool) -> usize {
        let special = self.tokenizer.get_post_processor().map_or(0, |it| it.added_tokens(of_two));
        self.max.saturating_sub(special)
    }

    /// Truncates texts to this many tokens, and adds special ones.
    fn finish(&self, first: &Looked, kept: usize, second: Option<(&Looked, usize)>) -> Result<Pair, String> {
        let mut dropped = 0;
        let mut part = |looked: &Looked, kept: usize| {
            dropped += looked.count.saturating_sub(kept);
            let spare = looked.ids.len().saturating_sub(kept);
            let range =
                if self.cuts_beginning { spare..looked.ids.len() } else { 0..looked.ids.len() - spare };
            let tokens = looked.ids[range].iter().map(|id| Token::new(*id, String::new(), (0, 0)));
            Encoding::from_tokens(tokens.collect(), 0)
        };
        let (first, second) = (part(first, kept), second.map(|(second, kept)| part(second, kept)));
        let whole = guarded(REFUSED, || self.tokenizer.post_process(first, second, true))?;
        let types = whole.get_type_ids();
        let has_types = self.has_types && types.iter().any(|of| *of != 0);
        let types = if has_types { types.to_vec() } else { Vec::new() };
        Ok(Pair { tokens: whole.get_ids().to_vec(), types, dropped })
    }

    /// Tokenises a text. Returns at most this many tokens.
    fn look(&self, text: &str, kept: usize) -> Result<Looked, String> {
        let ids = |part: &str| {
            let encoding = guarded(REFUSED, || self.tokenizer.encode_fast(part, false))?;
            Ok::<_, String>(encoding.get_ids().to_vec())
        };
        if text.len() <= WHOLE_BYTES_MAX {
            let ids = ids(text)?;
            return Ok(Looked { count: ids.len(), ids });
        }
        let mut looked = Looked { ids: Vec::new(), count: 0 };
        let (mut rest, mut bytes) = (text, 0);
        while !rest.is_empty() && bytes < LOOKED_BYTES_MAX {
            let part;
            (part, rest) = if self.cuts_beginning { last_piece(rest) } else { first_piece(rest) };
            bytes += part.len();
            let more = ids(part)?;
            looked.count += more.len();
            let room = kept.saturating_sub(looked.ids.len()).min(more.len());
            if self.cuts_beginning {
                looked.ids.splice(0..0, more[more.len() - room..].iter().copied());
            } else {
                looked.ids.extend_from_slice(&more[..room]);
            }
        }
        Ok(looked)
    }
}

/// Returns the lengths of two texts that together have at most this many tokens. The longer one is truncated first. If
/// both are too long, each gets half, and the longer one, else the second, gets the odd token.
fn kept(first: usize, second: usize, max: usize) -> (usize, usize) {
    if first + second <= max {
        return (first, second);
    }
    let (short, long) = (first.min(second), first.max(second));
    let (of_short, of_long) = if 2 * short > max { (max / 2, max - max / 2) } else { (short, max - short) };
    debug_assert!(of_long <= long);
    if first > second { (of_long, of_short) } else { (of_short, of_long) }
}

/// Returns the first piece of a text. It ends before white space if some follows soon, so that its tokens are the first
/// tokens of the text. Otherwise it ends inside a word, which is too long to be split into tokens anyway.
fn first_piece(text: &str) -> (&str, &str) {
    let is_space = |byte: &u8| byte.is_ascii_whitespace();
    let Some(after) = text.as_bytes().get(WHOLE_BYTES_MAX..) else { return (text, "") };
    match after.iter().position(is_space) {
        Some(offset) if offset <= WORD_BYTES_MAX => text.split_at(WHOLE_BYTES_MAX + offset),
        found => {
            let end = text.floor_char_boundary(WHOLE_BYTES_MAX);
            (&text[..end], found.map_or("", |offset| &text[WHOLE_BYTES_MAX + offset..]))
        }
    }
}

/// Returns the last piece of a text, in the same way.
fn last_piece(text: &str) -> (&str, &str) {
    let is_space = |byte: &u8| byte.is_ascii_whitespace();
    let Some(begin) = text.len().checked_sub(WHOLE_BYTES_MAX) else { return (text, "") };
    match text.as_bytes()[..begin].iter().rposition(is_space) {
        Some(space) if begin - space <= WORD_BYTES_MAX => (&text[space..], &text[..space]),
        found => {
            let begin = text.ceil_char_boundary(begin);
            (&text[begin..], found.map_or("", |space| &text[..space]))
        }
    }
}

const REFUSED: &str = "the text cannot be tokenised";
/// The maximum length of a text that is tokenised in one piece.
const WHOLE_BYTES_MAX: usize = 256 << 10;
/// The maximum number of bytes that are read of a longer text.
const LOOKED_BYTES_MAX: usize = 1 << 20;
/// The maximum distance at which the end of a word is searched.
const WORD_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_texts_are_cut_token_by_token() {
        for (first, second, max, left) in [
            (261, 207, 61, (31, 30)),
            (207, 261, 61, (30, 31)),
            (200, 200, 61, (30, 31)),
            (10, 207, 61, (10, 51)),
            (207, 10, 61, (51, 10)),
            (30, 31, 61, (30, 31)),
            (31, 31, 61, (30, 31)),
            (30, 40, 60, (30, 30)),
            (1, 100, 1, (0, 1)),
            (5, 5, 0, (0, 0)),
            (0, 100, 61, (0, 61)),
        ] {
            assert_eq!(kept(first, second, max), left, "{first} and {second} of {max}");
        }
    }

    #[test]
    fn pieces_are_split_between_words() {
        let words = "word ".repeat(WHOLE_BYTES_MAX / 4);
        let (first, rest) = first_piece(&words);
        assert!(first.ends_with("word") && rest.starts_with(' '));
        let (last, rest) = last_piece(&words);
        assert!(last.starts_with(' ') && rest.ends_with("word"));
        let run = format!("a {} b", "é".repeat(WHOLE_BYTES_MAX));
        assert_eq!((first_piece(&run).1, last_piece(&run).1), (" b", "a"));
        assert_eq!((first_piece("a b"), last_piece("a b")), (("a b", ""), ("a b", "")));
    }
}
