//! From tokens to text, piece by piece: whole characters only, and nothing of a text that ends the generation.

/// Collects what a text's tokens say, and gives away what is settled.
#[derive(Debug)]
pub(super) struct Text {
    stops: Vec<String>,
    /// Tokens whose text may still change with the next one.
    tokens: Vec<u32>,
    /// How many of these were given away already; they stay as the next ones' context.
    known: usize,
    /// Settled text that could be the beginning of a stop text.
    held: String,
    stopped: bool,
}

/// Says what tokens mean together.
pub(super) type Decode<'d> = &'d dyn Fn(&[u32]) -> Result<String, String>;

impl Text {
    pub(super) fn new(stops: Vec<String>) -> Self {
        Self { stops, tokens: Vec::new(), known: 0, held: String::new(), stopped: false }
    }

    /// Takes a token; returns the text that is settled by it, which may be empty.
    pub(super) fn push(&mut self, token: u32, decode: Decode<'_>) -> Result<String, String> {
        self.tokens.push(token);
        let (before, all) = (decode(&self.tokens[..self.known])?, decode(&self.tokens)?);
        // Half a character decodes to the replacement character; the other half may follow.
        let unfinished = all.ends_with('\u{fffd}') && self.tokens.len() - self.known < CHARACTER_TOKENS_MAX;
        if unfinished || all.len() <= before.len() {
            return Ok(String::new());
        }
        let fresh = all.get(before.len()..).unwrap_or_default().to_owned();
        self.tokens.drain(..self.known);
        self.known = self.tokens.len();
        Ok(self.settle(&fresh))
    }

    /// Returns what is left when no more tokens come.
    pub(super) fn finish(&mut self, decode: Decode<'_>) -> Result<String, String> {
        let (before, all) = (decode(&self.tokens[..self.known])?, decode(&self.tokens)?);
        let fresh = all.get(before.len()..).unwrap_or_default().to_owned();
        let mut rest = self.settle(&fresh);
        if !self.stopped {
            rest.push_str(&std::mem::take(&mut self.held));
        }
        Ok(rest)
    }

    /// Tells whether a stop text came up.
    pub(super) const fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Adds settled text; returns what cannot belong to a stop text any more.
    fn settle(&mut self, fresh: &str) -> String {
        if self.stopped {
            return String::new();
        }
        self.held.push_str(fresh);
        // The first that is complete, as whoever reads along sees it.
        let ends = |stop: &String| self.held.find(stop.as_str()).map(|at| (at + stop.len(), at));
        if let Some((_, at)) = self.stops.iter().filter_map(ends).min() {
            self.stopped = true;
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let rest = self.held.split_off(self.held.len() - self.beginning_of_a_stop());
        std::mem::replace(&mut self.held, rest)
    }

    /// The length of the longest end of the held text that a stop text begins with.
    fn beginning_of_a_stop(&self) -> usize {
        let longest = |stop: &String| {
            (1..stop.len().min(self.held.len() + 1))
                .rev()
                .find(|&len| stop.is_char_boundary(len) && self.held.ends_with(&stop[..len]))
        };
        self.stops.iter().filter_map(longest).max().unwrap_or(0)
    }
}

/// A character has at most four bytes, each a token at worst; what is not one after so many never will be.
const CHARACTER_TOKENS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Each token is a byte.
    fn bytes(tokens: &[u32]) -> Result<String, String> {
        let bytes: Vec<u8> = tokens.iter().map(|&token| token as u8).collect();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn pieces(text: &[u8], stops: &[&str]) -> (Vec<String>, bool) {
        let mut it = Text::new(stops.iter().map(|&stop| stop.to_owned()).collect());
        let mut pieces = Vec::new();
        for &byte in text {
            pieces.push(it.push(byte.into(), &bytes).unwrap());
            if it.is_stopped() {
                return (pieces, true);
            }
        }
        pieces.push(it.finish(&bytes).unwrap());
        (pieces, it.is_stopped())
    }

    #[test]
    fn characters_come_whole_and_a_broken_one_at_the_end() {
        let (found, _) = pieces("aé🚀".as_bytes(), &[]);
        assert_eq!(found, ["a", "", "é", "", "", "", "🚀", ""]);
        let (found, _) = pieces(&"é🚀".as_bytes()[..4], &[]);
        assert_eq!(found.concat(), "é\u{fffd}");
        let (found, _) = pieces(&[0xff; 20], &[]);
        assert!(found.concat().chars().count() >= 3, "{found:?}");
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
        /// Whatever the pieces, together they are the text up to the stop text that is complete first.
        #[test]
        fn pieces_are_the_text_up_to_the_first_stop(text in "[abé🚀 ]{0,24}", stops in prop::collection::vec("[abé🚀]{1,3}", 0..3)) {
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let ends = |stop: &&str| text.find(*stop).map(|at| (at + stop.len(), at));
            let end = stops.iter().filter_map(ends).min().map(|(_, at)| at);
            let (found, stopped) = pieces(text.as_bytes(), &stops);
            prop_assert_eq!(found.concat(), &text[..end.unwrap_or(text.len())]);
            prop_assert_eq!(stopped, end.is_some());
        }
    }
}
