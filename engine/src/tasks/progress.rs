//! The text that an attempt has generated so far, assembled from the pieces that its worker sends.
//!
//! The text is always a prefix of the attempt's final text. A piece that arrives early waits for its predecessors; a
//! piece that would exceed the limits is dropped. This loses nothing, since the outcome carries the whole text.

use crate::wire::ProgressChunk;
use core::ops::Bound;
use std::collections::BTreeMap;

/// The text that one attempt has generated so far.
#[derive(Debug)]
pub(crate) struct Progress {
    /// The number of the attempt.
    pub(crate) attempt: u32,
    /// The text.
    pub(crate) text: String,
    /// Number of tokens generated.
    pub(crate) tokens: u32,
    /// Pieces that wait for their predecessors, by offset.
    early: BTreeMap<usize, String>,
}

impl Progress {
    /// Creates an empty text.
    pub(crate) const fn new(attempt: u32) -> Self {
        Self { attempt, text: String::new(), tokens: 0, early: BTreeMap::new() }
    }

    /// Returns the size of all pieces, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.text.len() + self.early.values().map(String::len).sum::<usize>()
    }

    /// Adds a piece, unless it is larger than `room` bytes. Returns whether there is more text than before.
    pub(crate) fn add(&mut self, piece: ProgressChunk, room: usize) -> bool {
        let before = self.text.len();
        let offset = usize::try_from(piece.offset).unwrap_or(usize::MAX);
        if piece.text.len() > room || (offset > before && self.early.len() >= EARLY_MAX) {
            return false;
        }
        self.tokens = self.tokens.max(piece.tokens);
        self.early.insert(offset, piece.text);
        while let Some(offset) = self.next_early() {
            let Some(text) = self.early.remove(&offset) else { break };
            // Text that is known already, from a piece that came twice, is skipped.
            if self.text.is_char_boundary(offset)
                && let Some(rest) = text.get(self.text.len() - offset..)
            {
                self.text.push_str(rest);
            }
        }
        self.text.len() > before
    }

    /// Returns the offset of the last piece that begins within the text or at its end.
    fn next_early(&self) -> Option<usize> {
        let within = (Bound::Unbounded, Bound::Included(self.text.len()));
        self.early.range(within).next_back().map(|(&offset, _)| offset)
    }
}

/// Maximum number of pieces that wait for their predecessors: as many as are sent during one retransmission.
const EARLY_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TaskId;
    use crate::wire::Attempt;

    fn piece(offset: u32, text: &str) -> ProgressChunk {
        let attempt = Attempt { task: TaskId([1; 16]), number: 1 };
        ProgressChunk { attempt, offset, text: text.to_owned(), tokens: offset + 1 }
    }

    #[test]
    fn pieces_of_any_order_make_the_text() {
        let mut progress = Progress::new(1);
        assert!(progress.add(piece(0, "once "), 99));
        assert!(!progress.add(piece(10, " a time"), 99));
        assert!(!progress.add(piece(0, "once "), 99), "known already");
        assert!(progress.add(piece(5, "upon "), 99));
        assert_eq!((progress.text.as_str(), progress.tokens), ("once upon  a time", 11));
        assert_eq!(progress.bytes(), 17);
    }

    #[test]
    fn an_overlap_counts_once_and_never_cuts_a_character() {
        let mut progress = Progress::new(1);
        assert!(progress.add(piece(0, "añ"), 99));
        assert!(progress.add(piece(1, "ño"), 99));
        assert_eq!(progress.text, "año");
        assert!(!progress.add(piece(2, "xyz"), 99), "begins inside of a character");
        assert_eq!(progress.text, "año");
    }

    #[test]
    fn what_takes_too_much_room_is_dropped() {
        let mut progress = Progress::new(1);
        assert!(!progress.add(piece(0, "four"), 3));
        for at in 0..100 {
            progress.add(piece(1000 + at, "x"), 99);
        }
        assert_eq!(progress.early.len(), EARLY_MAX);
    }
}
