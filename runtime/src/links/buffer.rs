//! Bytes as they come, cut into frames.
//!
//! The buffer grows with what arrived, never with what was only announced.

use engine::wire::FRAME_BYTES_MAX;

/// What was read from one link and is no whole frame yet.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    /// Where the next frame begins.
    start: usize,
    /// Where what was read ends.
    end: usize,
}

/// A frame is announced that is larger than it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

impl Buffer {
    /// Takes the next frame out; `None` where it is not there whole.
    pub(super) fn next_frame(&mut self, limit: usize) -> Result<Option<Vec<u8>>, TooLarge> {
        let read = self.bytes.get(self.start..self.end).unwrap_or_default();
        let Some((header, rest)) = read.split_first_chunk::<4>() else { return Ok(None) };
        let len = usize::try_from(u32::from_be_bytes(*header)).map_err(|_| TooLarge)?;
        if len > limit {
            return Err(TooLarge);
        }
        let frame = rest.get(..len).map(<[u8]>::to_vec);
        if frame.is_some() {
            self.start += header.len() + len;
        }
        Ok(frame)
    }

    /// Tells whether nothing is there, not even a part of a frame.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Returns where to read to; not empty.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.bytes.len() > KEPT_BYTES {
                self.bytes = vec![0; KEPT_BYTES];
            }
        }
        if self.end == self.bytes.len() && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.bytes.len() {
            let grown = (self.bytes.len() * 2).clamp(FIRST_BYTES, FRAME_BYTES_MAX + 4);
            self.bytes.resize(grown, 0);
        }
        &mut self.bytes[self.end..]
    }

    /// Takes note that so many bytes were read.
    pub(super) fn filled(&mut self, read: usize) {
        self.end = (self.end + read).min(self.bytes.len());
        // Where there is more to come it comes in fewer pieces.
        if self.end == self.bytes.len() && self.bytes.len() < KEPT_BYTES {
            self.bytes.resize(self.bytes.len() * 2, 0);
        }
    }
}

/// Bytes of a link's first read: links that say little take little.
const FIRST_BYTES: usize = 4 << 10;
/// Bytes that an empty buffer keeps at most.
const KEPT_BYTES: usize = 64 << 10;
