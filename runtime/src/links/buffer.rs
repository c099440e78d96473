//! Received bytes, cut into frames.
//!
//! The buffer grows with the bytes that have arrived, never with an announced length.

use engine::wire::FRAME_BYTES_MAX;

/// The bytes of one link that are not a complete frame yet.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    /// Start of the next frame.
    start: usize,
    /// End of the bytes read.
    end: usize,
}

/// The announced frame is larger than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

impl Buffer {
    /// Takes the next frame, or returns `None` if it is incomplete.
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

    /// Tells whether the buffer is empty, without even a part of a frame.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Returns the space to read into. Never empty.
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

    /// Records that this many bytes were read.
    pub(super) fn filled(&mut self, read: usize) {
        self.end = (self.end + read).min(self.bytes.len());
        // Larger reads when more is coming.
        if self.end == self.bytes.len() && self.bytes.len() < KEPT_BYTES {
            self.bytes.resize(self.bytes.len() * 2, 0);
        }
    }
}

/// Size of the first read of a link. Quiet links need little memory.
const FIRST_BYTES: usize = 4 << 10;
/// Maximum size of an empty buffer.
const KEPT_BYTES: usize = 64 << 10;
