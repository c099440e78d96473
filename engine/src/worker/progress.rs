//! What a running generation tells its origin while it runs: pieces of text, few enough and small enough.
//!
//! The first piece goes at once, and then there is a pause between one and the next. An origin that asks for the work
//! under a new number gets the text anew from its beginning.

use crate::time::Instant;
use crate::wire::{Attempt, ProgressChunk};
use core::time::Duration;

/// The text of one job.
#[derive(Debug, Default)]
pub(crate) struct ProgressBuffer {
    text: String,
    tokens: u32,
    /// Bytes that the origin was sent.
    sent: usize,
    /// Before this, nothing is sent.
    not_before: Instant,
}

impl ProgressBuffer {
    /// Adds what was produced; beyond the limit nothing is added, and the outcome says the rest.
    pub(crate) fn push(&mut self, text: &str, tokens: u32) {
        self.tokens = self.tokens.max(tokens);
        if self.text.len() + text.len() <= crate::task::OUTPUT_BYTES_MAX {
            self.text.push_str(text);
        }
    }

    /// Begins to tell the text anew.
    pub(crate) const fn restart(&mut self) {
        self.sent = 0;
    }

    /// Returns when there is something to send; `None` where there is nothing.
    pub(crate) fn due(&self) -> Option<Instant> {
        (self.sent < self.text.len()).then_some(self.not_before)
    }

    /// Returns what is to be sent now, and waits for the pause before there is more.
    pub(crate) fn take(&mut self, now: Instant, attempt: Attempt, pause: Duration) -> Option<ProgressChunk> {
        if self.due()? > now {
            return None;
        }
        let rest = self.text.get(self.sent..)?;
        let end = rest.floor_char_boundary(CHUNK_BYTES_MAX);
        let (text, offset) = (rest.get(..end)?.to_owned(), u32::try_from(self.sent).ok()?);
        self.sent += end;
        self.not_before = now.after(pause);
        Some(ProgressChunk { attempt, offset, text, tokens: self.tokens })
    }
}

/// The pause between two pieces for another node; this one's own come as they are.
pub(crate) const CHUNK_INTERVAL: Duration = Duration::from_millis(100);
/// The longest piece.
const CHUNK_BYTES_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TaskId;

    #[test]
    fn pieces_gather_during_a_pause_and_begin_anew_where_asked() {
        let at = Instant::from_micros;
        let attempt = Attempt { task: TaskId([1; 16]), number: 1 };
        let mut buffer = ProgressBuffer::default();
        assert_eq!(buffer.take(at(0), attempt, CHUNK_INTERVAL), None);
        buffer.push("a", 1);
        let piece =
            |offset, text: &str, tokens| ProgressChunk { attempt, offset, text: text.to_owned(), tokens };
        assert_eq!(buffer.take(at(0), attempt, CHUNK_INTERVAL), Some(piece(0, "a", 1)));
        buffer.push("b", 2);
        buffer.push("c", 3);
        assert_eq!(
            (buffer.take(at(99_999), attempt, CHUNK_INTERVAL), buffer.due()),
            (None, Some(at(100_000)))
        );
        assert_eq!(buffer.take(at(100_000), attempt, CHUNK_INTERVAL), Some(piece(1, "bc", 3)));
        assert_eq!(buffer.due(), None);
        buffer.restart();
        assert_eq!(buffer.take(at(200_000), attempt, CHUNK_INTERVAL), Some(piece(0, "abc", 3)));
    }

    #[test]
    fn a_piece_is_short_and_ends_where_a_character_does() {
        let attempt = Attempt { task: TaskId([1; 16]), number: 1 };
        let mut buffer = ProgressBuffer::default();
        let text = format!("x{}", "é".repeat(40_000));
        buffer.push(&text, 1);
        let mut seen = String::new();
        while let Some(piece) = buffer.take(Instant::ZERO, attempt, Duration::ZERO) {
            assert!(piece.text.len() <= CHUNK_BYTES_MAX && piece.offset as usize == seen.len());
            seen.push_str(&piece.text);
        }
        assert_eq!(seen, text);
        buffer.push(&"y".repeat(crate::task::OUTPUT_BYTES_MAX), 2);
        assert_eq!(buffer.due(), None, "more than fits is left to the outcome");
    }
}
