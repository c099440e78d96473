//! Text to token numbers, with the model's own tokenizer.
//!
//! The invariants: a text has at most as many tokens as the model takes, the special ones included, cut as transformers
//! cuts it; how many did not fit is known; a tokenizer that panics is an error. A text is read as it is, white space
//! included. Up to [`WHOLE_BYTES_MAX`] bytes it is read in one piece; of a longer one no more than [`LOOKED_BYTES_MAX`] bytes
//! are read, so that its cost is bounded.

use super::tokenizer::assemble;
use crate::containment::contain;
use crate::inference::files::tokenizer_config::TokenizerConfig;
use crate::inference::files::tokenizer_json::TokenizerFile;
use kernels::Sequence;
use std::borrow::Cow;
use tokenizers::{Encoding, PostProcessor, Token, Tokenizer};

/// The tokens of a text, or of two texts that are read together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// All tokens, the special ones among them.
    pub tokens: Vec<u32>,
    /// Which of the two each token is of; empty where the model makes no difference.
    pub types: Vec<u32>,
    /// Tokens that did not fit; of a very long text, at least so many.
    pub dropped: usize,
}

impl Pair {
    /// Returns it as the encoder takes it.
    pub fn as_sequence(&self) -> Sequence<'_> {
        Sequence { tokens: &self.tokens, types: &self.types }
    }
}

/// A tokenizer that cuts and never pads, whatever its file says.
pub(crate) struct Tokens {
    tokenizer: Tokenizer,
    max: usize,
    /// Whether what does not fit is a text's beginning.
    cuts_beginning: bool,
    has_types: bool,
    prompt: String,
    /// The prompt's own tokens.
    prompt_ids: Vec<u32>,
    /// Tokens at the beginning of a text that are those of the prompt, the special ones before them included.
    prompt_length: usize,
}

/// What a model wants of its tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokensOptions<'o> {
    /// The most tokens of a text.
    pub(crate) max: usize,
    /// Whether capitals are made small, whatever the tokenizer does.
    pub(crate) lower_case: bool,
    /// What is put before each text.
    pub(crate) prompt: &'o str,
}

/// The tokens of one text, without special ones.
struct Looked {
    /// All of them, or so many of that end which is kept as could be needed.
    ids: Vec<u32>,
    /// How many there are.
    count: usize,
}

impl Tokens {
    /// Loads a tokenizer.
    ///
    /// # Errors
    /// Says what is wrong with the files.
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
        // What panics on any text should do so now, and not when there is work.
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

    /// Says how many tokens at the beginning of each text are those of the prompt.
    pub(crate) const fn prompt_length(&self) -> usize {
        self.prompt_length
    }

    /// Returns a token's text, if the tokenizer has one of this number.
    pub(crate) fn name(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }

    /// Returns the tokens of a text.
    ///
    /// # Errors
    /// Says why the text cannot be tokenised.
    pub(crate) fn encode(&self, text: &str) -> Result<Pair, String> {
        let budget = self.budget(false);
        let looked = self.look(&self.prompted(text), budget)?;
        let pair = self.finish(&looked, budget, None)?;
        if pair.tokens.is_empty() {
            return Err("the tokenizer finds no token in the text".to_owned());
        }
        Ok(pair)
    }

    /// Returns the tokens of two texts that are read together; the longer one is cut first.
    ///
    /// # Errors
    /// Says why they cannot be tokenised.
    pub(crate) fn encode_pair(&self, first: &str, second: &str) -> Result<Pair, String> {
        let budget = self.budget(true);
        let (first, second) = (self.look(&self.prompted(first), budget)?, self.look(second, budget)?);
        let (of_first, of_second) = kept(first.count, second.count, budget);
        self.finish(&first, of_first, Some((&second, of_second)))
    }

    /// Puts the special tokens around those of a text; where they are there already, they stay.
    ///
    /// # Errors
    /// Says which of them the model does not have.
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

    /// Says how many tokens the texts themselves may have.
    fn budget(&self, of_two: bool) -> usize {
        let special = self.tokenizer.get_post_processor().map_or(0, |it| it.added_tokens(of_two));
        self.max.saturating_sub(special)
    }

    /// Cuts texts to so many tokens, and puts the special ones around them.
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

    /// Tokenises a text, of which at most so many tokens are kept.
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

/// Says how many tokens of two texts stay where both together may have so many: the longer one is cut first, token by
/// token; where both are too long, they share, and the longer one or else the second gets the odd token.
fn kept(first: usize, second: usize, max: usize) -> (usize, usize) {
    if first + second <= max {
        return (first, second);
    }
    let (short, long) = (first.min(second), first.max(second));
    let (of_short, of_long) = if 2 * short > max { (max / 2, max - max / 2) } else { (short, max - short) };
    debug_assert!(of_long <= long);
    if first > second { (of_long, of_short) } else { (of_short, of_long) }
}

/// Does something with the tokenizer library, which reports some of what it does not like by a panic.
pub(crate) fn guarded<T>(what: &str, act: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match contain(act) {
        Ok(done) => done.map_err(|error| format!("{what}: {error}")),
        Err(panicked) => Err(format!("{what}: the tokenizer panics: {panicked}")),
    }
}

/// Splits a text's first piece off. It ends before white space where some follows soon, which is where words end, so that
/// its tokens are the text's first tokens. Where none does, the rest of that word is passed over: it is longer than those
/// that are taken apart.
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

/// Splits a text's last piece off, in the same way.
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
/// A text of so many bytes is read in one piece.
const WHOLE_BYTES_MAX: usize = 256 << 10;
/// So many bytes of a text are read: more than any text takes that is one.
const LOOKED_BYTES_MAX: usize = 1 << 20;
/// How far the end of a word is looked for.
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
