//! Buffers the text of a running generation, and sends it to its origin in chunks.
//!
//! The first chunk is sent at once, later ones at a minimum interval. An origin that assigns the attempt again gets the
//! text from the beginning.

use crate::time::Instant;
use crate::wire::{Attempt, ProgressChunk};
use core::time::Duration;

/// The text of one attempt.
#[derive(Debug, Default)]
pub(crate) struct ProgressBuffer {
    text: String,
    tokens: u32,
    /// Bytes sent to the origin.
    sent: usize,
    /// The earliest time of the next chunk.
    not_before: Instant,
}

impl ProgressBuffer {
    /// Adds generated text. Text above the limit is left out, as the outcome holds all of it.
    pub(crate) fn push(&mut self, text: &str, tokens: u32) {
        self.tokens = self.tokens.max(tokens);
        if self.text.len() + text.len() <= crate::task::OUTPUT_BYTES_MAX {
            self.text.push_str(text);
        }
    }

    /// Sends the text from the beginning.
    pub(crate) const fn restart(&mut self) {
        self.sent = 0;
    }

    /// Returns when the next chunk may be sent; `None` if there is no more text.
    pub(crate) fn due(&self) -> Option<Instant> {
        (self.sent < self.text.len()).then_some(self.not_before)
    }

    /// Returns the next chunk if it is due, and starts the interval.
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

/// The minimum interval between two chunks to another node. Those to this node are sent at once.
pub(crate) const CHUNK_INTERVAL: Duration = Duration::from_millis(100);
/// The maximum size of a chunk.
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
