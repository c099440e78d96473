//! Streaming detokenizer: turns tokens into pieces of text, with complete characters only, up to a stop text.
//!
//! The invariant: the concatenated pieces are the text of all tokens together. A piece is returned once no later token
//! can change it: bytes of an incomplete character wait for the next token.

/// Collects the tokens of a text, and returns text that is final.
#[derive(Debug)]
pub(super) struct Detokenizer {
    stops: Vec<String>,
    /// The latest tokens, and earlier ones that their text depends on.
    tokens: Vec<u32>,
    /// The number of tokens that are only context.
    context: usize,
    /// The bytes of their text that were returned already.
    shown: usize,
    /// Whether the latest tokens are byte tokens, which change with the following ones.
    open: bool,
    /// Final text that could be the start of a stop text.
    held: String,
    stopped: bool,
}

/// Decodes tokens.
pub(super) trait Decode {
    /// Decodes tokens together.
    fn decode(&self, tokens: &[u32]) -> Result<String, String>;
    /// Tells whether a token is a byte whose text depends on adjacent bytes.
    fn is_byte(&self, token: u32) -> bool;
    /// Tells whether a token has no text; the tokens around it are then adjacent.
    fn is_special(&self, token: u32) -> bool;
}

impl Detokenizer {
    /// Makes a detokenizer for the text after these tokens.
    pub(super) fn after(prompt: &[u32], stops: Vec<String>, decode: &dyn Decode) -> Result<Self, String> {
        // A leading space is kept only inside a text, so one plain token of the prompt is kept as context.
        let mut tokens = Vec::new();
        for &token in prompt.iter().rev().take(PROMPT_TOKENS_MAX) {
            if !decode.is_byte(token) && !decode.is_special(token) && is_whole(&decode.decode(&[token])?) {
                tokens.push(token);
                break;
            }
        }
        let shown = decode.decode(&tokens)?.len();
        let context = tokens.len();
        Ok(Self { stops, tokens, context, shown, open: false, held: String::new(), stopped: false })
    }

    /// Adds a token. Returns the text that is now final, which may be empty.
    pub(super) fn push(&mut self, token: u32, decode: &dyn Decode) -> Result<String, String> {
        self.tokens.push(token);
        self.open = decode.is_byte(token) || (self.open && decode.is_special(token));
        if self.open {
            return Ok(String::new());
        }
        let all = decode.decode(&self.tokens)?;
        // An incomplete character decodes to the replacement character; the rest may follow.
        let settled = all.strip_suffix('\u{fffd}').unwrap_or(&all);
        let Some(fresh) = settled.get(self.shown..).filter(|fresh| !fresh.is_empty()) else {
            return Ok(String::new());
        };
        let fresh = fresh.to_owned();
        self.shown = settled.len();
        // The latest tokens are enough context for the next one, if they have text.
        let newest = decode.decode(&self.tokens[self.context..])?;
        if is_whole(&newest) {
            self.tokens.drain(..self.context);
            (self.context, self.shown) = (self.tokens.len(), newest.len());
        }
        Ok(self.settle(&fresh))
    }

    /// Returns the remaining text at the end.
    pub(super) fn finish(&mut self, decode: &dyn Decode) -> Result<String, String> {
        let all = decode.decode(&self.tokens)?;
        let fresh = all.get(self.shown..).unwrap_or_default().to_owned();
        self.shown = all.len();
        let mut rest = self.settle(&fresh);
        if !self.stopped {
            rest.push_str(&std::mem::take(&mut self.held));
        }
        Ok(rest)
    }

    /// Tells whether a stop text was found.
    pub(super) const fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Adds final text. Returns the part that cannot belong to a stop text any more.
    fn settle(&mut self, fresh: &str) -> String {
        if self.stopped {
            return String::new();
        }
        self.held.push_str(fresh);
        // The stop text that is complete first in the stream.
        let ends = |stop: &String| self.held.find(stop.as_str()).map(|at| (at + stop.len(), at));
        if let Some((_, at)) = self.stops.iter().filter_map(ends).min() {
            self.stopped = true;
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let rest = self.held.split_off(self.held.len() - self.beginning_of_a_stop());
        std::mem::replace(&mut self.held, rest)
    }

    /// Returns the length of the longest suffix of the held text that is a prefix of a stop text.
    fn beginning_of_a_stop(&self) -> usize {
        let longest = |stop: &String| {
            (1..stop.len().min(self.held.len() + 1))
                .rev()
                .find(|&len| stop.is_char_boundary(len) && self.held.ends_with(&stop[..len]))
        };
        self.stops.iter().filter_map(longest).max().unwrap_or(0)
    }
}

/// Tells whether a text is not empty and has no incomplete character.
fn is_whole(text: &str) -> bool {
    !text.is_empty() && !text.ends_with('\u{fffd}')
}

/// The number of tokens at the end of a prompt that are searched for a plain one.
const PROMPT_TOKENS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::decoder::vocabulary::Vocabulary;
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    /// Each token is a byte.
    struct Bytes;

    impl Decode for Bytes {
        fn decode(&self, tokens: &[u32]) -> Result<String, String> {
            let bytes: Vec<u8> = tokens.iter().map(|&token| token as u8).collect();
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }

        fn is_byte(&self, _: u32) -> bool {
            false
        }

        fn is_special(&self, _: u32) -> bool {
            false
        }
    }

    fn run(
        decode: &dyn Decode,
        prompt: &[u32],
        tokens: impl IntoIterator<Item = u32>,
        stops: &[&str],
    ) -> (Vec<String>, bool) {
        let stops = stops.iter().map(|&stop| stop.to_owned()).collect();
        let mut it = Detokenizer::after(prompt, stops, decode).unwrap();
        let mut pieces = Vec::new();
        for token in tokens {
            pieces.push(it.push(token, decode).unwrap());
            if it.is_stopped() {
                return (pieces, true);
            }
        }
        pieces.push(it.finish(decode).unwrap());
        (pieces, it.is_stopped())
    }

    fn pieces(text: &[u8], stops: &[&str]) -> (Vec<String>, bool) {
        run(&Bytes, &[], text.iter().map(|&byte| byte.into()), stops)
    }

    /// Returns a vocabulary with a token for each byte, some words, and a token without text.
    fn with_byte_tokens() -> Vocabulary {
        let mut vocab: Map<String, Value> =
            (0..256).map(|byte| (format!("<0x{byte:02X}>"), byte.into())).collect();
        for (word, id) in ["▁", "▁world", "ali", "é", "▁▁", "\u{fffd}"].into_iter().zip(256..) {
            vocab.insert(word.to_owned(), id.into());
        }
        let json = json!({"added_tokens": [{"id": 262, "content": "<s>", "special": true, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false}],
            "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            "decoder": {"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
                {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
            "model": {"type": "BPE", "vocab": vocab, "merges": [], "byte_fallback": true}});
        Vocabulary::load(json.to_string().as_bytes()).unwrap()
    }

    /// Returns a byte-level vocabulary, with bytes as visible characters.
    fn with_visible_bytes() -> Vocabulary {
        let mut visible: Vec<char> = ('!'..='~').chain('¡'..='¬').chain('®'..='ÿ').collect();
        visible.extend((0x100..0x144).filter_map(char::from_u32));
        let mut vocab: Map<String, Value> =
            visible.iter().zip(0..).map(|(letter, id): (_, u32)| (letter.to_string(), id.into())).collect();
        for (word, id) in ["Ġworld", "Ã©", "Ã©Ã", "ðŁĺ"].into_iter().zip(256..) {
            vocab.insert(word.to_owned(), id.into());
        }
        let json = json!({"added_tokens": [{"id": 262, "content": "<s>", "special": true, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false}],
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
            "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
            "model": {"type": "BPE", "vocab": vocab, "merges": []}});
        Vocabulary::load(json.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_text_keeps_its_first_space_and_what_follows_bytes_that_are_no_character() {
        let it = with_byte_tokens();
        let text = |prompt: &[u32], tokens: &[u32]| run(&it, prompt, tokens.iter().copied(), &[]).0.concat();
        // After "ali" the text keeps its leading space. Without an earlier text it does not.
        assert_eq!(text(&[262, 258, 262], &[257, 257]), " world world");
        assert_eq!(text(&[258, 65], &[257]), " world");
        assert_eq!(text(&[262], &[257, 257]), "world world");
        assert_eq!(text(&[258], &[256, 256, 258]), "  ali");
        assert_eq!(text(&[258], &[2, 0xc2, 258, 65]), "\u{fffd}\u{fffd}aliA");
        assert_eq!(text(&[258], &[0xc3, 262, 0xa9, 258]), "éali");
    }

    #[test]
    fn characters_come_whole_and_a_broken_one_at_the_end() {
        let (found, _) = pieces("aé🚀".as_bytes(), &[]);
        assert_eq!(found, ["a", "", "é", "", "", "", "🚀", ""]);
        let (found, _) = pieces(&"é🚀".as_bytes()[..4], &[]);
        assert_eq!(found.concat(), "é\u{fffd}");
        let (found, _) = pieces(&[0xff; 20], &[]);
        assert_eq!(found.concat(), "\u{fffd}".repeat(20));
        // Many invalid bytes, followed by a character.
        let late = [&[0xff; 9][..], "🚀a".as_bytes()].concat();
        assert_eq!(pieces(&late, &[]).0.concat(), String::from_utf8_lossy(&late));
    }

    #[test]
    fn a_stop_text_is_held_back_while_it_may_come_and_is_never_shown() {
        assert_eq!(pieces(b"one\n\nUser: two", &["\nUser:"]).0.concat(), "one\n");
        let (found, stopped) = pieces(b"ab aba", &["abc"]);
        assert_eq!((found.concat().as_str(), stopped), ("ab aba", false));
        assert_eq!(found[..4], ["", "", "ab ", ""]);
        assert_eq!(pieces("a🚀b".as_bytes(), &["🚀"]).0.concat(), "a");
        assert_eq!(pieces(b"xaab", &["aab", "ab"]).0.concat(), "x");
    }

    proptest! {
        /// The pieces together are the text up to the stop text that is complete first.
        #[test]
        fn pieces_are_the_text_up_to_the_first_stop(text in "[abé🚀 ]{0,24}", stops in prop::collection::vec("[abé🚀]{1,3}", 0..3)) {
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let ends = |stop: &&str| text.find(*stop).map(|at| (at + stop.len(), at));
            let end = stops.iter().filter_map(ends).min().map(|(_, at)| at);
            let (found, stopped) = pieces(text.as_bytes(), &stops);
            prop_assert_eq!(found.concat(), &text[..end.unwrap_or(text.len())]);
            prop_assert_eq!(stopped, end.is_some());
        }

        /// The pieces of any tokens together are the text of all tokens decoded at once.
        #[test]
        fn pieces_are_the_whole_text(
            tokens in prop::collection::vec(prop_oneof![0_u32..263, 194_u32..245, 256_u32..263], 0..24),
            prompt in prop::collection::vec(256_u32..263, 0..3),
        ) {
            for it in [with_byte_tokens(), with_visible_bytes()] {
                let plain = prompt.iter().rev().find(|&&token| {
                    it.decode(&[token]).is_ok_and(|text| is_whole(&text)) && token != 262
                });
                let context: Vec<u32> = plain.into_iter().copied().collect();
                let whole = it.decode(&[context.clone(), tokens.clone()].concat()).unwrap();
                let before = it.decode(&context).unwrap();
                let found = run(&it, &prompt, tokens.iter().copied(), &[]).0.concat();
                prop_assert_eq!(found, &whole[before.len()..]);
            }
        }
    }
}
